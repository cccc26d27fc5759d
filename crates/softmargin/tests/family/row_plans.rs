//! The row plans as a device backend uses them: naive sweeps in f64 here, everything else by the core. Losses and
//! gradients must agree with those of [`Loss`](softmargin::Loss) for every preset.

use crate::combinations::{problem_of, spec_of};
use crate::problem::{Owned, Problem, Random};
use ndarray::Array2;
use softmargin::rows::{
    Accumulators, ExpSums, Exponentials, GateSums, Learned, NegativeTransform, Present, RowPlan, SweepKind, Target,
};
use softmargin::{Comparison, Gate, Loss, LossSpec, Reduction, Regularizer, SmoothGate, presets};

/// Allowed difference, which is rounding error only: sums of up to C terms of size 1, and a scale of up to 64.
const TOLERANCE: f64 = 1e-10;

/// Returns the transformed score of a negative and its derivative.
fn transformed(z: f64, transform: Option<NegativeTransform<f64>>) -> (f64, f64) {
    match transform {
        Some(NegativeTransform::Misclassified { above, factor }) if z > above => (factor * z + factor - 1.0, factor),
        Some(NegativeTransform::Curricular { above, mean }) if z > above => (z * (mean + z), mean + 2.0 * z),
        Some(NegativeTransform::DividedAngle { by }) => {
            let theta = z.acos();
            ((theta / by).cos(), (theta / by).sin() / (by * theta.sin()))
        }
        _ => (z, 1.0),
    }
}

fn gate(gate: Gate, x: f64) -> (f64, f64) {
    match gate {
        Gate::Relu => (x.max(0.0), f64::from(u8::from(x > 0.0))),
        Gate::Softplus => (x.exp().ln_1p(), 1.0 / (1.0 + (-x).exp())),
        Gate::Identity => (x, 1.0),
    }
}

/// Returns the values that the first sweep writes for each negative, and its accumulators.
fn sweep(plan: &RowPlan, target: &Target<f64>, negatives: &[f64]) -> (Vec<f64>, Accumulators) {
    let s = plan.scale();
    let largest = negatives.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match SweepKind::of(plan.loss().spec().comparison) {
        SweepKind::Exponentials => {
            let exponents: Vec<f64> = negatives.iter().map(|z| s * (z - largest)).collect();
            let written: Vec<f64> = exponents.iter().map(|d| d.exp()).collect();
            let weighted = exponents.iter().zip(&written).map(|(d, e)| d * e).sum();
            let sums = ExpSums { exp: written.iter().sum(), weighted };
            let above_reference = negatives.iter().map(|z| z - largest).sum();
            let present = Present { above_reference, count: negatives.len() };
            (written, Accumulators::Exponentials(Exponentials { reference: largest, sums, present }))
        }
        SweepKind::Gated { gate: of_gap, against_zero } => {
            let psi = if against_zero { 0.0 } else { target.score + target.shift() };
            let gaps: Vec<f64> = negatives.iter().map(|z| s * (z - psi)).collect();
            let mut sums = GateSums::default();
            let mut written = Vec::new();
            for gap in gaps {
                let (value, slope) = gate(of_gap, gap);
                sums = sums.and(GateSums { value, derivative: slope, weighted: slope * gap });
                written.push(slope);
            }
            (written, Accumulators::Gated(sums))
        }
        SweepKind::Largest => {
            let first = negatives.iter().position(|z| *z == largest);
            let written = (0..negatives.len()).map(|k| f64::from(u8::from(Some(k) == first))).collect();
            (written, Accumulators::Largest(largest))
        }
    }
}

/// Returns true if a class has the largest score of a row; the lowest index wins ties.
fn is_top(scores: &[f64], class: usize) -> bool {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter().position(|z| *z == largest) == Some(class)
}

/// Returns the row losses, the total, and the gradient with respect to the scores of a batch.
fn evaluate_row_by_row(
    loss: &Loss,
    owned: &Owned<f64>,
    learned: Learned,
    reduction: Reduction,
) -> (Vec<f64>, f64, Array2<f64>) {
    let plan = loss.plan(&owned.rows(), learned).unwrap();
    let mut gradient = Array2::zeros(owned.scores.dim());
    let mut outcomes = Vec::new();
    for (row, scores) in owned.scores.rows().into_iter().enumerate() {
        let (class, scores) = (plan.class(row), scores.to_vec());
        let target = plan.target::<f64>(row, scores[class]);
        let others: Vec<usize> = (0..scores.len()).filter(|&other| other != class).collect();
        let negatives: Vec<(f64, f64)> =
            others.iter().map(|&other| transformed(scores[other], target.negatives)).collect();
        let transformed_scores: Vec<f64> = negatives.iter().map(|(z, _)| *z).collect();
        let (written, found) = sweep(&plan, &target, &transformed_scores);
        let found = (!transformed_scores.is_empty()).then_some(found);
        let outcome = plan.outcome(row, &target, found.as_ref(), is_top(&scores, class));
        let factor = plan.row_factor(row, reduction);
        gradient[[row, class]] = factor * outcome.target;
        for ((&other, e), (_, derivative)) in others.iter().zip(written).zip(&negatives) {
            gradient[[row, other]] = factor * plan.scale() * (outcome.negatives * e - outcome.share) * derivative;
        }
        outcomes.push(outcome);
    }
    let totals = plan.totals(&outcomes, reduction);
    if reduction == Reduction::Sum {
        // A spec without a learned scale, or a learned one within its range: the contributions of the rows add up.
        assert_close("scale", totals.scale_of_rows.iter().sum(), totals.scale);
        assert_close("radius", totals.radius_of_rows.iter().sum(), totals.radius);
    }
    (totals.rows, totals.total, gradient)
}

fn assert_close(what: &str, got: f64, want: f64) {
    let close = (got - want).abs() <= TOLERANCE * (1.0 + want.abs());
    assert!(close, "{what}: expected {want:e}, found {got:e}");
}

fn compare(name: &str, spec: LossSpec) {
    let loss = spec.clone().build(6).unwrap();
    let problem = problem_of(&mut Random::new(17), &spec, 9, 6).fitted_to(&loss);
    let owned = Owned::<f64>::of(&problem);
    let mut learned = Learned::default();
    learned.scale = problem.scale;
    learned.radius = problem.radius;
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let (value, gradients) = loss.value_and_grad(&owned.batch(), reduction).unwrap();
        let (rows, total, scores) = evaluate_row_by_row(&loss, &owned, learned, reduction);
        assert_close(name, total, value.total);
        rows.iter().zip(&value.rows).for_each(|(got, want)| assert_close(name, *got, *want));
        scores.iter().zip(&gradients.scores).for_each(|(got, want)| assert_close(name, *got, *want));
    }
}

#[test]
fn a_device_with_its_own_sweeps_agrees_with_the_core() {
    for preset in presets::all() {
        compare(preset.name, spec_of(preset, 6));
    }
    let smooth = SmoothGate::Softplus { label_smoothing: 0.1, z_loss: 0.01 };
    for preset in [presets::CROSS_ENTROPY, presets::AM_SOFTMAX, presets::ARCFACE] {
        let spec = preset.spec().with_comparison(Comparison::LogSumExp { gate: smooth });
        compare(preset.name, spec);
    }
    let ring = Regularizer::Ring { weight: 0.3, radius: 1.0 };
    compare("ring", presets::AM_SOFTMAX.spec().with_regularizer(ring));
}

#[test]
fn target_norms_can_be_set_after_the_plan() {
    let loss = presets::L_SOFTMAX.spec().build(6).unwrap();
    let problem = problem_of(&mut Random::new(18), loss.spec(), 5, 6).fitted_to(&loss);
    let owned = Owned::<f64>::of(&problem);
    let with_all = loss.plan(&owned.rows(), Learned::default()).unwrap();
    let without = Problem { weight_norms: None, ..problem.clone() };
    let without = Owned::<f64>::of(&without);
    let mut later = loss.plan(&without.rows(), Learned::default()).unwrap();
    let norms = problem.weight_norms.clone().unwrap();
    let of_targets: Vec<f64> = later.classes().map(|class| norms[class]).collect();
    later.set_target_norms(of_targets.into_iter());
    for row in 0..5 {
        let score = owned.scores[[row, with_all.class(row)]];
        assert_eq!(with_all.target::<f64>(row, score).shift(), later.target::<f64>(row, score).shift());
    }
}
