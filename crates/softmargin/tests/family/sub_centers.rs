//! Several prototypes per class: loss of pooled scores, and gradients of the head.

use crate::problem::Random;
use ndarray::{Array1, Array2, Axis};
use softmargin::{Batch, ErrorKind, Gradients, LossSpec, OperandGradients, Reduction, presets, sub_centers};

/// Returns the loss of a head and its gradients with respect to embeddings and prototypes.
fn head(spec: &LossSpec, x: &Array2<f64>, w: &Array2<f64>, labels: &Array1<i64>) -> (f64, OperandGradients<f64>) {
    let centers = spec.sub_centers;
    let loss = spec.clone().build(w.nrows() / centers).unwrap();
    let scored = spec.geometry.scores(x.view(), w.view(), None).unwrap();
    let pooled = sub_centers::pool(scored.scores.view(), centers).unwrap();
    let batch = Batch::new(pooled.scores.view(), labels.view());
    let (value, gradients) = loss.value_and_grad(&batch, Reduction::Mean).unwrap();
    let scores = sub_centers::spread(gradients.scores.view(), pooled.winners.view(), centers).unwrap();
    let back = spec.geometry.backward(x.view(), w.view(), &scored, &Gradients { scores, ..gradients }.into()).unwrap();
    (value.total, back)
}

fn three_centers() -> (LossSpec, Array2<f64>, Array2<f64>, Array1<i64>) {
    let mut random = Random::new(91);
    let (x, w) = (random.matrix(5, 6, -1.0, 1.0), random.matrix(4 * 3, 6, -1.0, 1.0));
    let spec = presets::find("sub-center-arcface").unwrap().spec();
    (spec, x, w, Array1::from(random.labels(5, 4)))
}

#[test]
fn only_winning_prototypes_have_a_gradient() {
    let (spec, x, w, labels) = three_centers();
    let one = spec.clone().with_sub_centers(1);
    let scored = spec.geometry.scores(x.view(), w.view(), None).unwrap();
    let winners = sub_centers::pool(scored.scores.view(), 3).unwrap().winners;
    for row in 0..5 {
        // The winners of a row form a head of one prototype per class with the same loss.
        let chosen: Vec<usize> = (0..4).map(|class| class * 3 + usize::from(winners[[row, class]])).collect();
        let (x, labels) = (x.select(Axis(0), &[row]), labels.select(Axis(0), &[row]));
        let (whole, of_whole) = head(&spec, &x, &w, &labels);
        let (few, of_few) = head(&one, &x, &w.select(Axis(0), &chosen), &labels);
        assert!(whole > 0.0 && (whole - few).abs() < 1e-13 * whole, "row {row}: {whole} {few}");
        let error = (&of_whole.embeddings - &of_few.embeddings).iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        assert!(error < 1e-12, "row {row}: {error}");
        for k in (0..12).filter(|k| !chosen.contains(k)) {
            assert!(of_whole.weight.row(k).iter().all(|slope| *slope == 0.0), "row {row}, prototype {k}");
        }
    }
}

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    let (spec, x, w, labels) = three_centers();
    let spec = spec.with_scale(8.0);
    let (_, back) = head(&spec, &x, &w, &labels);
    let h = 1e-5;
    let check = |of_x: bool, got: &Array2<f64>| {
        for (place, &slope) in got.indexed_iter() {
            let at = |step: f64| {
                let (mut x, mut w) = (x.clone(), w.clone());
                *(if of_x { &mut x[place] } else { &mut w[place] }) += step;
                head(&spec, &x, &w, &labels).0
            };
            let want = (at(h) - at(-h)) / (2.0 * h);
            // The truncation error is h^2 / 6 times a third derivative of some thousands; the rounding error is 1e-15 / h.
            assert!((slope - want).abs() < 1e-6 * (1.0 + want.abs()), "{of_x} {place:?}: {slope}, expected {want}");
        }
    };
    check(true, &back.embeddings);
    check(false, &back.weight);
}

#[test]
fn invalid_numbers_of_sub_centers_are_rejected() {
    let spec = |name: &str, sub_centers| presets::find(name).unwrap().spec().with_sub_centers(sub_centers);
    for count in [0, sub_centers::MOST + 1] {
        let error = spec("arcface", count).build(3).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, "sub_centers"), "{error}");
    }
    let error = spec("l-softmax", 2).build(3).unwrap_err();
    assert!(error.subject() == "sub_centers" && error.expected().contains("angle"), "{error}");
    for name in ["sphereface", "cross-entropy", "arcface", "am-softmax"] {
        assert!(spec(name, 2).build(3).is_ok(), "{name}");
    }
    assert_eq!(spec("sub-center-arcface", 3), presets::find("subcenter-arcface").unwrap().spec());
}
