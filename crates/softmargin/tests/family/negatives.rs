//! Properties of modified negatives: which scores are modified, which are not, and which inputs are rejected.

use crate::combinations::comparisons;
use crate::problem::{Evaluation, Problem, ProblemTargets, state};
use crate::properties::{evaluate_f64, with};
use crate::special_values::try_evaluate;
use ndarray::array;
use softmargin::{
    BeyondPi, Comparison, ErrorKind, Gate, Geometry, LossSpec, Margin, Negatives, Reduction, SmoothGate, presets,
};

const INF: f64 = f64::INFINITY;

pub(crate) const ALL: [Negatives; 3] = [
    Negatives::Misclassified { factor: 1.25 },
    Negatives::Curricular { momentum: 0.01 },
    Negatives::DividedAngle { by: 2.0 },
];

/// Returns a loss that is the sum of the gaps to all negatives, which shows their modified scores.
fn spec(negatives: Negatives, margin: Margin) -> LossSpec {
    let comparison = Comparison::EachPair { gate: Gate::Identity };
    with(comparison).with_geometry(Geometry::Cosine).with_scale(1.0).with_negatives(negatives).with_margin(margin)
}

fn problem(z: &[f64], label: i64) -> Problem {
    let mut quarter = state(0);
    quarter.target_mean = 0.25;
    Problem { state: Some(quarter), ..Problem::row(z, label) }
}

fn row(negatives: Negatives, margin: Margin, z: &[f64]) -> Evaluation {
    evaluate_f64(&spec(negatives, margin), &problem(z, 0), Reduction::Sum)
}

#[test]
fn only_negatives_above_the_modified_target_are_modified() {
    // psi = 0.25: a negative of 0.25 is unchanged, one of 0.5 is modified.
    let z = [0.5, 0.25, 0.5, -0.75];
    let misclassified = row(Negatives::Misclassified { factor: 1.25 }, Margin::score(0.25), &z);
    assert_eq!(misclassified.total, 0.25 + 0.875 - 0.75 - 3.0 * 0.25);
    assert_eq!(misclassified.scores, array![[-3.0, 1.0, 1.25, 1.0]]);
    let curricular = row(Negatives::Curricular { momentum: 0.5 }, Margin::score(0.25), &z);
    assert_eq!(curricular.total, 0.25 + 0.5 * 0.75 - 0.75 - 3.0 * 0.25);
    assert_eq!(curricular.scores, array![[-3.0, 1.0, 1.25, 1.0]]);
    let divided = row(Negatives::DividedAngle { by: 2.0 }, Margin::score(0.25), &[0.5, 1.0, 0.0, -1.0]);
    let quarter = std::f64::consts::FRAC_1_SQRT_2;
    assert!((divided.total - (1.0 + quarter - 0.75)).abs() < 1e-15, "{divided:?}");
    // At an angle of 0 the derivative is the limit; at pi the sine is bounded below.
    assert_eq!(divided.scores[[0, 1]], 0.25);
    assert!((divided.scores[[0, 2]] - quarter / 2.0).abs() < 1e-15, "{divided:?}");
    assert!((divided.scores[[0, 3]] - 0.5 * f64::from(1 << 20)).abs() < 1e-6, "{divided:?}");
}

#[test]
fn curricular_negatives_are_compared_with_the_margin_without_continuation() {
    let arcface = |beyond_pi| {
        let Margin::Angle(mut angle) = presets::find("arcface").unwrap().spec().margin else { panic!("an angle") };
        angle.beyond_pi = beyond_pi;
        Margin::Angle(angle)
    };
    // At an angle of 3 the plain cosine of 3.5 is -0.936, the continued one -1.112.
    let z = [3.0_f64.cos(), -0.95, -0.9];
    for beyond_pi in [BeyondPi::Continue, BeyondPi::Plain, BeyondPi::Clamp] {
        let result = row(Negatives::Curricular { momentum: 0.01 }, arcface(beyond_pi), &z);
        assert_eq!(result.scores[[0, 1]], 1.0, "{beyond_pi:?}: -0.95 is below");
        assert_eq!(result.scores[[0, 2]], 0.25 - 1.8, "{beyond_pi:?}: -0.9 is above");
    }
    // Misclassified negatives are compared with the continued margin.
    let raised = row(Negatives::Misclassified { factor: 1.25 }, arcface(BeyondPi::Continue), &z);
    assert_eq!((raised.scores[[0, 1]], raised.scores[[0, 2]]), (1.25, 1.25));
}

#[test]
fn masked_negatives_are_not_modified() {
    for negatives in ALL {
        for comparison in comparisons() {
            let spec = spec(negatives, Margin::score(0.25)).with_comparison(comparison);
            let at = |z: &[f64], label| evaluate_f64(&spec, &problem(z, label), Reduction::Sum);
            let (masked, deleted) = (at(&[0.3, -INF, 0.5, 0.1, -INF], 2), at(&[0.3, 0.5, 0.1], 1));
            assert_eq!((masked.total, masked.scale), (deleted.total, deleted.scale), "{spec:?}");
            let slopes: Vec<f64> = masked.scores.iter().copied().collect();
            let [a, b, c] = [deleted.scores[[0, 0]], deleted.scores[[0, 1]], deleted.scores[[0, 2]]];
            assert_eq!(slopes, [a, 0.0, b, c, 0.0], "{spec:?}");
            // Without negatives the kind of negatives has no effect.
            let plain = spec.clone().with_negatives(Negatives::Plain);
            let alone = evaluate_f64(&plain, &problem(&[0.3, -INF, -INF], 0), Reduction::Sum);
            assert_eq!(at(&[0.3, -INF, -INF], 0), alone, "{spec:?}");
            let one = at(&[0.3], 0);
            assert_eq!((one.total, one.scores[[0, 0]]), (0.0, 0.0), "{spec:?}");
        }
    }
}

#[test]
fn infinite_scores_give_the_same_limits_as_plain_negatives() {
    for negatives in ALL {
        let cross_entropy = spec(negatives, Margin::None).with_comparison(Comparison::CROSS_ENTROPY);
        let infinite_negative = evaluate_f64(&cross_entropy, &problem(&[0.5, INF, 0.25], 0), Reduction::Sum);
        assert_eq!(
            (infinite_negative.total, &infinite_negative.scores),
            (INF, &array![[-1.0, 1.0, 0.0]]),
            "{negatives:?}"
        );
        let masked_target = evaluate_f64(&cross_entropy, &problem(&[-INF, -0.5, -0.25], 0), Reduction::Sum);
        assert_eq!((masked_target.total, masked_target.scores[[0, 0]]), (INF, -1.0), "{negatives:?}");
        assert!(masked_target.scores.iter().all(|slope| slope.is_finite()), "{masked_target:?}");
        let contradiction = try_evaluate::<f64>(&cross_entropy, &problem(&[INF, INF], 0), Reduction::Sum);
        assert_eq!(contradiction.unwrap_err().kind(), ErrorKind::Number);
        let nan = try_evaluate::<f32>(&cross_entropy, &problem(&[0.5, 0.1, f64::NAN], 0), Reduction::Sum);
        assert_eq!(nan.unwrap_err().found(), "NaN", "{negatives:?}");
    }
}

#[test]
fn divided_angles_reject_scores_that_are_not_cosines() {
    let v2 = presets::find("sphereface-r-v2").unwrap().spec();
    let rows = |bad: f64| Problem::new(array![[0.5, 0.25], [0.5, bad], [0.5, 0.1]], vec![0, 0, 0]);
    for bad in [1.01, -1.5, 1e30] {
        let error = try_evaluate::<f32>(&v2, &rows(bad), Reduction::Sum).unwrap_err();
        assert!(error.subject().contains("row 1") && error.expected().contains("cosine"), "{error}");
        // The other modifications do not need an angle.
        for name in ["mv-softmax", "curricularface"] {
            let spec = presets::find(name).unwrap().spec();
            assert!(try_evaluate::<f32>(&spec, &rows(bad), Reduction::Sum).is_ok(), "{name}");
        }
    }
    for rounded in [1.000_000_1, -1.000_5] {
        let result = try_evaluate::<f32>(&v2, &rows(rounded), Reduction::Sum).unwrap();
        assert!(result.scores.iter().all(|slope| slope.is_finite()), "{result:?}");
    }
    let ignored = v2.with_ignored_label(1);
    let problem = Problem { targets: ProblemTargets::Labels(vec![0, 1, 0]), ..rows(7.0) };
    assert!(try_evaluate::<f64>(&ignored, &problem, Reduction::Sum).is_ok(), "an ignored row is not checked");
}

#[test]
fn modified_negatives_need_cosines_and_hard_labels() {
    let plain = presets::find("cross-entropy").unwrap().spec();
    for negatives in ALL {
        for geometry in [Geometry::UnitWeights, plain.geometry] {
            let error = plain.clone().with_negatives(negatives).with_geometry(geometry).build(3).unwrap_err();
            assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, "negatives"), "{error}");
        }
        let spec = plain.clone().with_negatives(negatives).with_geometry(Geometry::Cosine);
        let soft = Problem::soft(array![[0.1, 0.2]], array![[0.5, 0.5]]);
        let error = try_evaluate::<f64>(&spec, &soft, Reduction::Mean).unwrap_err();
        assert!(error.subject() == "soft targets" && error.found().contains("negatives"), "{error}");
    }
    let out_of_range = [
        (Negatives::Misclassified { factor: 0.99 }, "negatives.factor"),
        (Negatives::Misclassified { factor: f64::NAN }, "negatives.factor"),
        (Negatives::Misclassified { factor: 1e9 }, "negatives.factor"),
        (Negatives::Curricular { momentum: 0.0 }, "negatives.momentum"),
        (Negatives::Curricular { momentum: 1.5 }, "negatives.momentum"),
        (Negatives::DividedAngle { by: 0.5 }, "negatives.by"),
        (Negatives::DividedAngle { by: INF }, "negatives.by"),
    ];
    for (negatives, subject) in out_of_range {
        let error = plain.clone().with_negatives(negatives).with_geometry(Geometry::Cosine).build(3).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, subject), "{error}");
    }
}

#[test]
fn smoothing_and_z_loss_use_the_modified_scores() {
    let z = [0.5, 0.4, -0.2, 0.7];
    let is_raised = |k: usize| k > 0 && z[k] > 0.25;
    let raised: Vec<f64> = (0..4).map(|k| if is_raised(k) { 1.25 * z[k] + 0.25 } else { z[k] }).collect();
    for (label_smoothing, z_loss) in [(0.1, 0.0), (0.0, 0.05), (0.2, 0.01)] {
        let gate = SmoothGate::Softplus { label_smoothing, z_loss };
        let modified = spec(ALL[0], Margin::score(0.25)).with_comparison(Comparison::LogSumExp { gate });
        // The modified scores with plain negatives give the same loss.
        let plain = modified.clone().with_negatives(Negatives::Plain);
        let a = evaluate_f64(&modified, &Problem::row(&z, 0), Reduction::Sum);
        let b = evaluate_f64(&plain, &Problem::row(&raised, 0), Reduction::Sum);
        assert!((a.total - b.total).abs() < 1e-15, "{a:?} {b:?}");
        for (k, (a, b)) in a.scores.iter().zip(&b.scores).enumerate() {
            let slope = if is_raised(k) { 1.25 } else { 1.0 };
            assert!((a - slope * b).abs() < 1e-15, "{k}: {a} {b}");
        }
    }
}
