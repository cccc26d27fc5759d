//! Mathematical properties of the family.

use crate::combinations::{class_counts, comparisons, geometries, is_accepted, problem, problem_of, spec_of};
use crate::oracle_description::{Expected, compare_with_expected};
use crate::problem::{Evaluation, Problem, ProblemTargets, Random, bits, evaluate};
use crate::tolerances::{Conditions, Precision, V};
use ndarray::{Array2, Axis};
use softmargin::{Comparison, Gate, Geometry, LossSpec, Margin, MarginValue, Reduction, Scale, SmoothGate, presets};

/// Returns cross-entropy of inner products with another comparison.
pub(crate) fn with(comparison: Comparison) -> LossSpec {
    presets::find("cross-entropy").unwrap().spec().with_comparison(comparison)
}

pub(crate) fn evaluate_f64(spec: &LossSpec, problem: &Problem, reduction: Reduction) -> Evaluation {
    let loss = spec.clone().build(problem.classes()).unwrap();
    evaluate::<f64>(&loss, &problem.clone().fitted_to(&loss), reduction).unwrap()
}

/// Returns an evaluation as the expected values of another.
fn as_expected(result: &Evaluation) -> Expected {
    Expected {
        rows: result.rows.clone(),
        total: result.total,
        no_valid_rows: result.valid_rows == 0,
        scores: Some(result.scores.iter().copied().collect()),
        scale: Some(result.scale),
        embedding_norms: result.embedding_norms.clone(),
        weight_norms: result.weight_norms.clone(),
        radius: Some(result.radius),
    }
}

const RELU: Gate = Gate::Relu;

#[test]
fn sums_of_gradients_agree_with_the_formulas() {
    let mut random = Random::new(31);
    for _ in 0..500 {
        let classes = 2 + random.below(9);
        let z = random.vector(classes, -3.0, 3.0);
        let y = random.below(classes);
        let problem = Problem::row(&z, y as i64);
        let at = |comparison| evaluate_f64(&with(comparison), &problem, Reduction::Sum);
        let negatives = |result: &Evaluation| result.scores.sum() - result.scores[[0, y]];
        let near = |a: f64, b: f64| (a - b).abs() <= 64.0 * V;

        let hinge = at(Comparison::LogSumExp { gate: SmoothGate::Relu });
        let active = hinge.rows[0] > 0.0;
        let (own, others) = (hinge.scores[[0, y]], negatives(&hinge));
        assert!(if active { own == -1.0 && near(others, 1.0) } else { own == 0.0 && others == 0.0 });
        if active {
            assert!(near(hinge.scores.iter().map(|g| g.abs()).sum(), 2.0), "the absolute sum is 2");
        }
        // Softplus multiplies all gradients by 1 - p_y.
        let smooth = at(Comparison::CROSS_ENTROPY);
        let p = softmargin::smooth::softmax(&z, 1.0).unwrap();
        assert!(near(smooth.scores[[0, y]], p[y] - 1.0) && near(negatives(&smooth), 1.0 - p[y]));
        for (k, slope) in smooth.scores.iter().enumerate().filter(|(k, _)| *k != y) {
            assert!(near(*slope, p[k]));
        }
        // Crammer-Singer: at most one +1, at the largest negative, and one -1, at the target.
        let hardest = at(Comparison::Hardest { gate: RELU });
        let best = (0..classes).filter(|k| *k != y).reduce(|a, b| if z[b] > z[a] { b } else { a }).unwrap();
        for (k, slope) in hardest.scores.iter().enumerate() {
            let violates = z[best] > z[y];
            let want = if violates && k == y {
                -1.0
            } else if violates && k == best {
                1.0
            } else {
                0.0
            };
            assert_eq!(*slope, want);
        }
        // Weston-Watkins: the target's gradient is minus the number of violating negatives.
        let spec = with(Comparison::EachPair { gate: RELU }).with_margin(Margin::score(1.0));
        let each = evaluate_f64(&spec, &problem, Reduction::Sum);
        let violators = (0..classes).filter(|&k| k != y && z[k] - z[y] + 1.0 > 0.0).count();
        assert_eq!(each.scores[[0, y]], -(violators as f64));
        // If only gaps matter, the gradients sum to 0.
        for comparison in comparisons().into_iter().filter(|c| is_accepted(&with(*c))) {
            if !matches!(comparison, Comparison::AgainstZero { .. }) && without_z_loss(comparison) {
                assert!(near(at(comparison).scores.sum(), 0.0), "{comparison:?}");
            }
        }
    }
}

fn without_z_loss(comparison: Comparison) -> bool {
    !matches!(comparison, Comparison::LogSumExp { gate: SmoothGate::Softplus { z_loss, .. } } if z_loss > 0.0)
}

#[test]
fn the_target_gradient_of_weston_watkins_grows_with_the_number_of_classes() {
    for classes in [2, 10, 1000] {
        let mut z = vec![0.0; classes];
        z[1] = -5.0;
        let slope = |name: &str| {
            let spec = presets::find(name).unwrap().spec();
            evaluate_f64(&spec, &Problem::row(&z, 1), Reduction::Sum).scores[[0, 1]]
        };
        assert_eq!(slope("weston-watkins"), -(classes as f64 - 1.0));
        assert_eq!(slope("crammer-singer"), -1.0);
    }
}

#[test]
fn comparisons_satisfy_their_bounds() {
    let mut random = Random::new(32);
    let margins = [
        (Geometry::Cosine, 16.0, Margin::None),
        (Geometry::Cosine, 30.0, Margin::score(0.35)),
        (Geometry::Cosine, 64.0, presets::find("arcface").unwrap().spec().margin),
        (Geometry::Cosine, 0.25, presets::find("combined-margin").unwrap().spec().margin),
        (Geometry::UnitWeights, 2.0, presets::find("sphereface").unwrap().spec().margin),
        (Geometry::InnerProduct { bias: false, temperature: 0.5 }, 1.0, Margin::Logit { value: MarginValue::One(1.5) }),
    ];
    for _ in 0..200 {
        for (geometry, scale, margin) in &margins {
            let classes = 2 + random.below(12);
            let problem = problem(&mut random, *geometry, 3, classes);
            let loss = |comparison| {
                let scale = Scale::fixed(*scale);
                let spec = with(comparison).with_geometry(*geometry).with_scale(scale).with_margin(margin.clone());
                evaluate_f64(&spec, &problem, Reduction::None).rows
            };
            let cross_entropy = loss(Comparison::CROSS_ENTROPY);
            let hardest = loss(Comparison::Hardest { gate: RELU });
            let hinge = loss(Comparison::LogSumExp { gate: SmoothGate::Relu });
            for row in 0..3 {
                let slack = 64.0 * V * (1.0 + cross_entropy[row]);
                let (c, h, l) = (cross_entropy[row], hardest[row], hinge[row]);
                assert!(h <= c + slack && c <= h + (classes as f64).ln() + slack, "{h} {c}");
                assert!(l <= c + slack && c <= l + 2_f64.ln() + slack, "{l} {c}");
                assert!(h <= l + slack, "the smooth maximum is above the maximum: {h} {l}");
            }
        }
    }
}

#[test]
fn extreme_scales_give_the_limits() {
    let mut random = Random::new(33);
    for _ in 0..100 {
        let problem = problem(&mut random, Geometry::Cosine, 4, 7);
        let evaluate_f64 = |scale: f64, comparison| {
            let spec = with(comparison).with_geometry(Geometry::Cosine).with_scale(scale);
            evaluate_f64(&spec, &problem, Reduction::None).rows
        };
        for scale in [1.0, 10.0, 1e3, 1e5] {
            // softplus is at most ln 2 above ReLU, log-sum-exp at most ln (C - 1) above the maximum.
            let pairs = [
                (Comparison::EachPair { gate: Gate::Softplus }, Comparison::EachPair { gate: RELU }, 6.0 * 2_f64.ln()),
                (Comparison::Hardest { gate: Gate::Softplus }, Comparison::Hardest { gate: RELU }, 2_f64.ln()),
                (Comparison::CROSS_ENTROPY, Comparison::Hardest { gate: RELU }, 7_f64.ln()),
                (
                    Comparison::AgainstZero { gate: Gate::Softplus },
                    Comparison::AgainstZero { gate: RELU },
                    7.0 * 2_f64.ln(),
                ),
            ];
            for (smooth, hard, bound) in pairs {
                for (smooth, hard) in evaluate_f64(scale, smooth).into_iter().zip(evaluate_f64(1.0, hard)) {
                    let error = smooth / scale - hard;
                    assert!((-1e-14..=bound / scale + 1e-14).contains(&error), "{scale}: {error}");
                }
            }
        }
        for loss in evaluate_f64(1e-30, Comparison::CROSS_ENTROPY) {
            assert!((loss - 7_f64.ln()).abs() <= 16.0 * V, "{loss}");
        }
    }
}

#[test]
fn results_are_equivariant_under_permutations_of_classes() {
    let mut report = crate::error_report::ErrorReport::new("permutation");
    let mut random = Random::new(35);
    for preset in presets::all() {
        for _ in 0..20 {
            let spec = spec_of(preset, 9);
            let problem = problem_of(&mut random, &spec, 4, 9);
            let mut order: Vec<usize> = (0..9).collect();
            for k in (1..9).rev() {
                order.swap(k, random.below(k + 1));
            }
            let mut permuted = problem.clone();
            permuted.scores = problem.scores.select(Axis(1), &order);
            let place = |class: usize| order.iter().position(|k| *k == class).unwrap();
            let ProblemTargets::Labels(labels) = &mut permuted.targets else { unreachable!("hard labels") };
            labels.iter_mut().for_each(|label| *label = place(*label as usize) as i64);
            let counts = class_counts(9);
            let counts: Vec<u64> = order.iter().map(|k| counts[*k]).collect();
            let of_permuted = preset.spec().with_class_counts(&counts);
            let norms = problem.weight_norms.as_ref().unwrap();
            permuted.weight_norms = Some(order.iter().map(|k| norms[*k]).collect());

            let plain = evaluate_f64(&spec, &problem, Reduction::Mean);
            let mut want = as_expected(&plain);
            want.scores = Some(plain.scores.select(Axis(1), &order).iter().copied().collect());
            want.weight_norms = plain.weight_norms.map(|norms| order.iter().map(|k| norms[*k]).collect());
            let reduction = Reduction::Mean;
            let conditions =
                Conditions { spec: &of_permuted, problem: &permuted, reduction, precision: Precision::F64 };
            compare_with_expected(
                &mut report,
                preset.name,
                &conditions,
                &evaluate_f64(&of_permuted, &permuted, reduction),
                &want,
            );
        }
    }
    report.finish(5_000);
}

#[test]
fn only_against_zero_depends_on_a_common_offset() {
    let mut random = Random::new(36);
    for comparison in comparisons().into_iter().filter(|comparison| without_z_loss(*comparison)) {
        let spec = with(comparison).with_margin(Margin::score(0.5));
        if !is_accepted(&spec) {
            continue;
        }
        // Multiples of 2^-10 keep exactly the same differences when shifted by 3.
        let scores = random.matrix(5, 70, -2.0, 2.0).mapv(|z| (z * 1024.0).round() / 1024.0);
        let labels = random.labels(5, 70);
        let plain = evaluate_f64(&spec, &Problem::new(scores.clone(), labels.clone()), Reduction::Sum);
        let shifted = evaluate_f64(&spec, &Problem::new(scores + 3.0, labels), Reduction::Sum);
        let same = bits(&plain.rows) == bits(&shifted.rows) && plain.scores == shifted.scores;
        assert_eq!(same, !matches!(comparison, Comparison::AgainstZero { .. }), "{comparison:?}");
    }
}

#[test]
fn a_class_at_minus_infinity_is_deleted() {
    let mut report = crate::error_report::ErrorReport::new("masking");
    let mut random = Random::new(37);
    for comparison in comparisons() {
        for geometry in geometries() {
            let spec = with(comparison).with_geometry(geometry).with_margin(Margin::score(0.25));
            if !is_accepted(&spec) {
                continue;
            }
            let problem = problem(&mut random, geometry, 4, 150);
            let masked: Vec<usize> = (0..150).filter(|k| k % 3 == 1).collect();
            let unmasked: Vec<usize> = (0..150).filter(|k| k % 3 != 1).collect();
            let mut with_mask = problem.clone();
            for class in &masked {
                with_mask.scores.column_mut(*class).fill(f64::NEG_INFINITY);
            }
            with_mask.targets = ProblemTargets::Labels(vec![0, 2, 3, 149]);
            let mut without = Problem::new(problem.scores.select(Axis(1), &unmasked), vec![0, 1, 2, 99]);
            without.embedding_norms = problem.embedding_norms;
            for precision in Precision::ALL {
                let evaluate_f64 = |problem: &Problem| {
                    let loss = spec.clone().build(problem.classes()).unwrap();
                    let problem = problem.clone().fitted_to(&loss);
                    match precision {
                        Precision::F32 => evaluate::<f32>(&loss, &problem, Reduction::Sum).unwrap(),
                        Precision::F64 => evaluate::<f64>(&loss, &problem, Reduction::Sum).unwrap(),
                    }
                };
                let (masked_answer, deleted) = (evaluate_f64(&with_mask), evaluate_f64(&without));
                for class in &masked {
                    let zero = masked_answer.scores.column(*class).iter().all(|slope| slope.to_bits() << 1 == 0);
                    assert!(zero, "{spec:?}");
                }
                let mut got = masked_answer.clone();
                got.scores = masked_answer.scores.select(Axis(1), &unmasked);
                let reduction = Reduction::Sum;
                let conditions = Conditions { spec: &spec, problem: &without, reduction, precision };
                compare_with_expected(&mut report, &format!("{spec:?}"), &conditions, &got, &as_expected(&deleted));
            }
        }
    }
    report.finish(20_000);
}

#[test]
fn losses_are_linear_in_the_weights() {
    let mut random = Random::new(38);
    for preset in presets::all() {
        let spec = spec_of(preset, 5);
        let mut problem = problem_of(&mut random, &spec, 6, 5);
        problem.sample_weights = Some(random.vector(6, 0.5, 2.0));
        let plain = evaluate_f64(&spec, &problem, Reduction::Sum);
        let mut doubled = problem.clone();
        doubled.sample_weights.as_mut().unwrap().iter_mut().for_each(|weight| *weight *= 2.0);
        let twice = evaluate_f64(&spec, &doubled, Reduction::Sum);
        assert_eq!(twice.total, 2.0 * plain.total, "{}", preset.name);
        assert_eq!(twice.scores, &plain.scores * 2.0, "{}", preset.name);
        assert_eq!(twice.rows, plain.rows.iter().map(|row| 2.0 * row).collect::<Vec<_>>());
        // The mean is unchanged.
        let (mean, same) =
            (evaluate_f64(&spec, &problem, Reduction::Mean), evaluate_f64(&spec, &doubled, Reduction::Mean));
        assert_eq!(mean.total, same.total, "{}", preset.name);
        assert_eq!(mean.scores, same.scores, "{}", preset.name);
        // A class weight equals the same sample weight of every row of the class.
        let of_class = random.vector(5, 0.25, 3.0);
        let with_class_weights = spec.clone().with_class_weights(of_class.clone());
        let mut with_sample_weights = problem.clone();
        let labels: Vec<usize> = (0..6).map(|row| problem.label(row).unwrap() as usize).collect();
        for (weight, label) in with_sample_weights.sample_weights.as_mut().unwrap().iter_mut().zip(&labels) {
            *weight *= of_class[*label];
        }
        let (a, b) = (
            evaluate_f64(&with_class_weights, &problem, Reduction::Mean),
            evaluate_f64(&spec, &with_sample_weights, Reduction::Mean),
        );
        assert!((a.total - b.total).abs() <= 16.0 * V * a.total, "{}: {} {}", preset.name, a.total, b.total);
        // A row of weight 2 equals the row repeated twice, except for drawn margins, which differ between rows.
        if preset.name.starts_with("elasticface") {
            continue;
        }
        let two = [0, 1, 2, 3, 4, 5, 3];
        let mut repeated = problem.clone();
        repeated.sample_weights = None;
        let mut weighted = repeated.clone();
        weighted.sample_weights = Some(vec![1.0, 1.0, 1.0, 2.0, 1.0, 1.0]);
        repeated.scores = problem.scores.select(Axis(0), &two);
        repeated.targets = ProblemTargets::Labels(two.iter().map(|row| problem.label(*row).unwrap()).collect());
        repeated.embedding_norms = problem.embedding_norms.as_ref().map(|n| two.iter().map(|row| n[*row]).collect());
        for reduction in [Reduction::Sum, Reduction::Mean] {
            let (a, b) = (evaluate_f64(&spec, &repeated, reduction), evaluate_f64(&spec, &weighted, reduction));
            assert!((a.total - b.total).abs() <= 16.0 * V * a.total, "{}: {} {}", preset.name, a.total, b.total);
        }
    }
}

fn is_smoothed(comparison: Comparison) -> bool {
    matches!(comparison, Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, .. } } if label_smoothing > 0.0)
}

#[test]
fn reductions_are_consistent() {
    let mut random = Random::new(39);
    let mut specs: Vec<LossSpec> = presets::all().iter().map(|preset| spec_of(preset, 5)).collect();
    specs.extend(comparisons().into_iter().map(with).filter(is_accepted));
    for spec in specs {
        let spec = spec.with_ignored_label(-1).with_class_weights(vec![0.5, 1.0, 2.0, 0.25, 3.0]);
        let mut problem = problem_of(&mut random, &spec, 8, 5);
        let ProblemTargets::Labels(labels) = &mut problem.targets else { unreachable!("hard labels") };
        labels[2] = -1;
        problem.sample_weights = Some(random.vector(8, 0.1, 2.0));
        let [none, sum, mean, other] = [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::MeanOrNan]
            .map(|r| evaluate_f64(&spec, &problem, r));
        assert!(none.rows == sum.rows && none.rows == mean.rows && none.valid_rows == 7);
        assert_eq!(none.total, sum.total);
        assert_eq!((&mean.total, &mean.scores), (&other.total, &other.scores));
        let summed: f64 = none.rows.iter().sum();
        let slack = 16.0 * V * none.rows.iter().map(|row| row.abs()).sum::<f64>();
        assert!((summed - sum.total).abs() <= slack && (mean.total * mean.weight - sum.total).abs() <= slack);
        for (of_mean, of_sum) in mean.scores.rows().into_iter().zip(sum.scores.rows()) {
            // With label smoothing a gradient is a difference of terms that may be as large as the largest of the row.
            let largest = of_sum.iter().fold(0.0_f64, |most, slope| most.max(slope.abs()));
            for (mean_slope, sum_slope) in of_mean.iter().zip(of_sum) {
                let size = if is_smoothed(spec.comparison) { largest } else { sum_slope.abs() };
                let error = (mean_slope * mean.weight - sum_slope).abs();
                assert!(error <= 16.0 * V * size, "{error:e} of {sum_slope:e}: {spec:?}");
            }
        }
        assert_eq!(none.scores, sum.scores);
    }
}

#[test]
fn one_hot_soft_targets_agree_with_labels() {
    let mut report = crate::error_report::ErrorReport::new("one-hot");
    let mut random = Random::new(40);
    for label_smoothing in [0.0, 0.125] {
        for z_loss in [0.0, 0.01] {
            for geometry in geometries() {
                let gate = SmoothGate::Softplus { label_smoothing, z_loss };
                let class_weights = Some(random.vector(6, 0.5, 2.0));
                let spec =
                    with(Comparison::LogSumExp { gate }).with_geometry(geometry).with_class_weights(class_weights);
                let hard = problem(&mut random, geometry, 5, 6);
                let mut one_hot = Array2::zeros((5, 6));
                for row in 0..5 {
                    one_hot[[row, hard.label(row).unwrap() as usize]] = 1.0;
                }
                let soft = Problem::soft(hard.scores.clone(), one_hot);
                let want = as_expected(&evaluate_f64(&spec, &hard, Reduction::Mean));
                let reduction = Reduction::Mean;
                let conditions = Conditions { spec: &spec, problem: &soft, reduction, precision: Precision::F64 };
                compare_with_expected(
                    &mut report,
                    &format!("{spec:?}"),
                    &conditions,
                    &evaluate_f64(&spec, &soft, reduction),
                    &want,
                );
            }
        }
    }
    report.finish(500);
}

#[test]
fn known_values_are_reproduced() {
    // Two classes are logistic regression on the difference of the scores.
    let spec = presets::find("cross-entropy").unwrap().spec();
    for gap in [-30.0, -1.0, 0.0, 2.5, 40.0] {
        let result = evaluate_f64(&spec, &Problem::row(&[gap, 0.0], 0), Reduction::Sum);
        let want = softmargin::smooth::softplus(-gap);
        assert!((result.total - want).abs() <= 4.0 * V * want);
    }
    // Smallest loss of a cosine head with s = 1 and the 10575 identities of NormFace.
    let classes = 10_575;
    let mut simplex = vec![-1.0 / (f64::from(classes) - 1.0); classes as usize];
    simplex[7] = 1.0;
    let normface = presets::find("normface").unwrap().spec().with_scale(1.0);
    let smallest = evaluate_f64(&normface, &Problem::row(&simplex, 7), Reduction::Sum).total;
    assert!((smallest - 8.27).abs() < 5e-3, "{smallest}");
    // At the optimal gap of label smoothing the gradient is 0.
    let eps = 0.1;
    let gate = SmoothGate::Softplus { label_smoothing: eps, z_loss: 0.0 };
    let gap = (1.0_f64 + 5.0 * (1.0 - eps) / eps).ln();
    let optimum = evaluate_f64(
        &with(Comparison::LogSumExp { gate }),
        &Problem::row(&[gap, 0.0, 0.0, 0.0, 0.0], 0),
        Reduction::Sum,
    );
    assert!(optimum.scores.iter().all(|slope| slope.abs() <= 16.0 * V), "{:?}", optimum.scores);
    // A temperature is the inverse of a scale.
    let mut random = Random::new(41);
    let problem = Problem::new(random.matrix(4, 5, -3.0, 3.0), random.labels(4, 5));
    let geometry = Geometry::InnerProduct { bias: false, temperature: 0.25 };
    let warm = evaluate_f64(&spec.clone().with_geometry(geometry), &problem, Reduction::Sum);
    let scaled = evaluate_f64(&spec.with_scale(4.0), &problem, Reduction::Sum);
    assert_eq!((warm.total, warm.scores), (scaled.total, scaled.scores));
    assert_eq!(
        warm.scale,
        4.0 * scaled.scale,
        "the gradient is with respect to the scale, not to scale over temperature"
    );
}
