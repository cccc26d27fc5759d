//! Rejection of batches that do not fit their loss: missing or unused inputs, wrong shapes, invalid soft targets.

use crate::problem::{Problem, evaluate, state};
use crate::special_values::{cross_entropy, try_evaluate};
use ndarray::{Array2, array};
use softmargin::{Batch, Error, ErrorKind, LossSpec, Margin, Reduction, Regularizer, presets};

fn rejection(problem: &Problem, preset: &str) -> Error {
    let loss = presets::find(preset).unwrap().spec().build(2).unwrap();
    evaluate::<f32>(&loss, problem, Reduction::Mean).unwrap_err()
}

#[test]
fn missing_and_unused_inputs_are_rejected() {
    let plain = Problem::row(&[0.5, 0.25], 0);
    let check = |problem: Problem, preset: &str, subject: &str, found: &str| {
        let error = rejection(&problem, preset);
        assert_eq!((error.kind(), error.subject(), error.found()), (ErrorKind::Input, subject, found), "{error}");
        assert!(error.advice().contains(subject), "{error}");
    };
    let norms = || Some(vec![1.0]);
    check(Problem { embedding_norms: norms(), ..plain.clone() }, "cross-entropy", "embedding norms", "some");
    check(Problem { embedding_norms: norms(), ..plain.clone() }, "arcface", "embedding norms", "some");
    check(Problem { weight_norms: Some(vec![1.0; 2]), ..plain.clone() }, "cross-entropy", "weight norms", "some");
    check(Problem { margins: Some(vec![0.1]), ..plain.clone() }, "am-softmax", "margins", "some");
    check(Problem { scale: Some(30.0), ..plain.clone() }, "am-softmax", "scale", "some");
    check(Problem { radius: Some(1.0), ..plain.clone() }, "am-softmax", "radius", "some");
    check(Problem { state: Some(state(0)), ..plain.clone() }, "arcface", "state", "some");
    check(plain.clone(), "sphereface", "embedding norms", "nothing");
    check(Problem { embedding_norms: norms(), ..plain.clone() }, "sphereface", "state", "nothing");
    let with_state = Problem { state: Some(state(0)), embedding_norms: norms(), ..plain.clone() };
    check(with_state.clone(), "l-softmax", "weight norms", "nothing");
    let both = Problem { weight_norms: Some(vec![1.0; 2]), ..with_state };
    check(both, "sphereface", "weight norms", "some");
    for name in ["magface", "adaface"] {
        check(plain.clone(), name, "embedding norms", "nothing");
    }
    check(Problem { embedding_norms: norms(), ..plain.clone() }, "adaface", "state", "nothing");
    for name in ["elasticface", "elasticface-cos", "curricularface"] {
        check(plain.clone(), name, "state", "nothing");
        check(
            Problem { state: Some(state(0)), embedding_norms: norms(), ..plain.clone() },
            name,
            "embedding norms",
            "some",
        );
    }
    for name in ["mv-softmax", "sphereface-r-v1", "sphereface-r-v2", "sub-center-arcface"] {
        check(Problem { state: Some(state(0)), ..plain.clone() }, name, "state", "some");
    }
    let spec = cross_entropy().with_margin(Margin::Score { value: softmargin::MarginValue::PerSample });
    let error = try_evaluate::<f32>(&spec, &plain, Reduction::Mean).unwrap_err();
    assert_eq!((error.kind(), error.subject(), error.found()), (ErrorKind::Input, "margins", "nothing"));
}

#[test]
fn mismatched_shapes_are_rejected() {
    let loss = cross_entropy().build(3).unwrap();
    let assert_rejected = |problem: Problem, subject: &str| {
        let error = evaluate::<f64>(&loss, &problem, Reduction::Mean).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Shape, subject), "{error}");
    };
    assert_rejected(Problem::new(Array2::zeros((2, 4)), vec![0, 0]), "scores");
    assert_rejected(Problem::new(Array2::zeros((2, 3)), vec![0]), "targets");
    assert_rejected(Problem::soft(Array2::zeros((2, 3)), Array2::zeros((2, 2))), "targets");
    let good = Problem::new(Array2::zeros((2, 3)), vec![0, 1]);
    assert_rejected(Problem { sample_weights: Some(vec![1.0]), ..good.clone() }, "sample weights");
    let ring = Regularizer::Ring { weight: 1.0, radius: 1.0 };
    let l_softmax = presets::find("l-softmax").unwrap().spec().with_regularizer(ring);
    let given = Problem { state: Some(state(0)), embedding_norms: Some(vec![1.0; 2]), ..good };
    for (x, w, subject) in [(1, 3, "embedding norms"), (2, 2, "weight norms")] {
        let problem =
            Problem { embedding_norms: Some(vec![1.0; x]), weight_norms: Some(vec![1.0; w]), ..given.clone() };
        let loss = l_softmax.clone().build(3).unwrap();
        let error = evaluate::<f64>(&loss, &problem, Reduction::Mean).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Shape, subject), "{error}");
    }
    let (scores, labels) = (Array2::<f32>::zeros((2, 3)), array![0, 1]);
    let mut narrow = Array2::zeros((2, 2));
    let batch = Batch::new(scores.view(), labels.view());
    let error = loss.value_and_grad_into(&batch, Reduction::Mean, narrow.view_mut()).unwrap_err();
    assert_eq!((error.kind(), error.subject()), (ErrorKind::Shape, "gradient"));
}

#[test]
fn soft_targets_must_be_distributions_and_need_cross_entropy() {
    let total = |spec: &LossSpec, p: Array2<f64>| {
        try_evaluate::<f64>(spec, &Problem::soft(Array2::zeros(p.raw_dim()), p), Reduction::Mean)
            .map(|result| result.total)
    };
    let half = array![[0.5, 0.5], [0.25, 0.75]];
    assert!(total(&cross_entropy(), half.clone()).is_ok());
    for bad in [array![[0.5, 0.5], [0.5, 0.6]], array![[1.0, 0.0], [1.5, -0.5]], array![[1.0, 0.0], [f64::NAN, 1.0]]] {
        let error = total(&cross_entropy(), bad).unwrap_err();
        assert!(error.kind() == ErrorKind::Distribution && error.subject().contains("row 1"), "{error}");
    }
    let assert_rejected = |spec: &LossSpec, found: &str| {
        let error = total(spec, half.clone()).unwrap_err();
        assert!(error.kind() == ErrorKind::Input && error.found().contains(found), "{error}");
    };
    for name in ["weston-watkins", "crammer-singer", "lse-hinge", "perceptron", "one-versus-rest"] {
        assert_rejected(&presets::find(name).unwrap().spec(), "comparison");
    }
    assert_rejected(&presets::find("am-softmax").unwrap().spec(), "margin");
    let incay = cross_entropy().with_regularizer(Regularizer::FeatureIncay { weight: 1.0 });
    let mut problem = Problem::soft(Array2::zeros((2, 2)), half.clone());
    problem.embedding_norms = Some(vec![1.0; 2]);
    let error = try_evaluate::<f64>(&incay, &problem, Reduction::Mean).unwrap_err();
    assert!(error.found().contains("incay"), "{error}");
}
