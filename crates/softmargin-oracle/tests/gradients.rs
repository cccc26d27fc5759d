//! Comparison of the oracle's gradients with numerical derivatives of its own loss.

use softmargin_oracle::{
    Angle, Batch, BeyondPi, Comparison, Gate, Geometry, Head, Margin, MarginGradient, MarginValue, Negatives,
    NormMargin, Oracle, PRESET_NAMES, Reduction, Regularizer, State, Surrogate, Targets, five_point_difference, preset,
};

const STEP: f64 = 1e-4;

fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-7 * (1.0 + b.abs()), "{what}[{k}]: {a}, numerically {b}");
    }
}

/// Returns a batch with scores within every radius, no two equal gaps and no hinge near its kink.
fn batch() -> Batch {
    Batch {
        scores: vec![
            0.31, -0.22, 0.53, 0.17, -0.62, 0.44, -0.13, 0.27, 0.08, 0.71, -0.35, 0.58, -0.83, 0.37, 0.21, -0.47,
        ],
        classes: 4,
        targets: Targets::Labels(vec![0, 2, 1, 0]),
        embedding_norms: Some(vec![1.3, 0.9, 2.1, 1.1]),
        weight_norms: Some(vec![0.9, 1.2, 1.4, 0.8]),
    }
}

fn check(what: &str, oracle: &Oracle, batch: &Batch) {
    let output = oracle.evaluate(batch).expect(what);
    let frozen = Surrogate::frozen_at(oracle, batch);
    let loss = |oracle: &Oracle, batch: &Batch| frozen.evaluate(oracle, batch).expect(what).loss;
    let d =
        five_point_difference(|v| loss(oracle, &Batch { scores: v.to_vec(), ..batch.clone() }), &batch.scores, STEP);
    assert_close(&format!("{what}: scores"), &output.grad_scores, &d);

    let with_scale = |v: &[f64]| loss(&Oracle { scale: v[0], ..oracle.clone() }, batch);
    let d = five_point_difference(with_scale, &[oracle.scale], STEP);
    assert_close(&format!("{what}: scale"), &[output.grad_scale], &d);

    if let Some(norms) = &batch.embedding_norms {
        let f = |v: &[f64]| loss(oracle, &Batch { embedding_norms: Some(v.to_vec()), ..batch.clone() });
        let d = five_point_difference(f, norms, STEP);
        assert_close(&format!("{what}: embedding norms"), &output.grad_embedding_norms, &d);
    }
    if let Some(norms) = &batch.weight_norms {
        let f = |v: &[f64]| loss(oracle, &Batch { weight_norms: Some(v.to_vec()), ..batch.clone() });
        let d = five_point_difference(f, norms, STEP);
        assert_close(&format!("{what}: weight norms"), &output.grad_weight_norms, &d);
    }
    if let Regularizer::Ring { weight, radius } = oracle.regularizer {
        let f = |v: &[f64]| {
            let regularizer = Regularizer::Ring { weight, radius: v[0] };
            loss(&Oracle { regularizer, ..oracle.clone() }, batch)
        };
        assert_close(&format!("{what}: radius"), &[output.grad_radius], &five_point_difference(f, &[radius], STEP));
    }
}

/// Returns margins of every kind, with their names.
fn margins() -> Vec<(String, Margin)> {
    let mut all = vec![
        ("none".to_owned(), Margin::None),
        ("score".to_owned(), Margin::Score(MarginValue::PerClass(vec![0.1, 0.2, 0.3, 0.4]))),
        ("logit".to_owned(), Margin::Logit(MarginValue::PerSample(vec![0.5, 0.25, 0.1, 0.3]))),
    ];
    for beyond_pi in [BeyondPi::Continue, BeyondPi::Extend, BeyondPi::Plain, BeyondPi::Piecewise, BeyondPi::Clamp] {
        for gradient in [MarginGradient::Exact, MarginGradient::StraightThrough] {
            for (times, anneal_lambda) in [(1.0, None), (2.5, Some(3.0))] {
                if beyond_pi == BeyondPi::Extend && times != 1.0 {
                    continue;
                }
                let angle = Angle {
                    times,
                    plus: MarginValue::PerSample(vec![0.5, 0.3, 0.2, 0.9]),
                    minus: MarginValue::One(0.1),
                    beyond_pi,
                    gradient,
                    anneal_lambda,
                    ..Angle::neutral()
                };
                all.push((format!("{beyond_pi:?} {gradient:?} {times}"), Margin::Angle(angle)));
            }
        }
    }
    all
}

/// Returns a preset adapted to the batch: a small scale, bounds around the norms of the batch, a state during training.
fn preset_for_batch(name: &str) -> Oracle {
    let state = State { step: 7, seed: 11, target_mean: 0.3, norm_mean: 1.2, norm_std: 0.6 };
    let preset = preset(name).expect("a preset");
    let mut oracle = Oracle { scale: 2.0, state, sub_centers: 1, ..preset }.with_class_counts(&[9, 40, 3, 0]);
    if let Regularizer::Magnitude { weight, .. } = oracle.regularizer {
        oracle.regularizer = Regularizer::Magnitude { weight, low: 0.2, high: 3.0 };
    }
    if let Margin::Angle(angle) = &mut oracle.margin
        && let MarginValue::FromNorm(NormMargin::Linear { norm_low, norm_high, .. }) = &mut angle.plus
    {
        (*norm_low, *norm_high) = (0.2, 3.0);
    }
    oracle
}

#[test]
fn gradients_of_every_preset_agree_with_differences() {
    for name in PRESET_NAMES {
        let oracle = preset_for_batch(name);
        check(name, &oracle, &batch());
    }
}

#[test]
fn gradients_of_every_margin_in_every_geometry_agree_with_differences() {
    for geometry in [Geometry::InnerProduct, Geometry::UnitWeights, Geometry::Cosine] {
        for (name, margin) in margins() {
            let oracle = Oracle { geometry, margin, scale: 2.5, ..preset("cross-entropy").expect("a preset") };
            check(&format!("{geometry:?} {name}"), &oracle, &batch());
        }
    }
}

#[test]
fn gradients_of_every_comparison_gate_and_reduction_agree_with_differences() {
    for comparison in [Comparison::EachPair, Comparison::Hardest, Comparison::LogSumExp, Comparison::AgainstZero] {
        for gate in [Gate::Relu, Gate::Softplus, Gate::Identity] {
            for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
                let oracle = Oracle {
                    comparison,
                    gate,
                    reduction,
                    margin: Margin::Score(MarginValue::One(0.04)),
                    temperature: 0.7,
                    class_weights: Some(vec![0.5, 2.0, 1.5, 1.0]),
                    sample_weights: Some(vec![1.0, 0.3, 0.0, 2.0]),
                    ignored: Some(2),
                    ..preset("cross-entropy").expect("a preset")
                };
                check(&format!("{comparison:?} {gate:?} {reduction:?}"), &oracle, &batch());
            }
        }
    }
}

#[test]
fn gradients_with_smoothing_z_loss_and_soft_targets_agree_with_differences() {
    let base = preset("arcface").expect("a preset");
    for (label_smoothing, z_loss) in [(0.1, 0.0), (0.0, 0.2), (0.3, 0.05)] {
        let oracle = Oracle { scale: 3.0, label_smoothing, z_loss, ..base.clone() };
        check(&format!("smoothing {label_smoothing}, z-loss {z_loss}"), &oracle, &batch());
    }
    let soft = vec![0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.25, 0.25, 0.25, 0.25, 0.1, 0.2, 0.3, 0.4];
    let batch = Batch { targets: Targets::Soft(soft), ..batch() };
    let oracle = Oracle {
        scale: 3.0,
        z_loss: 0.1,
        class_weights: Some(vec![0.5, 2.0, 1.5, 1.0]),
        sample_weights: Some(vec![1.0, 0.3, 0.2, 2.0]),
        regularizer: Regularizer::Ring { weight: 0.4, radius: 1.2 },
        ..preset("normface").expect("a preset")
    };
    check("soft targets", &oracle, &batch);
}

#[test]
fn gradients_of_regularizers_agree_with_differences_under_every_reduction() {
    for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
        for regularizer in [Regularizer::FeatureIncay { weight: 0.5 }, Regularizer::Ring { weight: 0.5, radius: 1.4 }] {
            for name in ["cross-entropy", "sphereface", "l-softmax"] {
                let oracle = Oracle {
                    reduction,
                    regularizer,
                    sample_weights: Some(vec![1.0, 0.5, 2.0, 3.0]),
                    ..preset(name).expect("a preset")
                };
                check(&format!("{name} {reduction:?} {regularizer:?}"), &oracle, &batch());
            }
        }
    }
}

/// Returns embeddings and prototypes without symmetry; row 3 points away from its target, so its angle exceeds pi.
fn head(bias: bool) -> Head {
    Head {
        x: vec![0.9, -0.4, 0.3, -0.2, 1.1, 0.5, 0.7, 0.6, -0.8, -1.15, 0.21, -0.33],
        w: vec![1.2, -0.1, 0.4, -0.5, 0.9, 0.2, 0.3, 0.4, -1.1, -0.6, -0.7, 0.8],
        bias: bias.then(|| vec![0.1, -0.2, 0.3, 0.05]),
        dimension: 3,
    }
}

fn check_head(what: &str, oracle: &Oracle, head: &Head, targets: &Targets) {
    let out = head.evaluate(oracle, targets).expect(what);
    let frozen = Surrogate::frozen_at(oracle, &head.batch(oracle, targets.clone()).0);
    let loss = |head: Head| head.frozen_loss(oracle, targets, &frozen).expect(what);
    let d = five_point_difference(|v| loss(Head { x: v.to_vec(), ..head.clone() }), &head.x, STEP);
    assert_close(&format!("{what}: x"), &out.grad_x, &d);
    let d = five_point_difference(|v| loss(Head { w: v.to_vec(), ..head.clone() }), &head.w, STEP);
    assert_close(&format!("{what}: w"), &out.grad_w, &d);
    if let Some(bias) = &head.bias {
        let d = five_point_difference(|v| loss(Head { bias: Some(v.to_vec()), ..head.clone() }), bias, STEP);
        assert_close(&format!("{what}: bias"), &out.grad_bias, &d);
    }
}

#[test]
fn head_gradients_of_every_geometry_and_margin_agree_with_differences() {
    let targets = Targets::Labels(vec![0, 1, 2, 0]);
    for geometry in [Geometry::InnerProduct, Geometry::UnitWeights, Geometry::Cosine] {
        for (name, margin) in margins() {
            for regularizer in [Regularizer::None, Regularizer::FeatureIncay { weight: 0.3 }] {
                let oracle = Oracle {
                    geometry,
                    margin: margin.clone(),
                    regularizer,
                    scale: 2.5,
                    ..preset("cross-entropy").expect("a preset")
                };
                check_head(&format!("{geometry:?} {name} {regularizer:?}"), &oracle, &head(false), &targets);
            }
        }
    }
}

#[test]
fn head_gradients_of_every_preset_agree_with_differences() {
    let targets = Targets::Labels(vec![0, 1, 2, 0]);
    for name in PRESET_NAMES {
        let oracle = preset_for_batch(name);
        let angular = matches!(oracle.margin, Margin::Angle(_));
        let bias = oracle.geometry == Geometry::InnerProduct && !angular;
        check_head(name, &oracle, &head(bias), &targets);
    }
    let soft = Targets::Soft(vec![0.25; 16]);
    check_head("soft", &preset("normface").expect("a preset"), &head(false), &soft);
}

#[test]
fn gradients_of_modified_negatives_agree_with_differences() {
    let all = [
        Negatives::Misclassified { factor: 1.3 },
        Negatives::Curricular { momentum: 0.01 },
        Negatives::DividedAngle { by: 1.7, sin_floor: 2f64.powi(-20) },
    ];
    let state = State { target_mean: 0.4, ..State::initial() };
    for negatives in all {
        for comparison in [Comparison::EachPair, Comparison::Hardest, Comparison::LogSumExp, Comparison::AgainstZero] {
            for (name, margin) in margins() {
                let base = Oracle { comparison, margin, negatives, state, ..preset("normface").expect("a preset") };
                check(&format!("{negatives:?} {comparison:?} {name}"), &Oracle { scale: 2.5, ..base }, &batch());
            }
        }
        let smoothed =
            Oracle { label_smoothing: 0.2, z_loss: 0.05, negatives, state, ..preset_for_batch("am-softmax") };
        check(&format!("{negatives:?} smoothed"), &smoothed, &batch());
    }
}

#[test]
fn gradients_of_margin_values_from_the_norm_agree_with_differences() {
    let line = |low, high| MarginValue::FromNorm(NormMargin::Linear { low, high, norm_low: 0.2, norm_high: 3.0 });
    let angle = Angle { plus: line(0.2, 0.9), minus: line(0.3, 0.1), ..Angle::neutral() };
    let straight_through = Angle { gradient: MarginGradient::StraightThrough, ..angle.clone() };
    let targets = Targets::Labels(vec![0, 1, 2, 0]);
    let all = [
        Margin::Score(line(0.1, 0.5)),
        Margin::Logit(line(0.1, 0.5)),
        Margin::Angle(straight_through),
        Margin::Angle(Angle { anneal_lambda: Some(0.5), ..angle.clone() }),
        Margin::Angle(angle),
    ];
    for geometry in [Geometry::InnerProduct, Geometry::UnitWeights, Geometry::Cosine] {
        for margin in &all {
            let base =
                Oracle { geometry, margin: margin.clone(), scale: 2.5, ..preset("cross-entropy").expect("a preset") };
            let what = format!("{geometry:?} {margin:?}");
            check(&what, &base, &batch());
            check_head(&what, &base, &head(false), &targets);
        }
    }
}

#[test]
fn head_gradients_with_sub_centers_agree_with_differences() {
    // Two prototypes for each of two classes.
    let targets = Targets::Labels(vec![0, 1, 1, 0]);
    for geometry in [Geometry::UnitWeights, Geometry::Cosine] {
        for (name, margin) in margins() {
            let base =
                Oracle { geometry, margin, sub_centers: 2, scale: 2.5, ..preset("cross-entropy").expect("a preset") };
            let base = Oracle { margin: for_two_classes(base.margin.clone()), ..base };
            check_head(&format!("{geometry:?} {name}"), &base, &head(false), &targets);
        }
    }
    let oracle = Oracle { sub_centers: 2, scale: 2.0, ..preset("arcface").expect("a preset") };
    let out = head(false).evaluate(&oracle, &targets).expect("a loss");
    for k in 0..4 {
        let has_gradient = out.grad_w[k * 3..k * 3 + 3].iter().any(|g| *g != 0.0);
        assert_eq!(has_gradient, out.winners.contains(&k), "only winning prototypes have a gradient");
    }
    let base = Oracle { sub_centers: 3, ..oracle };
    assert!(head(false).evaluate(&base, &targets).is_err(), "4 prototypes are not a multiple of 3");
}

/// Returns the margin with the values of the first two classes only.
fn for_two_classes(margin: Margin) -> Margin {
    match margin {
        Margin::Score(MarginValue::PerClass(all)) => Margin::Score(MarginValue::PerClass(all[..2].to_vec())),
        other => other,
    }
}

#[test]
fn cosine_gradients_are_orthogonal_to_their_vectors() {
    let out = head(false)
        .evaluate(&preset("arcface").expect("a preset"), &Targets::Labels(vec![0, 1, 2, 0]))
        .expect("a loss");
    for (i, g) in out.grad_x.chunks(3).enumerate() {
        let along: f64 = g.iter().zip(head(false).embedding(i)).map(|(a, b)| a * b).sum();
        assert!(along.abs() < 1e-13);
    }
    for (j, g) in out.grad_w.chunks(3).enumerate() {
        let along: f64 = g.iter().zip(head(false).prototype(j)).map(|(a, b)| a * b).sum();
        assert!(along.abs() < 1e-13);
    }
}

#[test]
fn gradients_are_finite_at_the_poles_and_at_norm_zero() {
    let poles = Head {
        x: vec![2.0, 0.0, -3.0, 0.0, 0.0, 0.0],
        w: vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        bias: None,
        dimension: 2,
    };
    for name in ["arcface", "sphereface", "l-softmax", "combined-margin"] {
        let oracle = preset(name).expect("a preset");
        let out = poles.evaluate(&oracle, &Targets::Labels(vec![0, 0, 1])).expect("a loss");
        assert!(out.grad_x.iter().chain(&out.grad_w).all(|v| v.is_finite()), "{name}");
        if oracle.geometry != Geometry::InnerProduct {
            assert_eq!(out.grad_w[4..], [0.0, 0.0], "{name}: a prototype of norm 0 has no gradient");
        }
        if oracle.geometry == Geometry::Cosine {
            assert_eq!(out.grad_x[4..], [0.0, 0.0], "{name}: an embedding of norm 0 has no gradient");
            // At theta = 0 the target's term has no direction; the orthogonal negative gives a tangential gradient.
            assert_eq!(out.grad_x[0], 0.0);
            assert!(out.grad_x[1] != 0.0);
        }
    }
}
