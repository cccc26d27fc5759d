//! Comparison of the gradients with numerical derivatives of the value, for every preset and option at a fixed state.
//!
//! A straight-through gradient is not the derivative of the value, and a standardized margin value is treated as a
//! constant; both are compared with differences of the oracle's surrogate.

use crate::combinations::{
    comparisons, cycled_negatives, geometries, is_accepted, margins, norm_range, plain_spec, spec_of,
};
use crate::error_report::ErrorReport;
use crate::oracle_description::{batch, describe};
use crate::problem::{Problem, Random, evaluate, random_state, state, total};
use crate::tolerances::{STEP, of_difference, step_of_scores};
use ndarray::Array2;
use softmargin::{
    BeyondPi, Comparison, Gate, Geometry, Loss, LossSpec, Margin, MarginGradient, Negatives, Real, Reduction,
    Regularizer, Scale, presets,
};
use softmargin_oracle::margin::RowContext;
use softmargin_oracle::{Oracle, Surrogate, five_point_difference};

/// Minimum distance of a row from a kink of its loss, in scaled scores and in radians.
const CLEAR: f64 = 0.03;

/// Lower bound of the sine of a target's angle; derivatives of psi grow with its inverse.
const LEAST_SINE: f64 = 0.35;

/// Returns true if a margin value depends on the standardized norm, which is treated as a constant.
pub(crate) fn is_standardized(spec: &LossSpec) -> bool {
    format!("{:?}", spec.margin).contains("Standardized")
}

pub(crate) fn is_straight_through(spec: &LossSpec) -> bool {
    matches!(&spec.margin, Margin::Angle(angle) if angle.gradient == MarginGradient::StraightThrough)
}

/// Returns true if a row is away from all kinks, computed by the oracle.
pub(crate) fn is_smooth(spec: &LossSpec, problem: &Problem, row: usize) -> bool {
    let description = describe(spec, problem, Reduction::Sum, f64::LEAST_SINE);
    let label = problem.label(row).expect("a label") as usize;
    let scores = problem.scores.row(row);
    let s = description.effective_scale();
    let place = description.row_context(&batch(spec, problem), row, label);
    let u = description.margin.target(scores[label], s, description.geometry, place, None).u;
    let threshold = description.threshold(scores[label], place);
    let others = || (0..scores.len()).filter(|&k| k != label).map(|k| scores[k]);
    let mut negatives: Vec<f64> = others().map(|z| s * description.negatives.modify(z, threshold).score).collect();
    negatives.sort_by(|a, b| b.total_cmp(a));
    let far = |x: f64| x.abs() > CLEAR;
    let relu = spec.comparison.gate() == Gate::Relu;
    let top_stands_out = negatives.len() < 2 || far(negatives[0] - negatives[1]);
    let clear_of_gate = match spec.comparison {
        Comparison::EachPair { .. } => !relu || negatives.iter().all(|v| far(v - u)),
        Comparison::AgainstZero { .. } => !relu || (far(u) && negatives.iter().all(|v| far(*v))),
        Comparison::Hardest { .. } => top_stands_out && (!relu || far(negatives[0] - u)),
        Comparison::LogSumExp { .. } => !relu || far(softmargin_oracle::smooth::log_sum_exp(&negatives) - u),
    };
    // The loss jumps at the threshold above which a negative is modified.
    let clear_of_threshold = match spec.negatives {
        Negatives::Misclassified { .. } => others().all(|z| far(s * (z - threshold.psi))),
        Negatives::Curricular { .. } => others().all(|z| far(s * (z - threshold.plain))),
        Negatives::DividedAngle { .. } => others().all(is_off_the_poles),
        _ => true,
    };
    // Incay depends on the largest unmodified score.
    let clear_of_ties = far(s * (scores[label] - others().fold(f64::NEG_INFINITY, f64::max)));
    clear_of_gate
        && clear_of_threshold
        && clear_of_ties
        && is_clear_of_norm_bounds(spec, problem, row)
        && is_clear_of_pi(spec, &description, place, scores[label])
}

fn is_off_the_poles(cos: f64) -> bool {
    cos.abs() < (1.0 - LEAST_SINE * LEAST_SINE).sqrt()
}

/// Returns true if the norm of the embedding is away from the bounds of margin values and regularizers.
fn is_clear_of_norm_bounds(spec: &LossSpec, problem: &Problem, row: usize) -> bool {
    let Some(norms) = &problem.embedding_norms else { return true };
    let (low, high) = norm_range(spec);
    [low, high].into_iter().all(|end| (norms[row] / end - 1.0).abs() > CLEAR / 2.0)
}

fn is_clear_of_pi(spec: &LossSpec, description: &Oracle, place: RowContext, score: f64) -> bool {
    let Margin::Angle(angle) = &spec.margin else { return true };
    let cos = score / place.radius;
    if !is_off_the_poles(cos) {
        return false;
    }
    let (plus, role) = description.margin.margin_values()[0];
    let phi = angle.times * cos.acos() + plus.at(place, role).value;
    let turns = phi / std::f64::consts::PI;
    // Piecewise has a kink in its curvature at every multiple of pi, the others only at pi; all are clamped at 0.
    let nearest = if angle.beyond_pi == BeyondPi::Piecewise { turns.round() } else { 1.0 };
    let clear = CLEAR * angle.times;
    ((turns - nearest) * std::f64::consts::PI).abs() > clear && phi.abs() > clear
}

/// Creates a problem whose rows are all smooth; other rows are drawn again.
fn smooth_problem(random: &mut Random, spec: &LossSpec, rows: usize, classes: usize) -> Problem {
    let w = random.vector(classes, 0.8, 1.6);
    // Under the cosine, only margin values and regularizers depend on the norm.
    let (low, high) = if spec.geometry == Geometry::Cosine { norm_range(spec) } else { (1.0, 2.0) };
    let (low, high) = (0.8 * low, 1.25 * high);
    let mut problem = Problem {
        embedding_norms: Some(random.vector(rows, low, high)),
        weight_norms: Some(w.clone()),
        margins: format!("{:?}", spec.margin).contains("PerSample").then(|| random.vector(rows, 0.05, 0.6)),
        ..Problem::new(Array2::zeros((rows, classes)), random.labels(rows, classes))
    };
    problem.state = Some(random_state(random));
    for row in 0..rows {
        let found = (0..10_000).any(|_| {
            let x = random.between(low, high);
            problem.embedding_norms.as_mut().unwrap()[row] = x;
            for (class, w) in w.iter().enumerate() {
                let norm = match spec.geometry {
                    Geometry::InnerProduct { .. } => x * w,
                    Geometry::UnitWeights => x,
                    Geometry::Cosine => 1.0,
                };
                problem.scores[[row, class]] = norm * random.between(-0.95, 0.95);
            }
            is_smooth(spec, &problem, row)
        });
        assert!(found, "no smooth row for {spec:?}");
    }
    problem
}

/// Returns the function to differentiate: the core's value, or the oracle's surrogate for parts treated as constants.
fn value(spec: &LossSpec, loss: &Loss, at: &Problem, reduction: Reduction) -> impl Fn(&Problem) -> f64 {
    let frozen = (is_straight_through(spec) || is_standardized(spec)).then(|| {
        let description = describe(spec, at, reduction, f64::LEAST_SINE);
        Surrogate::frozen_at(&description, &batch(spec, at))
    });
    let (spec, loss) = (spec.clone(), loss.clone());
    move |problem: &Problem| match &frozen {
        None => total(&loss, problem, reduction),
        Some(frozen) => {
            let description = describe(&spec, problem, reduction, f64::LEAST_SINE);
            frozen.evaluate(&description, &batch(&spec, problem)).expect("a loss").loss
        }
    }
}

/// Compares every gradient of a loss with differences of its value.
fn check(report: &mut ErrorReport, place: &str, spec: &LossSpec, problem: &Problem, reduction: Reduction) {
    let loss = spec.clone().build(problem.classes()).unwrap_or_else(|error| panic!("{place}: {error}"));
    let problem = problem.clone().fitted_to(&loss);
    let result = evaluate::<f64>(&loss, &problem, reduction).unwrap_or_else(|error| panic!("{place}: {error}"));
    let value = value(spec, &loss, &problem, reduction);
    let size = result.rows.iter().map(|row| row.abs()).sum::<f64>();
    let s = describe(spec, &problem, reduction, f64::LEAST_SINE).effective_scale();
    let mut compare = |what: &str, got: &[f64], at: &[f64], h: f64, put: &dyn Fn(&mut Problem, &[f64])| {
        let function = |parameters: &[f64]| {
            let mut moved = problem.clone();
            put(&mut moved, parameters);
            value(&moved)
        };
        let slopes = five_point_difference(function, at, h);
        assert_eq!(got.len(), slopes.len(), "{place}: {what}");
        for (k, (&got, want)) in got.iter().zip(slopes).enumerate() {
            report.check(what, || format!("{place} [{k}]"), got, want, of_difference(want, size, h));
        }
    };
    let scores: Vec<f64> = problem.scores.iter().copied().collect();
    let shape = problem.scores.raw_dim();
    let got: Vec<f64> = result.scores.iter().copied().collect();
    compare("scores", &got, &scores, step_of_scores(s), &|moved, v| {
        moved.scores = Array2::from_shape_vec(shape, v.to_vec()).unwrap();
    });
    if let (Some(got), Some(norms)) = (&result.embedding_norms, &problem.embedding_norms) {
        compare("embedding norms", got, norms, step_of_scores(s), &|moved, v| {
            moved.embedding_norms = Some(v.to_vec());
        });
    }
    if let (Some(got), Some(norms)) = (&result.weight_norms, &problem.weight_norms) {
        compare("weight norms", got, norms, step_of_scores(s), &|moved, v| moved.weight_norms = Some(v.to_vec()));
    }
    if let Some(scale) = problem.scale {
        // Scores are at most about 2, so scaled scores move no further than by a step of a score.
        compare("scale", &[result.scale], &[scale], STEP / 4.0, &|moved, v| moved.scale = Some(v[0]));
    }
    if let Some(radius) = problem.radius {
        compare("radius", &[result.radius], &[radius], STEP, &|moved, v| moved.radius = Some(v[0]));
    }
}

/// Returns the loss with a learned scale inside its range, if the loss supports a learned scale.
fn learnable(spec: &LossSpec, problem: &mut Problem) -> LossSpec {
    let initial = spec.scale.initial();
    let learned = spec.clone().with_scale(Scale::Learned { initial, min: initial / 4.0, max: initial * 4.0 });
    if !is_accepted(&learned) {
        return spec.clone();
    }
    problem.scale = Some(initial * 1.125);
    learned
}

#[test]
fn gradients_of_every_margin_and_comparison_agree_with_differences() {
    let mut report = ErrorReport::new("gradients");
    let mut random = Random::new(11);
    let mut losses = 0;
    for geometry in geometries() {
        for margin in margins(4) {
            for comparison in comparisons() {
                let scale = Scale::fixed(if geometry == Geometry::Cosine { 8.0 } else { 1.5 });
                let mut spec = plain_spec(geometry, scale, margin.clone(), comparison);
                spec.negatives = cycled_negatives(geometry, losses);
                let ring = Regularizer::Ring { weight: 0.25, radius: 1.0 };
                let magnitude = Regularizer::Magnitude { weight: 2.0, low: 1.0, high: 2.0 };
                let incay = Regularizer::FeatureIncay { weight: 0.25 };
                spec.regularizer = [None, Some(ring), Some(incay), Some(magnitude)][losses % 4];
                if !is_accepted(&spec) {
                    spec.regularizer = None;
                }
                if !is_accepted(&spec) {
                    continue;
                }
                losses += 1;
                let mut problem = smooth_problem(&mut random, &spec, 2, 4);
                let spec = learnable(&spec, &mut problem);
                if !(0..2).all(|row| is_smooth(&spec, &problem, row)) {
                    problem.scale = None;
                }
                if matches!(spec.regularizer, Some(Regularizer::Ring { .. })) {
                    problem.radius = Some(1.25);
                }
                let reduction = [Reduction::Sum, Reduction::Mean][losses % 2];
                check(&mut report, &format!("{spec:?} {problem:?}"), &spec, &problem, reduction);
            }
        }
    }
    println!("gradients: {losses} losses");
    report.finish(50_000);
}

/// Returns the presets whose gradients are compared; `preset_coverage.rs` checks that none is missing.
pub(crate) fn preset_entries() -> Vec<(&'static str, LossSpec)> {
    let presets = [
        "cross-entropy",
        "weston-watkins",
        "crammer-singer",
        "lse-hinge",
        "perceptron",
        "one-versus-rest",
        "normface",
        "am-softmax",
        "arcface",
        "sphereface",
        "l-softmax",
        "combined-margin",
        "sub-center-arcface",
        "sphereface-r-v1",
        "sphereface-r-v2",
        "ldam",
        "elasticface",
        "elasticface-cos",
        "adaface",
        "magface",
        "curricularface",
        "mv-softmax",
    ];
    presets.map(|name| (name, spec_of(presets::find(name).expect("a preset"), 5))).to_vec()
}

/// Returns true if the margin is annealed. For these the step of a smooth row may change, because annealing only weakens
/// kinks.
fn is_annealed(spec: &LossSpec) -> bool {
    matches!(&spec.margin, Margin::Angle(angle) if angle.anneal.is_some())
}

#[test]
fn gradients_of_every_preset_agree_with_differences() {
    let mut report = ErrorReport::new("gradients of presets");
    let mut random = Random::new(12);
    for (name, preset) in preset_entries() {
        for turn in 0..24 {
            let mut spec = preset.clone();
            if turn % 2 == 1 {
                spec.class_weights = Some(random.vector(5, 0.25, 2.0));
                spec.ignored_label = Some(4);
            }
            let mut problem = smooth_problem(&mut random, &spec, 4, 5);
            if turn % 3 == 1 {
                problem.sample_weights = Some(random.vector(4, 0.25, 2.0));
            }
            let mut spec = learnable(&spec, &mut problem);
            if !(0..4).all(|row| is_smooth(&spec, &problem, row)) {
                problem.scale = None;
            }
            if turn % 4 == 2 {
                spec.regularizer = Some(Regularizer::Ring { weight: 0.5, radius: 1.0 });
                problem.radius = Some(0.75);
            }
            if is_annealed(&spec) {
                problem.state = Some(state([0, 10, 2000, 100_000][turn % 4]));
            }
            let reduction = [Reduction::Mean, Reduction::Sum, Reduction::None][turn % 3];
            check(&mut report, &format!("{name} {problem:?}"), &spec, &problem, reduction);
        }
    }
    report.finish(5_000);
}

#[test]
fn gradients_with_soft_targets_agree_with_differences() {
    let mut report = ErrorReport::new("gradients of soft targets");
    let mut random = Random::new(13);
    for comparison in comparisons() {
        let spec = presets::find("normface").unwrap().spec().with_comparison(comparison);
        if !matches!(comparison, Comparison::LogSumExp { .. }) || comparison.gate() != Gate::Softplus {
            continue;
        }
        for reduction in [Reduction::Sum, Reduction::Mean] {
            let spec = spec.clone().with_class_weights(random.vector(5, 0.25, 2.0));
            let scores = random.matrix(4, 5, -0.9, 0.9);
            let mut problem = Problem::soft(scores, random.distributions(4, 5));
            problem.scale = Some(6.0);
            problem.sample_weights = Some(random.vector(4, 0.25, 2.0));
            check(&mut report, &format!("{spec:?} {problem:?}"), &spec, &problem, reduction);
        }
    }
    report.finish(160);
}
