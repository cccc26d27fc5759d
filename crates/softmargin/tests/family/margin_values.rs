//! Margin values of the rows (drawn, from class frequency, from the norm), and the running averages of the state.

use crate::combinations::{class_counts, problem_of, spec_of};
use crate::error_report::ErrorReport;
use crate::oracle_description::{batch, describe, oracle_state};
use crate::problem::{Owned, Problem, ProblemTargets, Random, evaluate, random_state, state};
use crate::properties::evaluate_f64;
use crate::tolerances::PLAIN;
use ndarray::Array2;
use softmargin::random::{Generator, Purpose};
use softmargin::rows::Learned;
use softmargin::{
    AngularMargin, Geometry, LossSpec, LossState, Margin, MarginGradient, MarginValue, Negatives, NormMargin, Radians,
    Real, Reduction, Regularizer, presets,
};

fn spec(name: &str) -> LossSpec {
    spec_of(presets::find(name).unwrap(), 4)
}

/// Returns a problem of random cosines for four classes.
fn cosines(rows: usize) -> Problem {
    let mut random = Random::new(81);
    let labels = random.labels(rows, 4);
    Problem::new(random.matrix(rows, 4, -0.9, 0.9), labels)
}

/// Margin values of the rows of a problem, and their derivatives with respect to the norm.
#[derive(Debug)]
struct RowMargins {
    /// Value of a margin on the score, or `plus`.
    value: Vec<f64>,
    minus: Vec<f64>,
    value_derivative: Vec<f64>,
    minus_derivative: Vec<f64>,
}

fn margin_values(spec: &LossSpec, problem: &Problem) -> RowMargins {
    let loss = spec.clone().build(4).unwrap();
    let problem = problem.clone().fitted_to(&loss);
    let plan = loss.plan(&Owned::<f64>::of(&problem).rows(), Learned::default()).unwrap();
    let of_rows = |of: &dyn Fn(usize) -> f64| (0..plan.count()).map(of).collect();
    RowMargins {
        value: of_rows(&|row| plan.margin_values(row)[0]),
        minus: of_rows(&|row| plan.margin_values(row)[1]),
        value_derivative: of_rows(&|row| plan.margin_derivatives(row)[0]),
        minus_derivative: of_rows(&|row| plan.margin_derivatives(row)[1]),
    }
}

/// Returns the loss with these margin values as per-sample values.
fn loss_with_per_sample_values(spec: &LossSpec, problem: &Problem, margins: &RowMargins) -> f64 {
    let mut per_sample = spec.clone();
    match &mut per_sample.margin {
        Margin::Score { value } => *value = MarginValue::PerSample,
        Margin::Angle(angle) => angle.plus = MarginValue::PerSample,
        _ => panic!("a margin"),
    }
    evaluate_f64(&per_sample, &Problem { margins: Some(margins.value.clone()), ..problem.clone() }, Reduction::Sum)
        .total
}

#[test]
fn draws_depend_only_on_seed_step_and_row() {
    for name in ["elasticface", "elasticface-cos"] {
        let spec = spec(name);
        let at = |rows, state: LossState| margin_values(&spec, &Problem { state: Some(state), ..cosines(rows) }).value;
        let first = at(64, state(5).with_seed(9));
        assert_eq!(first, at(64, state(5).with_seed(9)), "{name}: draws are not reproducible");
        assert_eq!(first[..10], at(10, state(5).with_seed(9)), "{name}: draws depend on later rows");
        assert!(first != at(64, state(6).with_seed(9)) && first != at(64, state(5).with_seed(8)), "{name}");
        let distinct: std::collections::BTreeSet<u64> = first.iter().map(|m| m.to_bits()).collect();
        assert_eq!(distinct.len(), 64, "{name}: rows share draws");
        let mut stream = Generator::new(9, Purpose::Margins, 5);
        let mean = presets::find(name).unwrap().default_margin()[0];
        let want: Vec<f64> = first.iter().map(|_| mean + 0.0125 * stream.normal()).collect();
        assert_eq!(first, want, "{name}");
        // The same values as per-sample margins give the same loss.
        let problem = Problem { state: Some(state(5).with_seed(9)), ..cosines(64) };
        let drawn = evaluate_f64(&spec, &problem, Reduction::Sum).total;
        assert_eq!(drawn, loss_with_per_sample_values(&spec, &problem, &margin_values(&spec, &problem)), "{name}");
    }
}

#[test]
fn drawn_margin_values_stay_in_their_range() {
    let wide = |margin| spec("arcface").with_margin(margin);
    let plus = MarginValue::Drawn { mean: Radians(1.5), std: Radians(100.0) };
    let Margin::Angle(arcface) = spec("arcface").margin else { panic!("an angle") };
    let score = MarginValue::Drawn { mean: 0.5, std: 100.0 };
    let cases = [
        (Margin::Angle(AngularMargin { plus, ..arcface.clone() }), std::f64::consts::PI),
        (Margin::Score { value: score.clone() }, 2.0),
        (Margin::Logit { value: score.clone() }, f64::INFINITY),
    ];
    for (margin, most) in cases {
        let all = margin_values(&wide(margin.clone()), &cosines(500)).value;
        let ends = |end: f64| all.iter().filter(|m| **m == end).count();
        assert!(all.iter().all(|m| (0.0..=most).contains(m)) && ends(0.0) > 100, "{margin:?}");
        assert!(most.is_infinite() || ends(most) > 100, "{margin:?}");
    }
    let minus = margin_values(&wide(Margin::Angle(AngularMargin { minus: score, ..arcface })), &cosines(500)).minus;
    assert!(minus.iter().all(|m| (0.0..=2.0).contains(m)) && minus.contains(&2.0));
}

#[test]
fn rarer_classes_have_larger_margins() {
    let ldam = presets::find("ldam").unwrap().spec();
    assert!(ldam.needs_class_counts() && !spec("ldam").needs_class_counts() && !spec("arcface").needs_class_counts());
    let counted = |counts: &[u64]| ldam.clone().with_class_counts(counts);
    let problem = Problem { targets: ProblemTargets::Labels(vec![0, 1, 2, 3]), ..cosines(4) };
    let at = |counts: &[u64]| margin_values(&counted(counts), &problem).value;
    for (found, want) in at(&[16, 1, 0, 81]).into_iter().zip([0.25, 0.5, 0.5, 0.5 / 3.0]) {
        assert!((found - want).abs() <= PLAIN, "{found}, expected {want}");
    }
    assert_eq!(at(&[160, 10, 0, 810]), at(&[16, 1, 0, 81]), "only the ratios matter");
    assert_eq!(at(&[0; 4]), [0.5; 4]);
    assert_eq!(at(&[u64::MAX, 1, 1, 1])[1], 0.5);
    let other = counted(&class_counts(4)).with_class_counts(&[1; 4]);
    assert_eq!(margin_values(&other, &problem).value, [0.5; 4], "new counts replace the earlier ones");
    let error = ldam.clone().build(4).unwrap_err();
    assert!(error.subject().ends_with("class-counts") && error.advice().contains("with_class_counts"), "{error}");
    let short = counted(&[1, 2]).build(4).unwrap_err();
    assert!(short.expected().contains("4 counts") && short.found() == "2", "{short}");
    // The same values per class give the same loss.
    let per_class = MarginValue::PerClass(at(&[16, 1, 0, 81]));
    let explicit = ldam.clone().with_margin(Margin::Score { value: per_class });
    let counted = counted(&[16, 1, 0, 81]);
    assert_eq!(
        evaluate_f64(&counted, &cosines(20), Reduction::Sum),
        evaluate_f64(&explicit, &cosines(20), Reduction::Sum)
    );
}

#[test]
fn linear_margin_values_are_constant_beyond_their_norm_bounds() {
    let problem = |norms: &[f64]| Problem { embedding_norms: Some(norms.to_vec()), ..cosines(norms.len()) };
    let found = margin_values(&spec("magface"), &problem(&[0.0, 5.0, 10.0, 35.0, 60.0, 110.0, 1e6]));
    let want = [0.45, 0.45, 0.45, 0.5375, 0.625, 0.8, 0.8];
    assert!(found.value.iter().zip(want).all(|(m, want)| (m - want).abs() < 1e-15), "{found:?}");
    let slope = found.value_derivative[3];
    assert!((slope - 0.0035).abs() < 1e-17 && found.value_derivative == [0.0, 0.0, 0.0, slope, slope, 0.0, 0.0]);
    // The margin contributes to the radial gradient only between the bounds of the norm.
    let without_regularizer = spec("magface").with_regularizer(None);
    let norms = [5.0, 60.0, 200.0];
    let result = evaluate_f64(&without_regularizer, &problem(&norms), Reduction::Sum).embedding_norms.unwrap();
    assert!(result[0] == 0.0 && result[1] > 0.0 && result[2] == 0.0, "{result:?}");
    // So does the regularizer.
    let without_margin = spec("magface").with_margin(Margin::None);
    let regularizer_gradient =
        evaluate_f64(&without_margin, &problem(&[5.0, 10.0, 60.0, 110.0, 200.0]), Reduction::Sum)
            .embedding_norms
            .unwrap();
    let inside = 20.0 * (1.0 / 110.0_f64.powi(2) - 1.0 / 60.0_f64.powi(2));
    assert!(
        regularizer_gradient[0] == 0.0
            && regularizer_gradient[1] == 0.0
            && regularizer_gradient[3] == 0.0
            && regularizer_gradient[4] == 0.0,
        "{regularizer_gradient:?}"
    );
    assert!((regularizer_gradient[2] - inside).abs() < 1e-15 && inside < 0.0, "{regularizer_gradient:?}");
    // The straight-through gradient treats the margin as a constant.
    let mut straight_through = without_regularizer;
    let Margin::Angle(angle) = &mut straight_through.margin else { panic!("an angle") };
    angle.gradient = MarginGradient::StraightThrough;
    let result = evaluate_f64(&straight_through, &problem(&norms), Reduction::Sum).embedding_norms.unwrap();
    assert_eq!(result, [0.0; 3]);
}

#[test]
fn a_standardized_norm_moves_the_margin_from_angle_to_cosine() {
    let mut usual = state(0);
    (usual.norm_mean, usual.norm_std) = (30.0, 10.0);
    let with_norms = |norms: &[f64], problem: Problem| Problem {
        embedding_norms: Some(norms.to_vec()),
        state: Some(usual.clone()),
        ..problem
    };
    let norms = [30.0, 40.0, 100.0, 1e9, 0.0];
    let found = margin_values(&spec("adaface"), &with_norms(&norms, cosines(5)));
    let want = [0.0, 0.333 * 10.0 / 10.001, 1.0, 1.0, -(0.333 * 29.999 / 10.001)];
    for (k, u) in want.into_iter().enumerate() {
        assert!((found.value[k] + 0.4 * u).abs() < 1e-15, "{found:?}");
        assert!((found.minus[k] - 0.4 - 0.4 * u).abs() < 1e-15, "{found:?}");
    }
    assert!(found.value_derivative.iter().chain(&found.minus_derivative).all(|slope| *slope == 0.0));
    let row = |theta: f64, norm: f64| {
        let problem = Problem::row(&[theta.cos(), 0.0, -1.0, -1.0], 0);
        evaluate_f64(&spec("adaface"), &with_norms(&[norm], problem), Reduction::Sum)
    };
    let clipped = row(0.1, 100.0);
    assert_eq!(clipped.scores[[0, 0]], 0.0, "an angle of 0.1 - 0.4 is clamped to 0");
    assert_eq!(clipped.rows, row(0.2, 100.0).rows);
    let beyond = row(3.1, 0.01);
    assert_eq!(
        (beyond.scores[[0, 0]], &beyond.rows),
        (0.0, &row(3.0, 0.01).rows),
        "an angle beyond pi is clamped to pi"
    );
    assert!(row(1.0, 100.0).scores[[0, 0]] < 0.0);
}

/// Returns the updated running average.
fn running_average(momentum: f64, new: f64, old: f64) -> f64 {
    momentum * new + (1.0 - momentum) * old
}

#[test]
fn running_averages_use_only_valid_rows() {
    let near = |got: f64, want: f64| assert!((got - want).abs() <= PLAIN * want.abs(), "{got}, expected {want}");
    let loss = spec("adaface").with_ignored_label(-1).build(4).unwrap();
    let mut problem = cosines(5);
    problem.targets = ProblemTargets::Labels(vec![0, 1, -1, 3, 2]);
    problem.sample_weights = Some(vec![1.0, 5.0, 1.0, 0.0, 0.5]);
    // Norms are clamped to 0.001 to 100. The ignored row and the row of weight 0 are excluded; the others have equal weight.
    problem.embedding_norms = Some(vec![250.0, 0.0, 7.0, 8.0, 40.0]);
    let mut found = loss.initial_state().unwrap();
    loss.update(&mut found, &Owned::<f64>::of(&problem).batch()).unwrap();
    let clamped = [100.0, 0.001, 40.0];
    let mean = clamped.iter().sum::<f64>() / 3.0;
    let std = (clamped.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    near(found.norm_mean, running_average(0.01, mean, 20.0));
    near(found.norm_std, running_average(0.01, std, 100.0));
    assert_eq!((found.step, found.target_mean), (0, 0.0));
    // One row updates only the mean; without valid rows nothing changes.
    let one = Problem { sample_weights: Some(vec![0.0, 0.0, 0.0, 0.0, 1.0]), ..problem.clone() };
    let mut found = loss.initial_state().unwrap();
    loss.update(&mut found, &Owned::<f64>::of(&one).batch()).unwrap();
    near(found.norm_mean, running_average(0.01, 40.0, 20.0));
    assert_eq!(found.norm_std, 100.0);
    let empty = Problem { embedding_norms: Some(Vec::new()), ..Problem::new(Array2::zeros((0, 4)), Vec::new()) };
    for none in [Problem { sample_weights: Some(vec![0.0; 5]), ..problem }, empty] {
        let mut found = loss.initial_state().unwrap();
        loss.update(&mut found, &Owned::<f64>::of(&none).batch()).unwrap();
        assert_eq!(Some(found), loss.initial_state());
    }
}

#[test]
fn the_running_mean_of_target_cosines_is_updated() {
    let loss = spec("curricularface").build(4).unwrap();
    let problem = cosines(6);
    let of_target = |row: usize| problem.scores[[row, problem.label(row).unwrap() as usize]];
    let mut found = loss.initial_state().unwrap();
    let mut want = 0.0;
    for _ in 0..3 {
        loss.update(&mut found, &Owned::<f64>::of(&problem).batch()).unwrap();
        want = running_average(0.01, (0..6).map(of_target).sum::<f64>() / 6.0, want);
        assert!((found.target_mean - want).abs() <= PLAIN);
    }
    // A column with the targets' scores alone gives the same update.
    let owned = Owned::<f64>::of(&problem);
    let column = Array2::from_shape_fn((6, 1), |(row, _)| of_target(row));
    let (mut whole, mut alone) = (state(3), state(3));
    loss.update(&mut whole, &owned.batch()).unwrap();
    loss.update(&mut alone, &owned.batch_on(column.broadcast((6, 4)).unwrap())).unwrap();
    assert_eq!(whole, alone);
    // Infinite scores are excluded; NaN is an error that leaves the state unchanged.
    let mut masked = problem.clone();
    masked.scores.row_mut(0).fill(f64::NEG_INFINITY);
    let mut found = loss.initial_state().unwrap();
    loss.update(&mut found, &Owned::<f64>::of(&masked).batch()).unwrap();
    assert!(found.target_mean.is_finite() && found.target_mean != 0.0);
    masked.scores.row_mut(2).fill(f64::NAN);
    let before = found.clone();
    let error = loss.update(&mut found, &Owned::<f64>::of(&masked).batch()).unwrap_err();
    assert!(error.subject().contains("row 2") && found == before, "{error}");
}

#[test]
fn running_averages_agree_with_the_oracle() {
    let mut report = ErrorReport::new("averages");
    let mut random = Random::new(82);
    let usual = NormMargin::Standardized { value: 0.3, concentration: 0.5, momentum: 0.25 };
    for preset in presets::all() {
        for turn in 0..20 {
            let mut spec = spec_of(preset, 4).with_ignored_label(2);
            if turn % 3 == 1 && spec.geometry == Geometry::Cosine {
                spec.margin = Margin::Score { value: MarginValue::FromNorm(usual) };
                spec.negatives = Negatives::Curricular { momentum: 0.125 };
            }
            let loss = spec.clone().build(4).unwrap();
            let rows = random.below(9);
            let problem = problem_of(&mut random, &spec, rows, 4).fitted_to(&loss);
            let problem = Problem { state: Some(random_state(&mut random)), ..problem };
            let before = problem.state.clone().unwrap();
            let mut found = before.clone();
            loss.update(&mut found, &Owned::<f64>::of(&problem).batch()).unwrap();
            let description = describe(&spec, &problem, Reduction::Sum, f64::LEAST_SINE);
            let want =
                if rows == 0 { oracle_state(&before) } else { description.update(&batch(&spec, &problem)).unwrap() };
            assert_eq!((found.step, found.seed), (want.step, want.seed));
            let sizes = [1.0, 130.0, 130.0];
            let found = [found.target_mean, found.norm_mean, found.norm_std];
            let want = [want.target_mean, want.norm_mean, want.norm_std];
            for ((got, want), size) in found.into_iter().zip(want).zip(sizes) {
                report.check("average", || format!("{} {problem:?}", preset.name), got, want, PLAIN * size);
            }
        }
    }
    report.finish(1_000);
}

#[test]
fn invalid_states_are_rejected() {
    let loss = spec("adaface").build(4).unwrap();
    let problem = Problem { embedding_norms: Some(vec![20.0; 3]), ..cosines(3) };
    let with = |change: fn(&mut LossState)| {
        let mut bad = state(0);
        change(&mut bad);
        let rejected =
            evaluate::<f64>(&loss, &Problem { state: Some(bad.clone()), ..problem.clone() }, Reduction::Mean);
        assert!(loss.update(&mut bad, &Owned::<f64>::of(&problem).batch()).is_err());
        rejected.unwrap_err().subject().to_owned()
    };
    assert_eq!(with(|state| state.norm_mean = f64::NAN), "state.norm-mean");
    assert_eq!(with(|state| state.norm_std = -1.0), "state.norm-std");
    assert_eq!(with(|state| state.target_mean = f64::INFINITY), "state.target-mean");
    // `update` requires the inputs that the loss needs, except the state, which is its argument.
    let mut fine = state(0);
    let error = loss.update(&mut fine, &Owned::<f64>::of(&cosines(3)).batch()).unwrap_err();
    assert_eq!((error.subject(), fine), ("embedding norms", state(0)));
}

#[test]
fn margin_values_are_0_without_a_margin_and_in_ignored_rows() {
    let none = margin_values(&spec("arcface").with_margin(Margin::None), &cosines(3));
    assert_eq!((none.value, none.minus), (vec![0.0; 3], vec![0.0; 3]));
    let spec = spec("ldam").with_ignored_label(2);
    let problem = Problem { targets: ProblemTargets::Labels(vec![2, 1, 2]), ..cosines(3) };
    assert_eq!(margin_values(&spec, &problem).value, [0.0, 0.5, 0.0]);
}

#[test]
fn margin_values_from_the_norm_work_under_every_geometry() {
    let value = NormMargin::Linear { low: 0.1, high: 0.4, norm_low: 1.0, norm_high: 3.0 };
    for geometry in [Geometry::UnitWeights, Geometry::InnerProduct { bias: true, temperature: 0.5 }] {
        let margin = Margin::Score { value: MarginValue::FromNorm(value) };
        assert!(margin.is_from_norm() && !Margin::score(0.3).is_from_norm());
        let spec = presets::find("cross-entropy").unwrap().spec().with_geometry(geometry).with_margin(margin);
        let problem = Problem { embedding_norms: Some(vec![2.0]), ..Problem::row(&[0.5, 0.75, -1.0, 0.0], 0) };
        let result = evaluate_f64(&spec, &problem, Reduction::Sum);
        let want = -result.scores[[0, 0]] * 0.15;
        assert!((result.embedding_norms.unwrap()[0] - want).abs() <= PLAIN, "{spec:?}");
    }
    // The gradients of margin and regularizer add up.
    let both = spec("magface").with_regularizer(Regularizer::Ring { weight: 1.0, radius: 0.0 });
    let problem = Problem { embedding_norms: Some(vec![60.0]), ..Problem::row(&[0.5, 0.1, 0.0, 0.2], 0) };
    let margin = spec("magface").with_regularizer(None);
    let [sum, part] =
        [both, margin].map(|spec| evaluate_f64(&spec, &problem, Reduction::Sum).embedding_norms.unwrap()[0]);
    assert!((sum - part - 60.0).abs() < 1e-12);
}
