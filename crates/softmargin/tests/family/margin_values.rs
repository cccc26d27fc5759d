//! How much margin a row has: by draw, by frequency, by norm; and the averages that are kept from step to step.

use crate::gauge::Gauge;
use crate::grid::{class_counts, problem_of, spec_of};
use crate::problem::{Aim, Owned, Problem, Random, answer, some_state, state};
use crate::properties::ask;
use crate::tolerances::PLAIN;
use crate::twin::{batch, describe, memory};
use ndarray::Array2;
use softmargin::random::{Generator, Purpose};
use softmargin::rows::Learned;
use softmargin::{
    AngularMargin, Geometry, LossSpec, LossState, Margin, MarginGradient, MarginValue, Negatives, NormMargin, Radians,
    Real, Reduction, Regularizer, presets,
};

fn spec(name: &str) -> LossSpec {
    spec_of(presets::find(name).unwrap(), 4)
}

/// Rows of cosines for four classes.
fn cosines(rows: usize) -> Problem {
    let mut random = Random::new(81);
    let labels = random.labels(rows, 4);
    Problem::new(random.matrix(rows, 4, -0.9, 0.9), labels)
}

/// What the rows of a problem have of margin.
#[derive(Debug)]
struct Found {
    /// Of a margin on the score, or `plus`.
    value: Vec<f64>,
    minus: Vec<f64>,
    value_derivative: Vec<f64>,
    minus_derivative: Vec<f64>,
}

fn margin_values(spec: &LossSpec, problem: &Problem) -> Found {
    let loss = spec.clone().build(4).unwrap();
    let problem = problem.clone().fitted_to(&loss);
    let plan = loss.plan(&Owned::<f64>::of(&problem).rows(), Learned::default()).unwrap();
    let of_rows = |of: &dyn Fn(usize) -> f64| (0..plan.count()).map(of).collect();
    Found {
        value: of_rows(&|row| plan.margin_values(row)[0]),
        minus: of_rows(&|row| plan.margin_values(row)[1]),
        value_derivative: of_rows(&|row| plan.margin_derivatives(row)[0]),
        minus_derivative: of_rows(&|row| plan.margin_derivatives(row)[1]),
    }
}

/// The loss where the margin values that were found are given with the batch.
fn with_values_given(spec: &LossSpec, problem: &Problem, values: &Found) -> f64 {
    let mut given = spec.clone();
    match &mut given.margin {
        Margin::Score { value } => *value = MarginValue::PerSample,
        Margin::Angle(angle) => angle.plus = MarginValue::PerSample,
        _ => panic!("a margin"),
    }
    ask(&given, &Problem { margins: Some(values.value.clone()), ..problem.clone() }, Reduction::Sum).total
}

#[test]
fn draws_are_functions_of_seed_step_and_row() {
    for name in ["elasticface", "elasticface-cos"] {
        let spec = spec(name);
        let at = |rows, state: LossState| margin_values(&spec, &Problem { state: Some(state), ..cosines(rows) }).value;
        let first = at(64, state(5).with_seed(9));
        assert_eq!(first, at(64, state(5).with_seed(9)), "{name}: the same each time");
        assert_eq!(first[..10], at(10, state(5).with_seed(9)), "{name}: whatever rows follow");
        assert!(first != at(64, state(6).with_seed(9)) && first != at(64, state(5).with_seed(8)), "{name}");
        let distinct: std::collections::BTreeSet<u64> = first.iter().map(|m| m.to_bits()).collect();
        assert_eq!(distinct.len(), 64, "{name}: each row its own");
        let mut stream = Generator::new(9, Purpose::Margins, 5);
        let mean = presets::find(name).unwrap().default_margin()[0];
        let want: Vec<f64> = first.iter().map(|_| mean + 0.0125 * stream.normal()).collect();
        assert_eq!(first, want, "{name}");
        // The loss with the same numbers given.
        let problem = Problem { state: Some(state(5).with_seed(9)), ..cosines(64) };
        let drawn = ask(&spec, &problem, Reduction::Sum).total;
        assert_eq!(drawn, with_values_given(&spec, &problem, &margin_values(&spec, &problem)), "{name}");
    }
}

#[test]
fn draws_stay_in_the_range_of_their_margin_value() {
    let wide = |margin| spec("arcface").with_margin(margin);
    let plus = MarginValue::Drawn { mean: Radians(1.5), std: Radians(100.0) };
    let Margin::Angle(arcface) = spec("arcface").margin else { panic!("an angle") };
    let score = MarginValue::Drawn { mean: 0.5, std: 100.0 };
    let cases = [
        (Margin::Angle(AngularMargin { plus, ..arcface.clone() }), std::f64::consts::PI),
        (Margin::Score { value: score.clone() }, 2.0),
        (Margin::Logit { value: score.clone() }, f64::INFINITY),
    ];
    for (margin, most) in cases {
        let all = margin_values(&wide(margin.clone()), &cosines(500)).value;
        let ends = |end: f64| all.iter().filter(|m| **m == end).count();
        assert!(all.iter().all(|m| (0.0..=most).contains(m)) && ends(0.0) > 100, "{margin:?}");
        assert!(most.is_infinite() || ends(most) > 100, "{margin:?}");
    }
    let minus = margin_values(&wide(Margin::Angle(AngularMargin { minus: score, ..arcface })), &cosines(500)).minus;
    assert!(minus.iter().all(|m| (0.0..=2.0).contains(m)) && minus.contains(&2.0));
}

#[test]
fn rare_classes_have_the_larger_margin() {
    let ldam = presets::find("ldam").unwrap().spec();
    assert!(ldam.needs_class_counts() && !spec("ldam").needs_class_counts() && !spec("arcface").needs_class_counts());
    let counted = |counts: &[u64]| ldam.clone().with_class_counts(counts);
    let problem = Problem { aim: Aim::Labels(vec![0, 1, 2, 3]), ..cosines(4) };
    let at = |counts: &[u64]| margin_values(&counted(counts), &problem).value;
    for (found, want) in at(&[16, 1, 0, 81]).into_iter().zip([0.25, 0.5, 0.5, 0.5 / 3.0]) {
        assert!((found - want).abs() <= PLAIN, "{found}, expected {want}");
    }
    assert_eq!(at(&[160, 10, 0, 810]), at(&[16, 1, 0, 81]), "only the ratios matter");
    assert_eq!(at(&[0; 4]), [0.5; 4]);
    assert_eq!(at(&[u64::MAX, 1, 1, 1])[1], 0.5);
    let other = counted(&class_counts(4)).with_class_counts(&[1; 4]);
    assert_eq!(margin_values(&other, &problem).value, [0.5; 4], "other counts take the place of the first");
    let error = ldam.clone().build(4).unwrap_err();
    assert!(error.subject().ends_with("class-counts") && error.advice().contains("with_class_counts"), "{error}");
    let short = counted(&[1, 2]).build(4).unwrap_err();
    assert!(short.expected().contains("4 counts") && short.found() == "2", "{short}");
    // The same numbers, class by class.
    let per_class = MarginValue::PerClass(at(&[16, 1, 0, 81]));
    let by_hand = ldam.clone().with_margin(Margin::Score { value: per_class });
    let counted = counted(&[16, 1, 0, 81]);
    assert_eq!(ask(&counted, &cosines(20), Reduction::Sum), ask(&by_hand, &cosines(20), Reduction::Sum));
}

#[test]
fn a_line_between_two_norms() {
    let problem = |norms: &[f64]| Problem { embedding_norms: Some(norms.to_vec()), ..cosines(norms.len()) };
    let found = margin_values(&spec("magface"), &problem(&[0.0, 5.0, 10.0, 35.0, 60.0, 110.0, 1e6]));
    let want = [0.45, 0.45, 0.45, 0.5375, 0.625, 0.8, 0.8];
    assert!(found.value.iter().zip(want).all(|(m, want)| (m - want).abs() < 1e-15), "{found:?}");
    let slope = found.value_derivative[3];
    assert!((slope - 0.0035).abs() < 1e-17 && found.value_derivative == [0.0, 0.0, 0.0, slope, slope, 0.0, 0.0]);
    // The margin's part of the radial gradient: none where the norm is held.
    let bare = spec("magface").with_regularizer(None);
    let norms = [5.0, 60.0, 200.0];
    let answer = ask(&bare, &problem(&norms), Reduction::Sum).embedding_norms.unwrap();
    assert!(answer[0] == 0.0 && answer[1] > 0.0 && answer[2] == 0.0, "{answer:?}");
    // The term's part.
    let term = spec("magface").with_margin(Margin::None);
    let of_term = ask(&term, &problem(&[5.0, 10.0, 60.0, 110.0, 200.0]), Reduction::Sum).embedding_norms.unwrap();
    let inside = 20.0 * (1.0 / 110.0_f64.powi(2) - 1.0 / 60.0_f64.powi(2));
    assert!(of_term[0] == 0.0 && of_term[1] == 0.0 && of_term[3] == 0.0 && of_term[4] == 0.0, "{of_term:?}");
    assert!((of_term[2] - inside).abs() < 1e-15 && inside < 0.0, "{of_term:?}");
    // The straight-through gradient takes the margin for a constant.
    let mut through = bare;
    let Margin::Angle(angle) = &mut through.margin else { panic!("an angle") };
    angle.gradient = MarginGradient::StraightThrough;
    let answer = ask(&through, &problem(&norms), Reduction::Sum).embedding_norms.unwrap();
    assert_eq!(answer, [0.0; 3]);
}

#[test]
fn a_standardized_norm_moves_the_margin_from_angle_to_cosine() {
    let mut usual = state(0);
    (usual.norm_mean, usual.norm_std) = (30.0, 10.0);
    let with_norms = |norms: &[f64], problem: Problem| Problem {
        embedding_norms: Some(norms.to_vec()),
        state: Some(usual.clone()),
        ..problem
    };
    let norms = [30.0, 40.0, 100.0, 1e9, 0.0];
    let found = margin_values(&spec("adaface"), &with_norms(&norms, cosines(5)));
    let want = [0.0, 0.333 * 10.0 / 10.001, 1.0, 1.0, -(0.333 * 29.999 / 10.001)];
    for (k, u) in want.into_iter().enumerate() {
        assert!((found.value[k] + 0.4 * u).abs() < 1e-15, "{found:?}");
        assert!((found.minus[k] - 0.4 - 0.4 * u).abs() < 1e-15, "{found:?}");
    }
    assert!(found.value_derivative.iter().chain(&found.minus_derivative).all(|slope| *slope == 0.0));
    let row = |theta: f64, norm: f64| {
        let problem = Problem::row(&[theta.cos(), 0.0, -1.0, -1.0], 0);
        ask(&spec("adaface"), &with_norms(&[norm], problem), Reduction::Sum)
    };
    let clipped = row(0.1, 100.0);
    assert_eq!(clipped.scores[[0, 0]], 0.0, "an angle of 0.1 less 0.4 is held at 0");
    assert_eq!(clipped.rows, row(0.2, 100.0).rows);
    let beyond = row(3.1, 0.01);
    assert_eq!((beyond.scores[[0, 0]], &beyond.rows), (0.0, &row(3.0, 0.01).rows), "one past pi at pi");
    assert!(row(1.0, 100.0).scores[[0, 0]] < 0.0);
}

/// What an average becomes, written out.
fn averaged(momentum: f64, new: f64, old: f64) -> f64 {
    momentum * new + (1.0 - momentum) * old
}

#[test]
fn averages_follow_the_rows_that_count() {
    let near = |got: f64, want: f64| assert!((got - want).abs() <= PLAIN * want.abs(), "{got}, expected {want}");
    let loss = spec("adaface").with_ignored_label(-1).build(4).unwrap();
    let mut problem = cosines(5);
    problem.aim = Aim::Labels(vec![0, 1, -1, 3, 2]);
    problem.sample_weights = Some(vec![1.0, 5.0, 1.0, 0.0, 0.5]);
    // Held from 0.001 to 100; the ignored row and the one of weight 0 do not count, and the others count once each.
    problem.embedding_norms = Some(vec![250.0, 0.0, 7.0, 8.0, 40.0]);
    let mut found = loss.initial_state().unwrap();
    loss.update(&mut found, &Owned::<f64>::of(&problem).batch()).unwrap();
    let kept = [100.0, 0.001, 40.0];
    let mean = kept.iter().sum::<f64>() / 3.0;
    let std = (kept.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    near(found.norm_mean, averaged(0.01, mean, 20.0));
    near(found.norm_std, averaged(0.01, std, 100.0));
    assert_eq!((found.step, found.target_mean), (0, 0.0));
    // One row has no deviation; no row has nothing.
    let one = Problem { sample_weights: Some(vec![0.0, 0.0, 0.0, 0.0, 1.0]), ..problem.clone() };
    let mut found = loss.initial_state().unwrap();
    loss.update(&mut found, &Owned::<f64>::of(&one).batch()).unwrap();
    near(found.norm_mean, averaged(0.01, 40.0, 20.0));
    assert_eq!(found.norm_std, 100.0);
    let empty = Problem { embedding_norms: Some(Vec::new()), ..Problem::new(Array2::zeros((0, 4)), Vec::new()) };
    for none in [Problem { sample_weights: Some(vec![0.0; 5]), ..problem }, empty] {
        let mut found = loss.initial_state().unwrap();
        loss.update(&mut found, &Owned::<f64>::of(&none).batch()).unwrap();
        assert_eq!(Some(found), loss.initial_state());
    }
}

#[test]
fn the_average_cosine_of_the_targets() {
    let loss = spec("curricularface").build(4).unwrap();
    let problem = cosines(6);
    let of_target = |row: usize| problem.scores[[row, problem.label(row).unwrap() as usize]];
    let mut found = loss.initial_state().unwrap();
    let mut want = 0.0;
    for _ in 0..3 {
        loss.update(&mut found, &Owned::<f64>::of(&problem).batch()).unwrap();
        want = averaged(0.01, (0..6).map(of_target).sum::<f64>() / 6.0, want);
        assert!((found.target_mean - want).abs() <= PLAIN);
    }
    // The scores of the targets alone, in a column, are enough.
    let owned = Owned::<f64>::of(&problem);
    let column = Array2::from_shape_fn((6, 1), |(row, _)| of_target(row));
    let (mut whole, mut alone) = (state(3), state(3));
    loss.update(&mut whole, &owned.batch()).unwrap();
    loss.update(&mut alone, &owned.batch_on(column.broadcast((6, 4)).unwrap())).unwrap();
    assert_eq!(whole, alone);
    // Infinite scores have no part; NaN is an error, and leaves the state.
    let mut masked = problem.clone();
    masked.scores.row_mut(0).fill(f64::NEG_INFINITY);
    let mut found = loss.initial_state().unwrap();
    loss.update(&mut found, &Owned::<f64>::of(&masked).batch()).unwrap();
    assert!(found.target_mean.is_finite() && found.target_mean != 0.0);
    masked.scores.row_mut(2).fill(f64::NAN);
    let before = found.clone();
    let error = loss.update(&mut found, &Owned::<f64>::of(&masked).batch()).unwrap_err();
    assert!(error.subject().contains("row 2") && found == before, "{error}");
}

#[test]
fn averages_agree_with_the_twin() {
    let mut gauge = Gauge::new("averages");
    let mut random = Random::new(82);
    let usual = NormMargin::Standardized { value: 0.3, concentration: 0.5, momentum: 0.25 };
    for preset in presets::all() {
        for turn in 0..20 {
            let mut spec = spec_of(preset, 4).with_ignored_label(2);
            if turn % 3 == 1 && spec.geometry == Geometry::Cosine {
                spec.margin = Margin::Score { value: MarginValue::FromNorm(usual) };
                spec.negatives = Negatives::Curricular { momentum: 0.125 };
            }
            let loss = spec.clone().build(4).unwrap();
            let rows = random.below(9);
            let problem = problem_of(&mut random, &spec, rows, 4).fitted_to(&loss);
            let problem = Problem { state: Some(some_state(&mut random)), ..problem };
            let before = problem.state.clone().unwrap();
            let mut found = before.clone();
            loss.update(&mut found, &Owned::<f64>::of(&problem).batch()).unwrap();
            let description = describe(&spec, &problem, Reduction::Sum, f64::LEAST_SINE);
            let want = if rows == 0 { memory(&before) } else { description.update(&batch(&spec, &problem)).unwrap() };
            assert_eq!((found.step, found.seed), (want.step, want.seed));
            let sizes = [1.0, 130.0, 130.0];
            let found = [found.target_mean, found.norm_mean, found.norm_std];
            let want = [want.target_mean, want.norm_mean, want.norm_std];
            for ((got, want), size) in found.into_iter().zip(want).zip(sizes) {
                gauge.check("average", || format!("{} {problem:?}", preset.name), got, want, PLAIN * size);
            }
        }
    }
    gauge.finish(1_000);
}

#[test]
fn states_that_no_training_makes_are_refused() {
    let loss = spec("adaface").build(4).unwrap();
    let problem = Problem { embedding_norms: Some(vec![20.0; 3]), ..cosines(3) };
    let with = |change: fn(&mut LossState)| {
        let mut bad = state(0);
        change(&mut bad);
        let refused = answer::<f64>(&loss, &Problem { state: Some(bad.clone()), ..problem.clone() }, Reduction::Mean);
        assert!(loss.update(&mut bad, &Owned::<f64>::of(&problem).batch()).is_err());
        refused.unwrap_err().subject().to_owned()
    };
    assert_eq!(with(|state| state.norm_mean = f64::NAN), "state.norm-mean");
    assert_eq!(with(|state| state.norm_std = -1.0), "state.norm-std");
    assert_eq!(with(|state| state.target_mean = f64::INFINITY), "state.target-mean");
    // What a loss needs is asked for by update too; the state itself need not come with the batch.
    let mut fine = state(0);
    let error = loss.update(&mut fine, &Owned::<f64>::of(&cosines(3)).batch()).unwrap_err();
    assert_eq!((error.subject(), fine), ("embedding norms", state(0)));
}

#[test]
fn margin_values_are_0_where_nothing_is_taken() {
    let none = margin_values(&spec("arcface").with_margin(Margin::None), &cosines(3));
    assert_eq!((none.value, none.minus), (vec![0.0; 3], vec![0.0; 3]));
    let spec = spec("ldam").with_ignored_label(2);
    let problem = Problem { aim: Aim::Labels(vec![2, 1, 2]), ..cosines(3) };
    assert_eq!(margin_values(&spec, &problem).value, [0.0, 0.5, 0.0]);
}

#[test]
fn norms_decide_under_every_geometry() {
    let value = NormMargin::Linear { low: 0.1, high: 0.4, norm_low: 1.0, norm_high: 3.0 };
    for geometry in [Geometry::UnitWeights, Geometry::InnerProduct { bias: true, temperature: 0.5 }] {
        let margin = Margin::Score { value: MarginValue::FromNorm(value) };
        assert!(margin.is_from_norm() && !Margin::score(0.3).is_from_norm());
        let spec = presets::find("cross-entropy").unwrap().spec().with_geometry(geometry).with_margin(margin);
        let problem = Problem { embedding_norms: Some(vec![2.0]), ..Problem::row(&[0.5, 0.75, -1.0, 0.0], 0) };
        let answer = ask(&spec, &problem, Reduction::Sum);
        let want = -answer.scores[[0, 0]] * 0.15;
        assert!((answer.embedding_norms.unwrap()[0] - want).abs() <= PLAIN, "{spec:?}");
    }
    // The slopes of margin and term add up.
    let both = spec("magface").with_regularizer(Regularizer::Ring { weight: 1.0, radius: 0.0 });
    let problem = Problem { embedding_norms: Some(vec![60.0]), ..Problem::row(&[0.5, 0.1, 0.0, 0.2], 0) };
    let margin = spec("magface").with_regularizer(None);
    let [sum, part] = [both, margin].map(|spec| ask(&spec, &problem, Reduction::Sum).embedding_norms.unwrap()[0]);
    assert!((sum - part - 60.0).abs() < 1e-12);
}
