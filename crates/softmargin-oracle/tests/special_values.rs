//! Cases whose result is defined separately: infinities, ties, no negatives, no valid rows, invalid input.

use softmargin_oracle::{
    Angle, Batch, Comparison, Gate, Geometry, LossOutput, Margin, MarginGradient, Negatives, Oracle, PRESET_NAMES,
    Reduction, Regularizer, State, Targets, preset,
};

const INF: f64 = f64::INFINITY;

fn oracle(comparison: Comparison, gate: Gate) -> Oracle {
    Oracle { comparison, gate, reduction: Reduction::Sum, ..preset("cross-entropy").expect("a preset") }
}

fn cross_entropy() -> Oracle {
    oracle(Comparison::LogSumExp, Gate::Softplus)
}

fn row(oracle: &Oracle, z: &[f64], label: i64) -> LossOutput {
    oracle.evaluate(&Batch::new(z.to_vec(), z.len(), Targets::Labels(vec![label]))).expect("a loss")
}

const ALL: [Comparison; 4] =
    [Comparison::EachPair, Comparison::Hardest, Comparison::LogSumExp, Comparison::AgainstZero];

#[test]
fn two_classes_are_logistic_regression_on_the_difference() {
    let out = row(&cross_entropy(), &[20.0, 0.0], 0);
    assert!((out.loss - 2.061153620314381e-9).abs() < 1e-23);
    assert!((out.grad_scores[0] + 2.0611536181902037e-9).abs() < 1e-23);
}

#[test]
fn a_single_class_has_no_loss() {
    for comparison in ALL {
        for gate in [Gate::Relu, Gate::Softplus, Gate::Identity] {
            for z in [0.5, INF, -INF] {
                let out = row(&oracle(comparison, gate), &[z], 0);
                assert_eq!((out.loss, out.grad_scores[0], out.grad_scale), (0.0, 0.0, 0.0));
            }
        }
    }
    let extras = Oracle { label_smoothing: 0.2, z_loss: 0.3, ..cross_entropy() };
    assert_eq!(row(&extras, &[0.5], 0).loss, 0.0);
    let soft = Batch::new(vec![0.5], 1, Targets::Soft(vec![1.0]));
    assert_eq!(Oracle { z_loss: 0.3, ..cross_entropy() }.evaluate(&soft).expect("a loss").loss, 0.0);
}

#[test]
fn a_class_at_minus_infinity_is_deleted() {
    for comparison in ALL {
        for gate in [Gate::Relu, Gate::Softplus] {
            let base =
                Oracle { margin: Margin::Score(softmargin_oracle::MarginValue::One(0.5)), ..oracle(comparison, gate) };
            let with = row(&base, &[0.25, -INF, 0.5, -INF, -0.125], 0);
            let without = row(&base, &[0.25, 0.5, -0.125], 0);
            assert_eq!(with.loss, without.loss);
            assert_eq!([0, 2, 4].map(|k| with.grad_scores[k]), without.grad_scores[..]);
            assert_eq!([with.grad_scores[1], with.grad_scores[3]], [0.0, 0.0]);
        }
    }
    let smoothed = Oracle { label_smoothing: 0.2, z_loss: 0.1, ..cross_entropy() };
    let with = row(&smoothed, &[0.25, -INF, 0.5], 0);
    let without = row(&smoothed, &[0.25, 0.5], 0);
    assert_eq!((with.loss, with.grad_scores[2]), (without.loss, without.grad_scores[1]));
}

#[test]
fn without_negatives_only_the_target_term_of_against_zero_remains() {
    let z = [0.5, -INF];
    for comparison in [Comparison::EachPair, Comparison::Hardest, Comparison::LogSumExp] {
        assert_eq!(row(&oracle(comparison, Gate::Softplus), &z, 0).loss, 0.0);
    }
    let target_term = row(&oracle(Comparison::AgainstZero, Gate::Softplus), &z, 0);
    assert_eq!(target_term.loss, (-0.5f64).exp().ln_1p());
}

#[test]
fn infinite_scores_give_the_limits() {
    let infinite_target = row(&cross_entropy(), &[-INF, 0.0, 0.0], 0);
    assert_eq!(infinite_target.loss, INF);
    assert_eq!(infinite_target.grad_scores, [-1.0, 0.5, 0.5]);
    let infinite_negative = row(&cross_entropy(), &[0.0, INF, 1.0, INF], 0);
    assert_eq!(infinite_negative.loss, INF);
    assert_eq!(infinite_negative.grad_scores, [-1.0, 0.5, 0.0, 0.5]);
    let separated = row(&cross_entropy(), &[INF, 3.0], 0);
    assert_eq!((separated.loss, separated.grad_scale), (0.0, 0.0));
    assert_eq!(separated.grad_scores, [0.0, 0.0]);
    let identity = row(&oracle(Comparison::Hardest, Gate::Identity), &[INF, 3.0], 0);
    assert_eq!(identity.loss, -INF);
    let rest = row(&oracle(Comparison::AgainstZero, Gate::Softplus), &[INF, 0.0], 0);
    assert_eq!(rest.loss, 2f64.ln());
    assert_eq!(rest.grad_scores, [0.0, 0.5]);
    let smoothed = Oracle { label_smoothing: 0.3, ..cross_entropy() };
    assert_eq!(row(&smoothed, &[-INF, 0.0], 0).loss, INF);
    assert_eq!(row(&smoothed, &[0.0, INF], 0).loss, INF);
}

#[test]
fn soft_targets_with_infinite_scores_give_the_limits() {
    let soft =
        |z: &[f64], p: &[f64]| cross_entropy().evaluate(&Batch::new(z.to_vec(), z.len(), Targets::Soft(p.to_vec())));
    assert_eq!(soft(&[-INF, 0.0], &[0.5, 0.5]).expect("a loss").loss, INF);
    assert_eq!(soft(&[-INF, 0.0], &[0.0, 1.0]).expect("a loss").loss, 0.0);
    assert_eq!(soft(&[INF, 0.0], &[1.0, 0.0]).expect("a loss").loss, 0.0);
    assert_eq!(soft(&[INF, 0.0], &[0.5, 0.5]).expect("a loss").loss, INF);
    assert!(soft(&[INF, INF], &[0.5, 0.5]).is_err());
    assert_eq!(soft(&[-INF, -INF], &[0.5, 0.5]).expect("a loss").loss, INF);
}

#[test]
fn one_hot_soft_targets_agree_with_labels() {
    let z = vec![0.5, 21.0, -0.25, 3.0, 1e-3, 0.25];
    let labels = cross_entropy().evaluate(&Batch::new(z.clone(), 3, Targets::Labels(vec![1, 0])));
    let soft = Targets::Soft(vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    let soft = cross_entropy().evaluate(&Batch::new(z, 3, soft));
    let (a, b) = (labels.expect("a loss"), soft.expect("a loss"));
    for (p, q) in a.grad_scores.iter().zip(&b.grad_scores) {
        assert!((p - q).abs() <= 1e-14 * p.abs());
    }
    assert!((a.loss - b.loss).abs() < 1e-16);
}

#[test]
fn errors_name_the_first_invalid_row() {
    let error = |scores: Vec<f64>, labels: Vec<i64>| {
        let batch = Batch::new(scores, 2, Targets::Labels(labels));
        cross_entropy().evaluate(&batch).expect_err("an error").row
    };
    assert_eq!(error(vec![0.0, 1.0, f64::NAN, 0.0], vec![0, 0]), Some(1));
    assert_eq!(error(vec![0.0, 1.0, INF, INF], vec![0, 0]), Some(1));
    assert_eq!(error(vec![0.0, 1.0, 0.0, 1.0], vec![0, 2]), Some(1));
    assert_eq!(error(vec![0.0, 1.0, 0.0, 1.0], vec![-1, 0]), Some(0));
    assert_eq!(error(vec![0.0, 1.0], vec![0, 0]), None);
}

#[test]
fn missing_inputs_and_unsupported_options_are_rejected() {
    let rejection = |oracle: Oracle| {
        let batch = Batch::new(vec![0.1, 0.2], 2, Targets::Labels(vec![0]));
        oracle.evaluate(&batch).expect_err("an error").message
    };
    let hinge = preset("lse-hinge").expect("a preset");
    assert!(rejection(Oracle { label_smoothing: 0.1, ..hinge.clone() }).contains("smoothing"));
    assert!(rejection(Oracle { z_loss: 0.1, ..hinge.clone() }).contains("z-loss"));
    let ring = Regularizer::Ring { weight: 1.0, radius: 1.0 };
    assert!(rejection(Oracle { regularizer: ring, ..hinge }).contains("norms"));
    assert!(rejection(preset("sphereface").expect("a preset")).contains("norms"));
    let warm = Oracle { temperature: 2.0, ..preset("normface").expect("a preset") };
    assert!(rejection(warm).contains("temperature"));
}

#[test]
fn without_valid_rows_the_loss_is_zero_or_nan() {
    let batch = Batch::new(vec![0.1, 0.2], 2, Targets::Labels(vec![-1]));
    for name in PRESET_NAMES {
        let oracle = Oracle { ignored: Some(-1), ..preset(name).expect("a preset") }.with_class_counts(&[3, 5]);
        let batch = Batch { embedding_norms: Some(vec![1.0]), weight_norms: Some(vec![1.0; 2]), ..batch.clone() };
        let out = oracle.evaluate(&batch).expect("a loss");
        assert!(out.no_valid_rows && out.loss == 0.0 && out.grad_scores == [0.0, 0.0]);
        let out = Oracle { nan_without_valid_rows: true, ..oracle }.evaluate(&batch).expect("a loss");
        assert!(out.loss.is_nan());
    }
    let empty = Batch::new(Vec::new(), 2, Targets::Labels(Vec::new()));
    let out = cross_entropy().evaluate(&empty).expect("a loss");
    assert!(out.no_valid_rows && out.loss == 0.0);
}

#[test]
fn a_row_of_weight_zero_contributes_nothing_even_at_an_infinite_loss() {
    let batch = Batch::new(vec![-INF, 0.0, 0.5, 0.25], 2, Targets::Labels(vec![0, 0]));
    let oracle = Oracle { sample_weights: Some(vec![0.0, 1.0]), ..cross_entropy() };
    let out = oracle.evaluate(&batch).expect("a loss");
    assert_eq!(out.row_losses[0], 0.0);
    assert!(out.loss.is_finite() && out.grad_scores[..2] == [0.0, 0.0]);
}

#[test]
fn the_neutral_margin_changes_the_loss_only_by_rounding() {
    let z = [0.4, 0.3, -0.6];
    let plain = Oracle { scale: 16.0, ..preset("normface").expect("a preset") };
    for gradient in [MarginGradient::Exact, MarginGradient::StraightThrough] {
        let angle = Angle { gradient, ..Angle::neutral() };
        let neutral = Oracle { margin: Margin::Angle(angle), ..plain.clone() };
        let (a, b) = (row(&plain, &z, 0), row(&neutral, &z, 0));
        assert!((a.loss - b.loss).abs() < 1e-14);
        for k in 0..3 {
            assert!((a.grad_scores[k] - b.grad_scores[k]).abs() < 1e-13);
        }
    }
}

#[test]
fn extreme_scales_give_the_limits() {
    let z = [0.7, 0.2, 0.9, -0.4];
    let at = |scale: f64, comparison, gate| row(&Oracle { scale, ..oracle(comparison, gate) }, &z, 0).loss;
    let near = at(1e-9, Comparison::LogSumExp, Gate::Softplus);
    assert!((near - 4f64.ln()).abs() < 1e-8);
    let far = at(1e6, Comparison::LogSumExp, Gate::Softplus) / 1e6;
    assert!((far - at(1.0, Comparison::Hardest, Gate::Relu)).abs() < 1e-12);
}

#[test]
fn the_gradient_is_zero_at_the_optimal_gap_of_label_smoothing() {
    // The optimal gap of label smoothing is ln(1 + C (1 - eps) / eps).
    let (classes, eps) = (5.0f64, 0.1f64);
    let gap = (1.0 + classes * (1.0 - eps) / eps).ln();
    let oracle = Oracle { label_smoothing: eps, ..cross_entropy() };
    let out = row(&oracle, &[gap, 0.0, 0.0, 0.0, 0.0], 0);
    assert!(out.grad_scores.iter().all(|g| g.abs() < 1e-15));
}

/// Returns a cosine loss with one kind of negatives.
fn with_negatives(negatives: Negatives) -> Oracle {
    let state = State { target_mean: 0.25, ..State::initial() };
    Oracle { negatives, state, reduction: Reduction::Sum, scale: 4.0, ..preset("normface").expect("a preset") }
}

const KINDS: [Negatives; 3] = [
    Negatives::Misclassified { factor: 1.12 },
    Negatives::Curricular { momentum: 0.01 },
    Negatives::DividedAngle { by: 1.5, sin_floor: 1.0 / 1_048_576.0 },
];

#[test]
fn neutral_negatives_give_bitwise_identical_results() {
    let z = [0.4, 0.7, -0.6];
    let plain = row(&with_negatives(Negatives::Plain), &z, 0);
    for negatives in [Negatives::Misclassified { factor: 1.0 }, Negatives::DividedAngle { by: 1.0, sin_floor: 0.1 }] {
        assert_eq!(row(&with_negatives(negatives), &z, 0), plain);
    }
}

#[test]
fn modified_negatives_with_infinite_scores_give_the_limits() {
    for negatives in KINDS {
        let oracle = with_negatives(negatives);
        let with = row(&oracle, &[0.25, -INF, 0.5, -0.125], 0);
        let without = row(&oracle, &[0.25, 0.5, -0.125], 0);
        assert_eq!((with.loss, with.grad_scores[1]), (without.loss, 0.0));
        let infinite_negative = row(&oracle, &[0.25, INF, 0.5], 0);
        assert_eq!((infinite_negative.loss, &infinite_negative.grad_scores[..]), (INF, &[-4.0, 4.0, 0.0][..]));
        assert_eq!(row(&oracle, &[INF, 0.25, 0.5], 0).loss, 0.0);
        assert_eq!(row(&oracle, &[-INF, 0.25, 0.5], 0).loss, INF);
    }
}

#[test]
fn unsupported_inputs_of_modified_negatives_and_row_margins_are_rejected() {
    for negatives in KINDS {
        let oracle = Oracle { geometry: Geometry::UnitWeights, ..with_negatives(negatives) };
        let batch = Batch::new(vec![0.1, 0.2], 2, Targets::Labels(vec![0]));
        assert!(oracle.evaluate(&batch).is_err());
        let soft = Batch::new(vec![0.1, 0.2], 2, Targets::Soft(vec![0.5, 0.5]));
        assert!(with_negatives(negatives).evaluate(&soft).is_err());
    }
    let without_counts = preset("ldam").expect("a preset");
    let batch = Batch::new(vec![0.1, 0.2], 2, Targets::Labels(vec![0]));
    assert!(without_counts.evaluate(&batch).is_err());
    assert!(without_counts.clone().with_class_counts(&[1]).evaluate(&batch).is_err());
    assert!(without_counts.with_class_counts(&[1, 2]).evaluate(&batch).is_ok());
    assert!(preset("adaface").expect("a preset").evaluate(&batch).is_err(), "norms are needed");
}

#[test]
fn running_averages_use_only_valid_rows() {
    let scores = vec![0.5, 0.1, 0.2, 0.9, -0.75, 0.3];
    let batch = Batch {
        embedding_norms: Some(vec![1000.0, 7.0, 40.0]),
        ..Batch::new(scores, 2, Targets::Labels(vec![0, -1, 1]))
    };
    let curricular = Oracle { ignored: Some(-1), ..preset("curricularface").expect("a preset") };
    let after = curricular.update(&batch).expect("a state");
    assert!((after.target_mean - 0.01 * 0.4).abs() < 1e-16);
    assert_eq!(State { target_mean: 0.0, ..after }, State::initial());
    let adaface = Oracle { ignored: Some(-1), ..preset("adaface").expect("a preset") };
    let after = adaface.update(&batch).expect("a state");
    assert!((after.norm_mean - (0.01 * 70.0 + 0.99 * 20.0)).abs() < 1e-13);
    assert!((after.norm_std - (0.01 * 1800f64.sqrt() + 99.0)).abs() < 1e-13);
    let none = Batch { targets: Targets::Labels(vec![-1; 3]), ..batch.clone() };
    assert_eq!(adaface.update(&none).expect("a state"), State::initial());
    let one = Batch { targets: Targets::Labels(vec![0, -1, -1]), ..batch };
    let after = adaface.update(&one).expect("a state");
    assert_eq!(after.norm_std, 100.0, "one row has no standard deviation");
    assert!((after.norm_mean - 20.8).abs() < 1e-13);
}

#[test]
fn draws_depend_only_on_row_step_and_seed() {
    let oracle = preset("elasticface").expect("a preset");
    let z = vec![0.5, 0.1, 0.5, 0.1];
    let two = Batch::new(z, 2, Targets::Labels(vec![0, 0]));
    let losses = |state: State| Oracle { state, ..oracle.clone() }.evaluate(&two).expect("a loss").row_losses;
    let first = losses(State::initial());
    assert_ne!(first[0], first[1]);
    assert_eq!(first, losses(State { target_mean: 0.5, norm_mean: 3.0, ..State::initial() }));
    assert_ne!(first, losses(State { step: 1, ..State::initial() }));
    assert_ne!(first, losses(State { seed: 1, ..State::initial() }));
}
