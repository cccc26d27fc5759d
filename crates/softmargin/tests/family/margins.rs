//! Properties of margins: neutral margins, angles beyond pi, annealing.

use crate::combinations::{class_counts, comparisons, geometries, is_accepted, problem, spec_of};
use crate::problem::{Owned, Problem, Random, bits, evaluate, matrix_bits, state};
use crate::properties::{evaluate_f64, with};
use crate::tolerances::{Precision, V};
use softmargin::{
    AngularMargin, Anneal, BeyondPi, Comparison, Gate, Geometry, LossSpec, LossState, Margin, MarginGradient,
    MarginValue, Negatives, NormMargin, Radians, Reduction, Scale, presets,
};

/// Margin values from the norm that are 0 for every norm.
const FLAT: NormMargin = NormMargin::Linear { low: 0.0, high: 0.0, norm_low: 1.0, norm_high: 2.0 };
const OFF: NormMargin = NormMargin::Standardized { value: 0.0, concentration: 0.333, momentum: 0.01 };

/// Returns margins that leave the scores unchanged.
fn neutral_margins(classes: usize) -> Vec<Margin> {
    let zeros = || vec![0.0; classes];
    let mut all = vec![
        Margin::score(0.0),
        Margin::Logit { value: MarginValue::One(0.0) },
        Margin::Score { value: MarginValue::PerClass(zeros()) },
        Margin::Logit { value: MarginValue::PerClass(zeros()) },
        Margin::Score { value: MarginValue::PerSample },
        Margin::Logit { value: MarginValue::PerSample },
        Margin::Score { value: MarginValue::Drawn { mean: 0.0, std: 0.0 } },
        Margin::Logit { value: MarginValue::ByFrequency { largest: 0.0, class_counts: Some(class_counts(classes)) } },
        Margin::Score { value: MarginValue::FromNorm(FLAT) },
        Margin::Logit { value: MarginValue::FromNorm(OFF) },
    ];
    let angles = || MarginValue::PerClass(vec![Radians(0.0); classes]);
    let values = [
        (MarginValue::One(Radians(0.0)), MarginValue::One(0.0)),
        (angles(), MarginValue::PerClass(zeros())),
        (MarginValue::PerSample, MarginValue::One(0.0)),
        (angles(), MarginValue::PerSample),
        (MarginValue::Drawn { mean: Radians(0.0), std: Radians(0.0) }, MarginValue::FromNorm(FLAT)),
        (MarginValue::FromNorm(OFF), MarginValue::FromNorm(OFF)),
    ];
    for beyond_pi in [BeyondPi::Continue, BeyondPi::Extend, BeyondPi::Plain, BeyondPi::Piecewise, BeyondPi::Clamp] {
        for gradient in [MarginGradient::Exact, MarginGradient::StraightThrough] {
            for anneal in [None, Some(Anneal::SPHEREFACE), Some(Anneal { min: 0.0, ..Anneal::SPHEREFACE })] {
                for (plus, minus) in &values {
                    let (plus, minus) = (plus.clone(), minus.clone());
                    all.push(Margin::Angle(AngularMargin { times: 1.0, plus, minus, beyond_pi, gradient, anneal }));
                }
            }
        }
    }
    all
}

#[test]
fn a_neutral_margin_gives_bitwise_identical_results_to_no_margin() {
    let mut random = Random::new(34);
    let mut compared = 0;
    for geometry in geometries().into_iter().filter(|geometry| !geometry.has_bias()) {
        for comparison in comparisons() {
            let scale = Scale::fixed(13.7);
            let none = with(comparison).with_geometry(geometry).with_scale(scale);
            if !is_accepted(&none) {
                continue;
            }
            let mut problem = problem(&mut random, geometry, 5, 6);
            // Include the poles, where the sine in the exact derivative is bounded below.
            problem.scores[[0, 0]] = problem.embedding_norms.as_ref().unwrap()[0];
            problem.scores[[0, 0]] = if geometry == Geometry::Cosine { -1.0 } else { problem.scores[[0, 0]] * 0.25 };
            problem.state = Some(state(5000));
            for margin in neutral_margins(6) {
                let per_sample = format!("{margin:?}").contains("PerSample");
                let spec = none.clone().with_margin(margin);
                for precision in Precision::ALL {
                    let evaluate_f64 = |spec: &LossSpec, margins: Option<Vec<f64>>| {
                        let loss = spec.clone().build(6).unwrap();
                        let problem = Problem { margins, ..problem.clone() }.fitted_to(&loss);
                        match precision {
                            Precision::F32 => evaluate::<f32>(&loss, &problem, Reduction::Mean).unwrap(),
                            Precision::F64 => evaluate::<f64>(&loss, &problem, Reduction::Mean).unwrap(),
                        }
                    };
                    let plain = evaluate_f64(&none, None);
                    let neutral = evaluate_f64(&spec, per_sample.then(|| vec![0.0; 5]));
                    assert_eq!(bits(&plain.rows), bits(&neutral.rows), "{spec:?}");
                    assert_eq!(plain.total.to_bits(), neutral.total.to_bits(), "{spec:?}");
                    assert_eq!(matrix_bits(&plain.scores), matrix_bits(&neutral.scores), "{spec:?}");
                    assert_eq!(plain.scale.to_bits(), neutral.scale.to_bits(), "{spec:?}");
                    let norm_gradients = [&neutral.embedding_norms, &neutral.weight_norms];
                    assert!(norm_gradients.into_iter().flatten().flatten().all(|slope| *slope == 0.0), "{spec:?}");
                    compared += 1;
                }
            }
        }
    }
    println!("neutral margins: {compared} bitwise identical results");
    assert!(compared > 2000);
}

#[test]
fn neutral_negatives_give_bitwise_identical_results_to_plain_ones() {
    let mut random = Random::new(46);
    for comparison in comparisons() {
        let plain = with(comparison).with_geometry(Geometry::Cosine).with_scale(13.7);
        let mut problem = problem(&mut random, Geometry::Cosine, 5, 70);
        problem.scores[[1, 3]] = 1.0;
        problem.scores[[2, 4]] = -1.0;
        problem.scores[[3, 5]] = f64::NEG_INFINITY;
        for negatives in [Negatives::Misclassified { factor: 1.0 }, Negatives::DividedAngle { by: 1.0 }] {
            let neutral = plain.clone().with_negatives(negatives);
            let (a, b) =
                (evaluate_f64(&plain, &problem, Reduction::Mean), evaluate_f64(&neutral, &problem, Reduction::Mean));
            assert_eq!((bits(&a.rows), matrix_bits(&a.scores)), (bits(&b.rows), matrix_bits(&b.scores)), "{neutral:?}");
            assert_eq!(a.scale.to_bits(), b.scale.to_bits(), "{neutral:?}");
        }
    }
}

/// Returns `psi` at an angle, measured as the gap to an orthogonal negative under the identity gate.
fn psi(angle: &AngularMargin, theta: f64) -> f64 {
    let gate = Gate::Identity;
    let spec =
        with(Comparison::Hardest { gate }).with_geometry(Geometry::Cosine).with_margin(Margin::Angle(angle.clone()));
    -evaluate_f64(&spec, &Problem::row(&[theta.cos(), 0.0], 0), Reduction::Sum).total
}

#[test]
fn margins_beyond_pi_have_their_documented_shapes() {
    const PI: f64 = std::f64::consts::PI;
    let shapes =
        [(1.0, 0.5, 0.0), (1.0, 0.3, 0.2), (0.9, 0.4, 0.15), (1.5, 0.0, 0.0), (4.0, 0.0, 0.0), (2.5, 0.7, 0.1)];
    for (times, plus, minus) in shapes {
        for beyond_pi in [BeyondPi::Continue, BeyondPi::Extend, BeyondPi::Plain, BeyondPi::Piecewise, BeyondPi::Clamp] {
            if beyond_pi == BeyondPi::Extend && times != 1.0 {
                continue;
            }
            let angle = AngularMargin {
                times,
                plus: MarginValue::One(Radians(plus)),
                minus: MarginValue::One(minus),
                beyond_pi,
                gradient: MarginGradient::Exact,
                anneal: None,
            };
            let steps = 4000;
            let thetas = (0..=steps).map(|k| PI * f64::from(k) / f64::from(steps));
            let values: Vec<f64> = thetas.map(|theta| psi(&angle, theta)).collect();
            let rises = values.windows(2).any(|w| w[1] > w[0] + 8.0 * V * 10.0);
            // |d psi / d theta| <= times (or 1 on a continuation).
            let step = times.max(1.0) * PI / f64::from(steps) * 1.001;
            let jumps = values.windows(2).any(|w| (w[1] - w[0]).abs() > step);
            let passes = times * PI + plus > PI;
            assert_eq!(rises, passes && beyond_pi == BeyondPi::Plain, "{angle:?}");
            assert_eq!(jumps, passes && beyond_pi == BeyondPi::Extend, "{angle:?}");
            let limit = (PI - plus) / times;
            let after = psi(&angle, limit + 1e-9) + minus;
            let want = if beyond_pi == BeyondPi::Extend { -(plus.cos()) - plus * plus.sin() } else { -1.0 };
            assert!((after - want).abs() < 1e-8, "{angle:?}: {after}, expected {want}");
        }
    }
    let arcface = |beyond_pi| AngularMargin {
        times: 1.0,
        plus: MarginValue::One(Radians(0.5)),
        minus: MarginValue::One(0.0),
        beyond_pi,
        gradient: MarginGradient::Exact,
        anneal: None,
    };
    for theta in [2.7, 3.0, PI] {
        let got = psi(&arcface(BeyondPi::Continue), theta);
        assert!((got - (theta.cos() - (1.0 - 0.5_f64.cos()))).abs() <= 8.0 * V);
        let got = psi(&arcface(BeyondPi::Extend), theta);
        assert!((got - (theta.cos() - 0.5 * 0.5_f64.sin())).abs() <= 8.0 * V);
    }
    let jump = psi(&arcface(BeyondPi::Extend), PI - 0.5 + 1e-9);
    assert!((jump + 1.117).abs() < 5e-4, "{jump}");
    let sphereface = AngularMargin { times: 4.0, plus: MarginValue::One(Radians(0.0)), ..arcface(BeyondPi::Piecewise) };
    assert!((psi(&sphereface, PI) + 7.0).abs() <= 64.0 * V, "four times the angle decreases from 1 to -7");
}

#[test]
fn the_state_changes_only_by_update_and_advance() {
    let annealed = ["sphereface", "l-softmax"];
    let others = ["elasticface", "elasticface-cos", "adaface", "curricularface"];
    for preset in presets::all() {
        let loss = spec_of(preset, 4).build(4).unwrap();
        let has_state = annealed.contains(&preset.name) || others.contains(&preset.name);
        assert_eq!(loss.initial_state().is_some(), has_state, "{}", preset.name);
        let Some(mut steps) = loss.initial_state() else { continue };
        let mut random = Random::new(42);
        for step in 0..4 {
            assert_eq!(steps.step, step);
            let mut problem = problem(&mut random, preset.spec().geometry, 2, 4);
            problem.state = Some(steps.clone());
            let problem = problem.fitted_to(&loss);
            let before = steps.clone();
            let owned = Owned::<f32>::of(&problem);
            loss.update(&mut steps, &owned.batch()).unwrap();
            assert_eq!(steps != before, ["adaface", "curricularface"].contains(&preset.name), "{}", preset.name);
            let mut expected = steps.clone();
            evaluate::<f32>(&loss, &problem, Reduction::Mean).unwrap();
            steps.advance();
            expected.step = step + 1;
            assert_eq!(steps, expected);
        }
        // A different state gives a different loss.
        let mut problem = problem(&mut random, preset.spec().geometry, 2, 4);
        problem.scores.fill(0.5);
        let mut at = |state: LossState| {
            problem.state = Some(state);
            evaluate::<f64>(&loss, &problem.clone().fitted_to(&loss), Reduction::Mean).unwrap().total
        };
        let mut later = state(100_000);
        (later.norm_mean, later.target_mean) = (1.0, 0.5);
        assert!(at(state(0)) != at(later), "{}", preset.name);
    }
}

#[test]
fn annealing_weights_decrease_with_the_step() {
    for name in ["sphereface", "l-softmax"] {
        let Margin::Angle(AngularMargin { anneal: Some(anneal), .. }) = presets::find(name).unwrap().spec().margin
        else {
            panic!("{name} has no annealing")
        };
        assert!((0..4).all(|step| anneal.lambda(step + 1) < anneal.lambda(step)), "{name}");
    }
}
