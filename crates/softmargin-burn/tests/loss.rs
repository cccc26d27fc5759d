//! The loss of given scores.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use burn::tensor::{DType, Int, Tensor};
use common::{
    CLASSES, COUNTS, Case, F32, Problem, ROWS, WIDTH, assert_close, cases, core_row_by_row, device, targets, tensor,
};
use ndarray::ArrayView2;
use softmargin::{ErrorKind, Geometry, Reduction};
use softmargin_burn::{MarginLoss, MarginLossConfig, NormTensors, RowTensors, TargetInput};

const UPSTREAM: [f32; ROWS] = [1.0, -2.0, 0.5, 0.0, -0.25, 3.0, 1.5];

/// The scores and norms of a problem, made of tensor operations.
fn scored(case: &Case, problem: &Problem, x: Tensor<2>, w: Tensor<2>, bias: Tensor<1>) -> (Tensor<2>, NormTensors) {
    let length = |rows: &Tensor<2>| {
        // The last embedding has norm 0: its root is taken elsewhere, and put back to 0.
        let square = rows.clone().square().sum_dim(1);
        let vanished = square.clone().equal_elem(0.0);
        (square.mask_fill(vanished.clone(), 1.0).sqrt(), vanished)
    };
    let ((x_norm, vanished), (w_norm, _)) = (length(&x), length(&w));
    let scores = match case.spec.geometry {
        Geometry::InnerProduct { bias: true, .. } => x.matmul(w.transpose()) + bias.unsqueeze_dim::<2>(0),
        Geometry::InnerProduct { .. } => x.matmul(w.transpose()),
        Geometry::UnitWeights => x.matmul((w / w_norm.clone()).transpose()),
        Geometry::Cosine => (x / x_norm.clone()).matmul((w / w_norm.clone()).transpose()),
    };
    let loss = case.spec.clone().build(CLASSES).unwrap();
    let mut norms = NormTensors::new();
    if loss.needs_embedding_norms() {
        norms = norms.with_embeddings(x_norm.mask_fill(vanished, 0.0).squeeze_dim(1));
    }
    if loss.needs_weight_norms() {
        norms = norms.with_weights(w_norm.squeeze_dim(1));
    }
    assert_eq!(problem.targets.len(), ROWS);
    (scores, norms)
}

fn module(case: &Case, problem: &Problem) -> MarginLoss {
    use burn::module::Param;
    let mut loss = MarginLossConfig::new(CLASSES).with_loss(case.spec.clone()).try_init(&device()).unwrap();
    loss.scale = loss.scale.map(|_| Param::from_tensor(tensor(&[problem.scale], [1], DType::F32)));
    loss.radius = loss.radius.map(|_| Param::from_tensor(tensor(&[problem.radius], [1], DType::F32)));
    loss
}

#[test]
fn gradients_flow_through_scores_and_norms_as_through_a_head() {
    for case in cases().into_iter().filter(|case| case.spec.sub_centers == 1) {
        // The last embedding is moved off the origin, where scores alone cannot say that a cosine has no slope.
        let mut problem = Problem::of(&case);
        problem.embeddings[(ROWS - 1) * WIDTH..].copy_from_slice(&[0.5, -0.25, 0.75, 1.0]);
        let expected = core_row_by_row(&case, &problem, &UPSTREAM);
        for composed in [false, true] {
            let loss = module(&case, &problem);
            let x = tensor(&problem.embeddings, [ROWS, WIDTH], DType::F32).require_grad();
            let w = tensor(&problem.weight[..CLASSES * WIDTH], [CLASSES, WIDTH], DType::F32).require_grad();
            let bias = tensor(&problem.bias[..CLASSES], [CLASSES], DType::F32).require_grad();
            let (scores, norms) = scored(&case, &problem, x.clone(), w.clone(), bias.clone());
            let mut inputs = RowTensors::new().with_reduction(Reduction::None);
            if composed {
                inputs = inputs.composed();
            }
            if let Some(weights) = &problem.sample_weights {
                inputs = inputs.with_sample_weights(tensor(weights, [ROWS], DType::F32));
            }
            if let Some(margins) = &problem.margins {
                inputs = inputs.with_margins(tensor(margins, [ROWS], DType::F32));
            }
            let targets: TargetInput = match &problem.soft {
                Some(soft) => tensor(soft, [ROWS, CLASSES], DType::F32).into(),
                None => targets(&problem).into(),
            };
            let rows = loss.try_forward_batch(scores, targets, norms, inputs).unwrap().loss;
            let gradients = (rows.clone() * tensor(&UPSTREAM, [ROWS], DType::F32)).sum().backward();
            let list = |slopes: Option<Tensor<1>>| {
                slopes.map_or_else(Vec::new, |slopes| slopes.into_data().iter::<f64>().collect())
            };
            let flat = |slopes: Tensor<2>| list(Some(slopes.flatten::<1>(0, 1)));
            let found = common::Answer {
                loss: list(Some(rows)),
                embeddings: flat(x.grad(&gradients).unwrap()),
                weight: flat(w.grad(&gradients).unwrap()),
                bias: list(bias.grad(&gradients)),
                scale: list(loss.scale.as_ref().map(|scale| scale.val().grad(&gradients).unwrap())),
                radius: list(loss.radius.as_ref().map(|radius| radius.val().grad(&gradients).unwrap())),
            };
            assert_close(&format!("{} composed {composed}", case.name), &found, &expected, F32);
        }
    }
}

#[test]
fn a_class_of_score_minus_infinity_is_masked() {
    let out = f32::NEG_INFINITY;
    let masked = [[1.0, out, 0.5, -1.0], [out, 0.25, out, 2.0], [0.5, out, out, out]];
    let labels = [2, 1, 0];
    for case in cases().into_iter().filter(|case| !case.per_sample && !case.weighted && !case.soft) {
        let built = case.spec.clone().build(CLASSES).unwrap();
        let needs_more =
            built.needs_embedding_norms() || case.spec.class_weights.is_some() || case.spec.sub_centers > 1;
        if needs_more || case.name.contains("per class") {
            continue;
        }
        let slopes = |composed: bool| {
            let spec = case.spec.clone().with_class_counts(&COUNTS[..4]);
            let loss = MarginLossConfig::new(4).with_loss(spec).init(&device());
            let scores = Tensor::<2>::from_floats(masked, &device()).mul_scalar(0.5).require_grad();
            let targets = Tensor::<1, Int>::from_ints(labels, &device());
            let inputs = if composed { RowTensors::new().composed() } else { RowTensors::new() };
            let value = loss.try_forward_batch(scores.clone(), targets, NormTensors::new(), inputs).unwrap().loss;
            let gradients = value.backward();
            let mut all = scores.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap();
            all.push(value.into_scalar());
            all.extend(loss.scale.map(|scale| scale.val().grad(&gradients).unwrap().into_scalar::<f32>()));
            all
        };
        let (custom, composed) = (slopes(false), slopes(true));
        assert_eq!(custom[1], 0.0, "{}", case.name);
        for (index, (a, b)) in custom.iter().zip(&composed).enumerate() {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{}: {index}: {a} against {b}", case.name);
        }
    }
}

#[test]
fn soft_targets_on_masked_classes_make_the_loss_infinite() {
    let loss = MarginLossConfig::new(3).init(&device());
    let scores = Tensor::<2>::from_floats([[1.0, f32::NEG_INFINITY, 0.5], [1.0, f32::NEG_INFINITY, 0.5]], &device());
    let soft = Tensor::<2>::from_floats([[0.5, 0.0, 0.5], [0.5, 0.25, 0.25]], &device());
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let inputs = inputs.with_reduction(Reduction::None);
        let rows = loss.try_forward_batch(scores.clone(), soft.clone(), NormTensors::new(), inputs).unwrap().loss;
        let rows = rows.into_data().try_to_vec::<f32>().unwrap();
        // ln(e^1 + e^0.5) - 0.75
        assert!((rows[0] - 0.724_077).abs() < 1e-6, "{}", rows[0]);
        assert_eq!(rows[1], f32::INFINITY);
    }
}

#[test]
fn large_and_small_scores_lose_nothing() {
    let loss = MarginLossConfig::new(2).init(&device());
    let scores = Tensor::<2>::from_floats([[20.0, 0.0], [1e4, 1e4 - 1.0], [-1e4, 1e4], [1e-30, 0.0]], &device());
    let targets = Tensor::<1, Int>::from_ints([0, 0, 0, 0], &device());
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let inputs = inputs.with_reduction(Reduction::None);
        let rows = loss.try_forward_batch(scores.clone(), targets.clone(), NormTensors::new(), inputs).unwrap().loss;
        let rows = rows.into_data().try_to_vec::<f32>().unwrap();
        for (row, expected) in rows.iter().zip([2.061_153_7e-9, 0.313_261_7, 2e4, std::f32::consts::LN_2]) {
            assert!((row - expected).abs() <= 1e-6 * expected, "{row} against {expected}");
        }
    }
}

#[test]
fn missing_and_unwanted_inputs_are_errors() {
    let loss = MarginLossConfig::new(CLASSES).with_preset("sphereface").unwrap().init(&device());
    let scores = Tensor::<2>::zeros([2, CLASSES], &device());
    let labels = Tensor::<1, Int>::from_ints([0, 1], &device());
    for inputs in [RowTensors::new(), RowTensors::new().composed()] {
        let missing =
            loss.try_forward_batch(scores.clone(), labels.clone(), NormTensors::new(), inputs.clone()).unwrap_err();
        assert_eq!((missing.kind(), missing.subject()), (ErrorKind::Input, "embedding norms"));
        let soft = Tensor::<2>::full([2, CLASSES], 0.2, &device());
        let norms = NormTensors::new().with_embeddings(Tensor::ones([2], &device()));
        let rejected = loss.try_forward_batch(scores.clone(), soft, norms, inputs.clone()).unwrap_err();
        assert_eq!((rejected.kind(), rejected.subject()), (ErrorKind::Input, "soft targets"));
        let entropy = MarginLossConfig::new(CLASSES).init(&device());
        let off = Tensor::<2>::full([2, CLASSES], 0.3, &device());
        let rejected = entropy.try_forward_batch(scores.clone(), off, NormTensors::new(), inputs).unwrap_err();
        assert_eq!((rejected.kind(), rejected.subject()), (ErrorKind::Distribution, "targets of row 0"));
    }
}

#[test]
fn a_loss_takes_any_view_of_scores() {
    let values = [[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]];
    let core = common::preset("cross-entropy").build(3).unwrap();
    let scores = ArrayView2::from(&values);
    let labels = ndarray::array![1, 2];
    let expected = core.value(&softmargin::Batch::new(scores, labels.view()), Reduction::Mean).unwrap().total;
    let loss = MarginLossConfig::new(3).init(&device());
    let turned = Tensor::<2>::from_floats(values, &device()).transpose().into_data();
    let scores = Tensor::<2>::from_data(turned, &device()).transpose();
    let found: f32 = loss.forward(scores, Tensor::<1, Int>::from_ints([1, 2], &device())).into_scalar();
    assert_eq!(found, expected);
}

#[test]
fn sub_centers_belong_to_a_head() {
    let error =
        MarginLossConfig::new(CLASSES).with_preset("sub-center-arcface").unwrap().try_init(&device()).unwrap_err();
    assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, "sub_centers"));
}
