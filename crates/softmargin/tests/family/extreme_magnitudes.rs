//! Values at the ends of the floating-point range, where a mathematically correct formula may lose all digits.

use ndarray::{Array1, Array2, array};
use softmargin::measures::{Unit, kl_divergence};
use softmargin::smooth::{log_softmax_gradient, softmax_gradient};
use softmargin::{
    Batch, Comparison, ErrorKind, Geometry, Reduction, RowInputs, Scale, ScoreGradients, Scored, SmoothGate, presets,
};

#[test]
fn divergence_is_exact_for_a_tiny_probability() {
    let divergence = kl_divergence(&[1e-309, 1.0], &[0.5, 0.5], Unit::Nats).unwrap();
    assert!((divergence - std::f64::consts::LN_2).abs() < 1e-15, "{divergence}");
}

#[test]
fn softmax_gradients_keep_their_digits_if_one_score_dominates() {
    let rest = (-40.0_f64).exp();
    let gradient = softmax_gradient(&[40.0_f64, 0.0], 1.0, &[1.0, 0.0]).unwrap();
    assert!((gradient[0] / rest - 1.0).abs() < 1e-15 && (gradient[1] / rest + 1.0).abs() < 1e-15, "{gradient:?}");
    let rest = (-20.0_f64).exp();
    let gradient = softmax_gradient(&[20.0_f32, 0.0], 1.0, &[1.0, 0.0]).unwrap();
    assert!((f64::from(gradient[0]) / rest - 1.0).abs() < 1e-6, "{gradient:?}");
    let gradient = log_softmax_gradient(&[20.0_f32, 0.0], 1.0, &[1.0, 0.0]).unwrap();
    assert!((f64::from(gradient[0]) / rest - 1.0).abs() < 1e-6, "{gradient:?}");
    assert!((f64::from(gradient[1]) / rest + 1.0).abs() < 1e-6, "{gradient:?}");
}

#[test]
fn cosines_do_not_depend_on_extreme_norms() {
    let (x, w) = (array![[3.0_f32, 4.0], [1.0, -2.0]], array![[1.0_f32, 1.0], [-2.0, 0.5]]);
    let plain = Geometry::Cosine.scores(x.view(), w.view(), None).unwrap().scores;
    for (factor_x, factor_w) in [(1e20, 1e20), (1e-25, 1e-25), (1e30, 1e-30), (1.0, 1e-35)] {
        let (x, w) = (&x * factor_x, &w * factor_w);
        let scaled = Geometry::Cosine.scores(x.view(), w.view(), None).unwrap().scores;
        assert!(
            (&scaled - &plain).iter().all(|error| error.abs() < 3e-7),
            "{factor_x} {factor_w}: {scaled}, expected {plain}"
        );
    }
    let infinite = array![[f32::INFINITY, 1.0]];
    let scores = Geometry::Cosine.scores(infinite.view(), w.view(), None).unwrap().scores;
    assert!(scores.iter().all(|score| score.is_nan()), "an infinite embedding has no direction: {scores}");
}

#[test]
fn a_soft_row_with_one_unmasked_class_has_loss_zero_or_infinity() {
    let gate = SmoothGate::Softplus { label_smoothing: 0.1, z_loss: 0.5 };
    let base = presets::find("cross-entropy").unwrap().spec();
    let loss = base.with_comparison(Comparison::LogSumExp { gate }).build(3).unwrap();
    let scores = array![[f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY]];
    let agreeing = array![[0.0, 1.0, 0.0]];
    let batch = Batch::new(scores.view(), RowInputs::soft(agreeing.view()));
    let (value, gradients) = loss.value_and_grad(&batch, Reduction::Mean).unwrap();
    assert_eq!((value.total, gradients.scores), (0.0, Array2::zeros((1, 3))));
    let masked = array![[0.5, 0.5, 0.0]];
    let value = loss.value(&Batch::new(scores.view(), RowInputs::soft(masked.view())), Reduction::Mean).unwrap();
    assert_eq!(value.total, f64::INFINITY);
}

#[test]
fn weights_with_an_infinite_or_subnormal_sum_are_rejected() {
    let loss = presets::find("cross-entropy").unwrap().spec().build(2).unwrap();
    let (scores, targets) = (array![[1.0_f64, 0.0], [0.0, 1.0]], array![0, 1]);
    for weights in [array![f64::MAX, f64::MAX], array![1e-310, 0.0]] {
        let batch = Batch::new(scores.view(), RowInputs::new(targets.view()).with_sample_weights(weights.view()));
        assert_eq!(loss.value(&batch, Reduction::Mean).unwrap_err().kind(), ErrorKind::Number);
    }
}

#[test]
fn an_angle_factor_above_its_bound_is_rejected() {
    let spec = presets::find("sphereface").unwrap().spec_with(None, Some(&[1e300])).unwrap();
    assert!(spec.build(3).unwrap_err().to_string().contains("margin.times"));
}

#[test]
fn clamping_to_an_invalid_scale_range_does_not_panic() {
    let reversed_range = Scale::Learned { initial: 1.0, min: 2.0, max: 1.0 };
    assert_eq!(reversed_range.clamp(5.0), 1.0);
    assert!(!Scale::Learned { initial: 1.0, min: 1.0, max: 2.0 }.clamp(f64::NAN).is_nan());
}

#[test]
fn geometry_backward_rejects_mismatched_shapes() {
    let (x, w) = (Array2::<f64>::ones((2, 3)), Array2::<f64>::ones((4, 3)));
    let scored = Geometry::Cosine.scores(x.view(), w.view(), None).unwrap();
    let gradients = ScoreGradients { scores: Array2::ones((2, 4)), embedding_norms: None, weight_norms: None };
    assert!(Geometry::Cosine.backward(x.view(), w.view(), &scored, &gradients).is_ok());
    let wrong = [
        ScoreGradients { scores: Array2::ones((2, 3)), ..gradients.clone() },
        ScoreGradients { embedding_norms: Some(Array1::ones(3)), ..gradients.clone() },
        ScoreGradients { weight_norms: Some(Array1::ones(3)), ..gradients.clone() },
    ];
    for gradients in wrong {
        let error = Geometry::Cosine.backward(x.view(), w.view(), &scored, &gradients).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
    }
    let short = Scored { embedding_norms: Array1::ones(1), ..scored };
    assert!(Geometry::Cosine.backward(x.view(), w.view(), &short, &gradients).is_err());
    let biased = Geometry::InnerProduct { bias: true, temperature: 1.0 };
    assert!(biased.scores(x.view(), w.view(), None).is_err(), "a missing bias is rejected");
}
