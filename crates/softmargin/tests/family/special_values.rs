//! Cases whose result is defined separately: infinities, NaN, empty batches, ties, poles, extreme magnitudes.

use crate::combinations::{comparisons, is_accepted, problem_of, spec_of};
use crate::error_report::ErrorReport;
use crate::oracle_description::{compare_with_expected, expected_by_oracle};
use crate::problem::{Evaluation, Problem, ProblemTargets, Random, bits, evaluate, state};
use crate::tolerances::{Conditions, Precision};
use ndarray::{Array2, array};
use softmargin::{
    Comparison, ErrorKind, Gate, Geometry, LossSpec, Margin, Real, Reduction, Regularizer, Result, SmoothGate, presets,
};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

pub(crate) fn cross_entropy() -> LossSpec {
    presets::find("cross-entropy").unwrap().spec()
}

fn with(comparison: Comparison) -> LossSpec {
    cross_entropy().with_comparison(comparison)
}

pub(crate) fn try_evaluate<F: Real>(spec: &LossSpec, problem: &Problem, reduction: Reduction) -> Result<Evaluation> {
    let loss = spec.clone().build(problem.classes())?;
    evaluate::<F>(&loss, &problem.clone().fitted_to(&loss), reduction)
}

fn evaluate_sum(spec: &LossSpec, problem: &Problem) -> Evaluation {
    try_evaluate::<f64>(spec, problem, Reduction::Sum).unwrap()
}

fn row(spec: &LossSpec, z: &[f64], label: i64) -> Evaluation {
    evaluate_sum(spec, &Problem::row(z, label))
}

fn slopes(result: &Evaluation) -> Vec<f64> {
    result.scores.iter().copied().collect()
}

/// Returns every preset with a valid batch of 8 rows and 3 classes.
fn preset_problems() -> Vec<(&'static str, LossSpec, Problem)> {
    let mut random = Random::new(71);
    let one = |preset: &presets::Preset| {
        let spec = spec_of(preset, 3);
        let problem = problem_of(&mut random, &spec, 8, 3);
        (preset.name, spec, Problem { state: Some(state(0)), ..problem })
    };
    presets::all().iter().map(one).collect()
}

#[test]
fn errors_name_the_rows_with_nan() {
    for (name, spec, problem) in preset_problems() {
        for column in 0..3 {
            let mut bad = problem.clone();
            bad.scores[[2, column]] = NAN;
            let error = try_evaluate::<f32>(&spec, &bad, Reduction::Mean).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Number, "{name}");
            assert!(error.subject().contains("row 2") && error.found() == "NaN", "{name}: {error}");
            // Rows of weight 0 are checked too.
            bad.sample_weights = Some(vec![1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
            assert!(try_evaluate::<f64>(&spec, &bad, Reduction::Mean).is_err(), "{name}");
        }
        let mut many = problem.clone();
        for row in 1..8 {
            many.scores[[row, 0]] = NAN;
        }
        let error = try_evaluate::<f64>(&spec, &many, Reduction::Mean).unwrap_err();
        assert!(error.subject().contains("row 1, 2, 3, 4, 5 and 2 more"), "{name}: {error}");
    }
    let soft = Problem::soft(array![[0.0, 1.0], [NAN, 0.0]], array![[0.5, 0.5], [1.0, 0.0]]);
    let error = try_evaluate::<f64>(&cross_entropy(), &soft, Reduction::Mean).unwrap_err();
    assert!(error.subject().contains("row 1"), "{error}");
    let single = try_evaluate::<f64>(&cross_entropy(), &Problem::row(&[NAN], 0), Reduction::Mean).unwrap_err();
    assert!(single.subject().contains("row 0"), "{single}");
}

#[test]
fn nan_and_infinities_in_other_inputs_are_rejected() {
    let ring = Regularizer::Ring { weight: 1.0, radius: 1.0 };
    let spec = presets::find("sphereface").unwrap().spec().with_regularizer(ring);
    let good = Problem {
        embedding_norms: Some(vec![1.0, 1.0]),
        sample_weights: Some(vec![1.0, 1.0]),
        radius: Some(1.0),
        state: Some(state(0)),
        ..Problem::new(array![[0.5, 0.25], [0.1, 0.2]], vec![0, 1])
    };
    assert!(try_evaluate::<f64>(&spec, &good, Reduction::Mean).is_ok());
    let assert_rejected = |problem: Problem, subject: &str| {
        let error = try_evaluate::<f64>(&spec, &problem, Reduction::Mean).unwrap_err();
        assert_eq!(error.subject(), subject, "{error}");
        assert!([ErrorKind::Number, ErrorKind::Spec].contains(&error.kind()), "{error}");
    };
    for bad in [NAN, INF, -1.0] {
        assert_rejected(Problem { embedding_norms: Some(vec![1.0, bad]), ..good.clone() }, "embedding norms[1]");
        assert_rejected(Problem { sample_weights: Some(vec![bad, 1.0]), ..good.clone() }, "sample weights[0]");
    }
    for bad in [NAN, INF] {
        assert_rejected(Problem { radius: Some(bad), ..good.clone() }, "radius");
    }
    let learned = presets::find("normface").unwrap().spec();
    for bad in [NAN, INF] {
        let problem = Problem { scale: Some(bad), ..Problem::row(&[0.5, 0.25], 0) };
        assert_eq!(try_evaluate::<f32>(&learned, &problem, Reduction::Mean).unwrap_err().subject(), "scale");
    }
    let l_softmax = presets::find("l-softmax").unwrap().spec();
    let bad = Problem { weight_norms: Some(vec![NAN, 1.0]), ..good.clone() };
    let error = try_evaluate::<f64>(&l_softmax, &Problem { radius: None, ..bad }, Reduction::Mean).unwrap_err();
    assert_eq!(error.subject(), "weight norms[0]");
    let margins = |value: f64| {
        let spec = cross_entropy().with_margin(Margin::Score { value: softmargin::MarginValue::PerSample });
        let problem = Problem { margins: Some(vec![0.1, value]), ..Problem::new(Array2::zeros((2, 2)), vec![0, 1]) };
        try_evaluate::<f64>(&spec, &problem, Reduction::Mean)
    };
    assert!(margins(0.3).is_ok());
    for bad in [NAN, INF, -0.1] {
        assert_eq!(margins(bad).unwrap_err().subject(), "margins[1]");
    }
}

#[test]
fn a_negative_at_minus_infinity_is_excluded_from_the_comparison() {
    for comparison in comparisons().into_iter().filter(|c| is_accepted(&with(*c))) {
        let with_mask = row(&with(comparison), &[0.25, -INF, 0.5], 0);
        let without = row(&with(comparison), &[0.25, 0.5], 0);
        assert_eq!(with_mask.total, without.total, "{comparison:?}");
        assert_eq!(slopes(&with_mask), [without.scores[[0, 0]], 0.0, without.scores[[0, 1]]], "{comparison:?}");
        assert_eq!(with_mask.scale, without.scale, "{comparison:?}");
    }
}

#[test]
fn without_negatives_the_loss_is_zero() {
    for comparison in comparisons().into_iter().filter(|c| is_accepted(&with(*c))) {
        for z in [0.5, INF, -INF] {
            let result = row(&with(comparison), &[z], 0);
            assert_eq!((result.total, result.scores[[0, 0]], result.scale), (0.0, 0.0, 0.0), "{comparison:?}");
        }
        let masked = row(&with(comparison), &[0.5, -INF, -INF], 0);
        if matches!(comparison, Comparison::AgainstZero { .. }) {
            // The target's own term remains.
            let want = if comparison.gate() == Gate::Relu { 0.0 } else { (-0.5_f64).exp().ln_1p() };
            assert!((masked.total - want).abs() < 1e-15, "{comparison:?}");
        } else {
            assert_eq!((masked.total, slopes(&masked)), (0.0, vec![0.0; 3]), "{comparison:?}");
        }
    }
}

#[test]
fn infinite_scores_give_the_limits() {
    let slopes_of = |comparison, z: &[f64], label| {
        let result = row(&with(comparison), z, label);
        (result.total, slopes(&result), result.scale)
    };
    let smooth = Comparison::CROSS_ENTROPY;
    assert_eq!(slopes_of(smooth, &[-INF, 0.0, 0.0], 0), (INF, vec![-1.0, 0.5, 0.5], INF));
    assert_eq!(slopes_of(smooth, &[0.0, INF, 1.0, INF], 0), (INF, vec![-1.0, 0.5, 0.0, 0.5], INF));
    assert_eq!(slopes_of(smooth, &[INF, 3.0], 0), (0.0, vec![0.0, 0.0], 0.0));
    for gate in [Gate::Relu, Gate::Softplus] {
        for comparison in [Comparison::EachPair { gate }, Comparison::Hardest { gate }] {
            assert_eq!(slopes_of(comparison, &[INF, 3.0], 0), (0.0, vec![0.0, 0.0], 0.0));
            assert_eq!(slopes_of(comparison, &[-INF, 3.0], 0), (INF, vec![-1.0, 1.0], INF));
            assert_eq!(slopes_of(comparison, &[2.0, INF], 0), (INF, vec![-1.0, 1.0], INF));
        }
    }
    let hardest = Comparison::Hardest { gate: Gate::Relu };
    assert_eq!(slopes_of(hardest, &[0.0, INF, INF], 0).1, [-1.0, 1.0, 0.0], "the lowest index of the infinite ones");
    let each = Comparison::EachPair { gate: Gate::Relu };
    assert_eq!(slopes_of(each, &[-INF, 3.0, -INF, 1.0], 0).1, [-2.0, 1.0, 0.0, 1.0]);
    let zero = Comparison::AgainstZero { gate: Gate::Softplus };
    assert_eq!(slopes_of(zero, &[INF, 0.0], 0), (2_f64.ln(), vec![0.0, 0.5], 0.0));
    assert_eq!(slopes_of(zero, &[-INF, 0.0], 0), (INF, vec![-1.0, 0.5], INF));
    assert_eq!(slopes_of(zero, &[0.0, INF], 0), (INF, vec![-0.5, 1.0], INF));
    let smoothed = SmoothGate::Softplus { label_smoothing: 0.3, z_loss: 0.0 };
    for z in [[-INF, 0.0], [0.0, INF], [INF, 0.0]] {
        assert_eq!(slopes_of(Comparison::LogSumExp { gate: smoothed }, &z, 0).0, INF);
    }
}

#[test]
fn an_infinite_negative_does_not_change_the_margin_of_a_finite_target() {
    // Each finite negative is still compared with z_y - m: 0.25 > 0.5 - 1, so it violates the margin.
    let spec = presets::find("weston-watkins").unwrap().spec();
    let result = row(&spec, &[0.5, INF, 0.25, -0.75], 0);
    assert_eq!((result.total, slopes(&result)), (INF, vec![-2.0, 1.0, 1.0, 0.0]));
    let arcface = presets::find("arcface").unwrap().spec();
    let with_infinite_negative = row(&arcface, &[0.5, INF, 0.25], 0);
    let theta = 0.5_f64.acos();
    let slope = -64.0 * (theta + 0.5).sin() / theta.sin();
    assert!((with_infinite_negative.scores[[0, 0]] - slope).abs() < 1e-12, "{with_infinite_negative:?}");
}

#[test]
fn infinite_scores_of_target_and_negative_are_rejected() {
    for comparison in comparisons().into_iter().filter(|c| is_accepted(&with(*c))) {
        let problem = Problem::new(array![[0.0, 1.0], [INF, INF]], vec![0, 0]);
        let error = try_evaluate::<f64>(&with(comparison), &problem, Reduction::Mean).unwrap_err();
        assert!(error.subject().contains("row 1") && error.to_string().contains("infinity"), "{error}");
        assert!(error.advice().contains("mask"), "{error}");
    }
}

#[test]
fn soft_targets_with_infinite_scores_give_the_limits() {
    let evaluate_sum = |spec: &LossSpec, z: Array2<f64>, p: Array2<f64>| {
        try_evaluate::<f64>(spec, &Problem::soft(z, p), Reduction::Sum).map(|result| (result.total, slopes(&result)))
    };
    let plain = cross_entropy();
    assert_eq!(evaluate_sum(&plain, array![[-INF, 0.0]], array![[0.0, 1.0]]).unwrap(), (0.0, vec![0.0, 0.0]));
    assert_eq!(evaluate_sum(&plain, array![[-INF, 0.0]], array![[0.5, 0.5]]).unwrap().0, INF);
    assert_eq!(evaluate_sum(&plain, array![[INF, 0.0]], array![[1.0, 0.0]]).unwrap(), (0.0, vec![0.0, 0.0]));
    assert_eq!(evaluate_sum(&plain, array![[INF, 0.0]], array![[0.5, 0.5]]).unwrap(), (INF, vec![0.5, -0.5]));
    // As with a label, several infinite negatives share the gradient; a positive target among them is an error.
    let shared = evaluate_sum(&plain, array![[0.0, INF, INF]], array![[1.0, 0.0, 0.0]]).unwrap();
    assert_eq!(shared, (INF, vec![-1.0, 0.5, 0.5]));
    let error = evaluate_sum(&plain, array![[0.0, INF, INF]], array![[0.5, 0.5, 0.0]]).unwrap_err();
    assert!(error.subject().contains("row 0"), "{error}");
    // With label smoothing every class has a positive target.
    let gate = SmoothGate::Softplus { label_smoothing: 0.5, z_loss: 0.0 };
    let smoothed = with(Comparison::LogSumExp { gate });
    assert_eq!(evaluate_sum(&smoothed, array![[INF, 0.0]], array![[1.0, 0.0]]).unwrap(), (INF, vec![0.25, -0.25]));
    let result = try_evaluate::<f64>(&plain, &Problem::soft(array![[INF, 0.0]], array![[0.0, 1.0]]), Reduction::Sum);
    assert_eq!(result.unwrap().scale, INF);
}

#[test]
fn a_row_of_weight_0_contributes_nothing_even_at_an_infinite_loss() {
    let problem =
        Problem { sample_weights: Some(vec![0.0, 1.0]), ..Problem::new(array![[-INF, 0.0], [0.5, 0.25]], vec![0, 0]) };
    let result = evaluate_sum(&cross_entropy(), &problem);
    assert!(result.rows[0] == 0.0 && result.total.is_finite() && result.valid_rows == 1);
    assert_eq!(slopes(&result)[..2], [0.0, 0.0]);
}

#[test]
fn the_loss_keeps_its_digits_if_the_target_has_nearly_all_probability() {
    let result = try_evaluate::<f32>(&cross_entropy(), &Problem::row(&[20.0, 0.0], 0), Reduction::Sum).unwrap();
    assert_eq!(result.total, f64::from(2.061_153_6e-9_f32));
    assert_eq!(slopes(&result), [-result.total, result.total]);
    let soft = Problem::soft(array![[20.0, 0.0]], array![[1.0, 0.0]]);
    let result = try_evaluate::<f32>(&cross_entropy(), &soft, Reduction::Sum).unwrap();
    assert_eq!(result.total, f64::from(2.061_153_6e-9_f32));
    assert_eq!(result.scores[[0, 0]], -result.total);
    // The naive difference of 1e4 and the log-sum-exp is 0.3135 in f32.
    let large = try_evaluate::<f32>(&cross_entropy(), &Problem::row(&[1e4, 9999.0], 0), Reduction::Sum).unwrap();
    assert_eq!(large.total, f64::from(0.313_261_7_f32));
}

/// Compares every accepted comparison with the oracle on scores of one size, in both precisions.
fn check_scores_of_size(report: &mut ErrorReport, size: f64, scale: f64) {
    let mut random = Random::new(72);
    for comparison in comparisons() {
        let spec = with(comparison).with_scale(scale);
        if !is_accepted(&spec) {
            continue;
        }
        let scores = random.matrix(6, 9, -1.0, 1.0).mapv(|z| f64::from((z * size) as f32));
        let problem = Problem::new(scores, random.labels(6, 9));
        for precision in Precision::ALL {
            let result = match precision {
                Precision::F32 => try_evaluate::<f32>(&spec, &problem, Reduction::Mean).unwrap(),
                Precision::F64 => try_evaluate::<f64>(&spec, &problem, Reduction::Mean).unwrap(),
            };
            let want = expected_by_oracle(&spec, &problem, Reduction::Mean, precision.least_sine());
            let conditions = Conditions { spec: &spec, problem: &problem, reduction: Reduction::Mean, precision };
            compare_with_expected(report, &format!("{size:e} {spec:?}"), &conditions, &result, &want);
        }
    }
}

#[test]
fn scores_and_scales_of_extreme_size_agree_with_the_oracle() {
    let mut report = ErrorReport::new("sizes");
    for (size, scale) in [
        (1e4, 1.0),
        (1e-30, 1.0),
        (1e-38, 1.0),
        (1e4, 1e-4),
        (1e-4, 1e4),
        (1.0, 1e-30),
        (1.0, 1e6),
        (1e30, 1.0),
        (1e-30, 1e30),
        (1e15, 1e15),
    ] {
        check_scores_of_size(&mut report, size, scale);
    }
    report.finish(10_000);
}

#[test]
fn a_million_classes_agree_with_the_oracle() {
    let mut report = ErrorReport::new("a million classes");
    let classes = 1_000_000;
    let mut random = Random::new(73);
    for comparison in comparisons() {
        let spec = with(comparison).with_geometry(Geometry::Cosine).with_scale(30.0).with_margin(Margin::score(0.35));
        if comparison.gate() == Gate::Identity {
            continue;
        }
        let problem = Problem::new(random.matrix(1, classes, -0.3, 0.5), vec![777_777]);
        let result = try_evaluate::<f32>(&spec, &problem, Reduction::Mean).unwrap();
        let precision = Precision::F32;
        let want = expected_by_oracle(&spec, &problem, Reduction::Mean, precision.least_sine());
        let conditions = Conditions { spec: &spec, problem: &problem, reduction: Reduction::Mean, precision };
        compare_with_expected(&mut report, &format!("{comparison:?}"), &conditions, &result, &want);
    }
    report.finish(5_000_000);
}

#[test]
fn without_valid_rows_the_loss_is_zero_or_nan() {
    for (name, spec, problem) in preset_problems() {
        let spec = spec.with_ignored_label(-100);
        let regularized = spec.clone().with_regularizer(Regularizer::Ring { weight: 1.0, radius: 1.0 });
        let mut ignored = problem.clone();
        ignored.targets = ProblemTargets::Labels(vec![-100; 8]);
        let zero_weights = Problem { sample_weights: Some(vec![0.0; 8]), ..problem.clone() };
        let empty = Problem {
            embedding_norms: Some(Vec::new()),
            ..Problem { targets: ProblemTargets::Labels(Vec::new()), scores: Array2::zeros((0, 3)), ..problem.clone() }
        };
        for spec in [&spec, &regularized] {
            for without_valid_rows in [&ignored, &zero_weights, &empty] {
                for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::MeanOrNan] {
                    let result = try_evaluate::<f32>(spec, without_valid_rows, reduction).unwrap();
                    assert_eq!((result.valid_rows, result.weight), (0, 0.0), "{name}");
                    if reduction == Reduction::MeanOrNan {
                        assert!(result.total.is_nan(), "{name}");
                    } else {
                        assert_eq!(result.total, 0.0, "{name}");
                    }
                    let norms = result.embedding_norms.unwrap_or_default();
                    let slopes = result.scores.iter().chain(&norms).chain([&result.scale, &result.radius]);
                    assert!(slopes.into_iter().all(|slope| *slope == 0.0), "{name} {reduction:?}");
                }
            }
        }
    }
}

#[test]
fn errors_name_the_row_with_a_label_out_of_range() {
    for (name, spec, problem) in preset_problems() {
        for label in [3, -1, i64::MIN, i64::MAX] {
            let mut bad = problem.clone();
            let ProblemTargets::Labels(labels) = &mut bad.targets else { unreachable!("hard labels") };
            labels[5] = label;
            let error = try_evaluate::<f32>(&spec, &bad, Reduction::Mean).unwrap_err();
            assert_eq!((error.kind(), error.subject()), (ErrorKind::Label, "target of row 5"), "{name}");
            assert!(error.expected().contains("0 to 2") && error.found() == label.to_string(), "{name}: {error}");
            let lenient = spec.clone().with_ignored_label(label);
            assert_eq!(try_evaluate::<f32>(&lenient, &bad, Reduction::Mean).unwrap().valid_rows, 7, "{name}");
        }
    }
    // The ignored label may be a class.
    let spec = cross_entropy().with_ignored_label(1);
    let result = evaluate_sum(&spec, &Problem::new(array![[0.0, 1.0], [0.5, 0.25]], vec![1, 0]));
    assert_eq!((result.valid_rows, result.rows[0]), (1, 0.0));
}

#[test]
fn ties_go_to_the_lowest_index() {
    let hardest = with(Comparison::Hardest { gate: Gate::Relu });
    assert_eq!(slopes(&row(&hardest, &[1.0, 2.0, 3.0, 3.0], 0)), [-1.0, 0.0, 1.0, 0.0]);
    assert_eq!(slopes(&row(&hardest, &[3.0, 3.0, 1.0], 2)), [1.0, 0.0, -1.0]);
    // At a gap of 0 the slope of ReLU is 0.
    for comparison in [Comparison::Hardest { gate: Gate::Relu }, Comparison::EachPair { gate: Gate::Relu }] {
        assert_eq!(slopes(&row(&with(comparison), &[2.0, 2.0], 0)), [0.0, 0.0]);
    }
    assert_eq!(slopes(&row(&with(Comparison::LogSumExp { gate: SmoothGate::Relu }), &[2.0, 2.0], 0)), [0.0, 0.0]);
    assert_eq!(slopes(&row(&with(Comparison::AgainstZero { gate: Gate::Relu }), &[0.0, 0.0], 0)), [0.0, 0.0]);
    // For incay a row is correct if the target is the first of the largest scores.
    let incay = cross_entropy().with_regularizer(Regularizer::FeatureIncay { weight: 1.0 });
    let tied = |label| {
        let problem = Problem { embedding_norms: Some(vec![2.0]), ..Problem::row(&[1.0, 1.0], label) };
        evaluate_sum(&incay, &problem).embedding_norms.unwrap()
    };
    assert_eq!((tied(0), tied(1)), (vec![-0.25], vec![0.0]));
}

#[test]
fn gradients_are_finite_at_angles_of_0_and_pi() {
    for name in ["arcface", "combined-margin", "sphereface", "l-softmax"] {
        let spec = presets::find(name).unwrap().spec();
        for cos in [1.0, -1.0, 1.0 - 1e-15, -1.0 + 1e-15, 1.000_000_1, -1.000_000_1] {
            let problem = Problem {
                embedding_norms: Some(vec![1.0]),
                weight_norms: Some(vec![1.0; 3]),
                ..Problem::row(&[cos, 0.25, -0.5], 0)
            };
            for result in [
                try_evaluate::<f64>(&spec, &problem, Reduction::Sum).unwrap(),
                try_evaluate::<f32>(&spec, &problem, Reduction::Sum).unwrap(),
            ] {
                let finite = result.total.is_finite() && result.scores.iter().all(|slope| slope.is_finite());
                assert!(finite && result.scores[[0, 0]] <= 0.0, "{name} at {cos}: {result:?}");
            }
        }
        // Scores that are not cosines are rejected.
        let problem = Problem {
            embedding_norms: Some(vec![1.0, 1.0]),
            weight_norms: Some(vec![1.0; 2]),
            ..Problem::new(array![[0.5, 0.25], [1.5, 0.0]], vec![0, 0])
        };
        let error = try_evaluate::<f32>(&spec, &problem, Reduction::Sum).unwrap_err();
        assert!(error.subject().contains("row 1") && error.expected().contains("cosine"), "{name}: {error}");
    }
}

#[test]
fn a_norm_of_0_has_no_gradient() {
    for name in ["sphereface", "l-softmax"] {
        let spec = presets::find(name).unwrap().spec();
        let problem = Problem {
            embedding_norms: Some(vec![0.0, 1.0]),
            weight_norms: Some(vec![0.0, 1.0]),
            ..Problem::new(array![[0.0, 0.0], [0.0, 0.5]], vec![0, 1])
        };
        let result = evaluate_sum(&spec, &problem);
        assert!((result.rows[0] - 2_f64.ln()).abs() < 1e-15, "{name}: {result:?}");
        assert_eq!(result.scores[[0, 0]], 0.0, "{name}");
        assert_eq!(result.embedding_norms.unwrap()[0], 0.0, "{name}");
    }
    let incay = cross_entropy().with_regularizer(Regularizer::FeatureIncay { weight: 1.0 });
    let problem = Problem { embedding_norms: Some(vec![0.0]), ..Problem::row(&[1.0, 0.0], 0) };
    let result = evaluate_sum(&incay, &problem);
    assert!(result.total.is_finite() && result.embedding_norms.unwrap() == [0.0]);
}

#[test]
fn a_learned_scale_at_its_bound_has_no_gradient_outward() {
    let spec = presets::find("normface").unwrap().spec();
    let at = |scale: f64| evaluate_sum(&spec, &Problem { scale: Some(scale), ..Problem::row(&[0.9, 0.1, -0.2], 0) });
    // The row is predicted correctly, so a larger scale lowers the loss and the derivative is negative.
    assert!(at(5.0).scale < 0.0 && at(1.0).scale < 0.0 && at(0.5).scale < 0.0);
    assert_eq!((at(128.0).scale, at(1000.0).scale), (0.0, 0.0));
    assert_eq!(bits(&at(1000.0).rows), bits(&at(128.0).rows));
    let wrong = |scale: f64| evaluate_sum(&spec, &Problem { scale: Some(scale), ..Problem::row(&[0.1, 0.9, -0.2], 0) });
    assert!(wrong(128.0).scale > 0.0);
    assert_eq!((wrong(1.0).scale, wrong(-3.0).scale), (0.0, 0.0));
}
