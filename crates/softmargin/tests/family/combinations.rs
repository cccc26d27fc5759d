//! Comparison of combinations of all axes with the oracle, in both precisions.
//!
//! The tests cover geometry x margin x comparison with random other options, preset x batch options, soft targets, and
//! rows so long that their sums span several tiles.

use crate::error_report::ErrorReport;
use crate::oracle_description::{compare_with_expected, expected_by_oracle};
use crate::problem::{Problem, Random, evaluate, random_state};
use crate::tolerances::{Conditions, Precision};
use softmargin::presets::{self, Preset};
use softmargin::{
    AngularMargin, Anneal, BeyondPi, Comparison, Gate, Geometry, LossSpec, Margin, MarginGradient, MarginValue,
    Negatives, NormMargin, Radians, Reduction, Regularizer, Scale, SmoothGate,
};

pub(crate) const REDUCTIONS: [Reduction; 4] = [Reduction::None, Reduction::Sum, Reduction::Mean, Reduction::MeanOrNan];

/// Schedule that has decreased noticeably after 3 steps.
const FALLING: Anneal = Anneal { initial: 40.0, rate: 0.25, power: 5.0, min: 0.5 };

/// Margin values from the norm, with bounds inside the range of the norms of [`problem`].
const RISING: NormMargin = NormMargin::Linear { low: 0.1, high: 0.6, norm_low: 1.0, norm_high: 2.0 };
const FALLING_MARGIN: NormMargin = NormMargin::Linear { low: 0.4, high: 0.0, norm_low: 1.0, norm_high: 2.0 };
const USUAL: NormMargin = NormMargin::Standardized { value: 0.4, concentration: 0.5, momentum: 0.01 };

/// Returns the negatives of a turn: mostly plain ones, and only plain ones without the cosine.
pub(crate) fn cycled_negatives(geometry: Geometry, turn: usize) -> Negatives {
    match (geometry, turn % 7) {
        (Geometry::Cosine, 1) => Negatives::Misclassified { factor: 1.12 },
        (Geometry::Cosine, 3) => Negatives::Curricular { momentum: 0.01 },
        (Geometry::Cosine, 4) => Negatives::DividedAngle { by: 1.5 },
        (Geometry::Cosine, 6) => Negatives::DividedAngle { by: 4.0 },
        _ => Negatives::Plain,
    }
}

pub(crate) fn geometries() -> [Geometry; 4] {
    [
        Geometry::InnerProduct { bias: false, temperature: 1.0 },
        Geometry::InnerProduct { bias: true, temperature: 0.375 },
        Geometry::UnitWeights,
        Geometry::Cosine,
    ]
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut all = Vec::new();
    for gate in [Gate::Relu, Gate::Softplus, Gate::Identity] {
        all.extend([Comparison::EachPair { gate }, Comparison::Hardest { gate }, Comparison::AgainstZero { gate }]);
    }
    all.extend([SmoothGate::Relu, SmoothGate::Identity].map(|gate| Comparison::LogSumExp { gate }));
    for (label_smoothing, z_loss) in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.05), (0.3, 0.01)] {
        all.push(Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } });
    }
    all
}

/// Returns margins of every kind for `classes` classes.
pub(crate) fn margins(classes: usize) -> Vec<Margin> {
    let mut random = Random::new(7);
    let mut all = vec![Margin::None];
    let of_classes = |random: &mut Random, high| random.vector(classes, 0.0, high);
    for value in [MarginValue::One(0.35), MarginValue::PerClass(of_classes(&mut random, 0.5)), MarginValue::PerSample] {
        all.push(Margin::Score { value: value.clone() });
        all.push(Margin::Logit { value });
    }
    let plus_of_classes =
        || MarginValue::PerClass(Random::new(8).vector(classes, 0.0, 0.8).into_iter().map(Radians).collect());
    let pairs = [
        (MarginValue::One(Radians(0.5)), MarginValue::One(0.0)),
        (MarginValue::One(Radians(0.0)), MarginValue::One(0.2)),
        (plus_of_classes(), MarginValue::One(0.1)),
        (MarginValue::PerSample, MarginValue::PerClass(of_classes(&mut random, 0.3))),
        (MarginValue::One(Radians(0.3)), MarginValue::PerSample),
    ];
    let counted = |largest| MarginValue::ByFrequency { largest, class_counts: Some(class_counts(classes)) };
    let computed = [
        MarginValue::Drawn { mean: 0.3, std: 0.2 },
        counted(0.6),
        MarginValue::FromNorm(RISING),
        MarginValue::FromNorm(USUAL),
    ];
    for value in computed {
        all.push(Margin::Score { value: value.clone() });
        all.push(Margin::Logit { value });
    }
    let counted_angle = MarginValue::ByFrequency { largest: Radians(0.7), class_counts: Some(class_counts(classes)) };
    let pairs = pairs.into_iter().chain([
        (MarginValue::Drawn { mean: Radians(0.4), std: Radians(0.3) }, MarginValue::FromNorm(RISING)),
        (MarginValue::FromNorm(RISING), MarginValue::FromNorm(FALLING_MARGIN)),
        (MarginValue::FromNorm(USUAL), MarginValue::FromNorm(USUAL)),
        (counted_angle, MarginValue::Drawn { mean: 0.1, std: 0.1 }),
    ]);
    let pairs: Vec<_> = pairs.collect();
    for beyond_pi in [BeyondPi::Continue, BeyondPi::Extend, BeyondPi::Plain, BeyondPi::Piecewise, BeyondPi::Clamp] {
        for gradient in [MarginGradient::Exact, MarginGradient::StraightThrough] {
            for times in [1.0, 0.9, 2.5, 4.0] {
                for anneal in [None, Some(FALLING)] {
                    for (plus, minus) in &pairs {
                        if beyond_pi == BeyondPi::Extend && times != 1.0 {
                            continue;
                        }
                        let (plus, minus) = (plus.clone(), minus.clone());
                        all.push(Margin::Angle(AngularMargin { times, plus, minus, beyond_pi, gradient, anneal }));
                    }
                }
            }
        }
    }
    all
}

/// Returns the number of samples of each class; one count is 0, and some are equal.
pub(crate) fn class_counts(classes: usize) -> Vec<u64> {
    [16, 1, 0, 81, 625, 7, 1].into_iter().cycle().take(classes).collect()
}

/// Returns the description of a preset for `classes` classes.
pub(crate) fn spec_of(preset: &Preset, classes: usize) -> LossSpec {
    preset.spec().with_class_counts(&class_counts(classes))
}

/// Returns a [`problem`] for a loss.
///
/// Under the cosine the norms are independent of the scores; they extend beyond the bounds of margin values and
/// regularizers.
pub(crate) fn problem_of(random: &mut Random, spec: &LossSpec, rows: usize, classes: usize) -> Problem {
    let mut problem = problem(random, spec.geometry, rows, classes);
    if spec.geometry == Geometry::Cosine {
        let (low, high) = norm_range(spec);
        problem.embedding_norms = Some(random.vector(rows, 0.6 * low, 1.4 * high));
    }
    problem
}

/// Returns the range of embedding norms on which the loss depends.
pub(crate) fn norm_range(spec: &LossSpec) -> (f64, f64) {
    let linear = |value: NormMargin| match value {
        NormMargin::Linear { norm_low, norm_high, .. } => (norm_low, norm_high),
        // Far from the bounds, within one standard deviation of the initial state.
        _ => (5.0, 60.0),
    };
    match (spec.regularizer, &spec.margin) {
        (_, Margin::Angle(AngularMargin { plus: MarginValue::FromNorm(value), .. })) => linear(*value),
        (_, Margin::Angle(AngularMargin { minus: MarginValue::FromNorm(value), .. })) => linear(*value),
        (
            _,
            Margin::Score { value: MarginValue::FromNorm(value) }
            | Margin::Logit { value: MarginValue::FromNorm(value) },
        ) => linear(*value),
        (Some(Regularizer::Magnitude { low, high, .. }), _) => (low, high),
        _ => (0.8, 1.6),
    }
}

/// Returns a loss with these axes and no other options.
pub(crate) fn plain_spec(geometry: Geometry, scale: Scale, margin: Margin, comparison: Comparison) -> LossSpec {
    presets::CROSS_ENTROPY
        .spec()
        .with_geometry(geometry)
        .with_scale(scale)
        .with_margin(margin)
        .with_comparison(comparison)
}

/// Returns true if the family should accept a loss: three pairings have no minimum, and an angle excludes a bias.
pub(crate) fn is_accepted(spec: &LossSpec) -> bool {
    let bounded = spec.geometry == Geometry::Cosine;
    let incay = matches!(spec.regularizer, Some(Regularizer::FeatureIncay { .. }));
    let gate = spec.comparison.gate();
    // With these gates the loss is proportional to the scale, or nearly so for the identity of log-sum-exp.
    let is_proportional_to_scale =
        gate == Gate::Identity || (gate == Gate::Relu && !matches!(spec.comparison, Comparison::LogSumExp { .. }));
    let no_angle = matches!(spec.margin, Margin::Angle(_)) && spec.geometry.has_bias();
    !(no_angle
        || bounded && incay
        || gate == Gate::Identity && !bounded
        || is_proportional_to_scale && spec.scale.is_learned())
}

/// Returns a problem with scores that the geometry can produce, and with all other inputs that a loss may need.
pub(crate) fn problem(random: &mut Random, geometry: Geometry, rows: usize, classes: usize) -> Problem {
    let x = random.vector(rows, 0.5, 2.5);
    let w = random.vector(classes, 0.5, 2.0);
    let mut scores = random.matrix(rows, classes, -0.99, 0.99);
    for ((row, class), score) in scores.indexed_iter_mut() {
        let norm = match geometry {
            Geometry::InnerProduct { .. } => x[row] * w[class],
            Geometry::UnitWeights => x[row],
            Geometry::Cosine => 1.0,
        };
        *score = f64::from((*score * norm) as f32);
    }
    let labels = random.labels(rows, classes);
    Problem { embedding_norms: Some(x), weight_norms: Some(w), ..Problem::new(scores, labels) }
}

/// Random choice of the options that are not enumerated.
struct RandomOptions {
    random: Random,
    turn: usize,
}

impl RandomOptions {
    fn next(&mut self, count: usize) -> usize {
        // Random choices, so that neighboring combinations do not share their other options.
        self.turn += 1;
        (self.random.bits() as usize) % count
    }

    /// Returns a scale, and the current value of a learned one.
    fn scale(&mut self, geometry: Geometry) -> (Scale, Option<f64>) {
        let usual = if geometry == Geometry::Cosine { [4.0, 16.0, 64.0] } else { [0.375, 1.0, 3.0] };
        let value = usual[self.next(3)];
        let learned = Scale::Learned { initial: value, min: value / 2.0, max: value * 2.0 };
        match self.next(8) {
            0..4 => (Scale::fixed(value), None),
            4 => (learned, None),
            5 => (learned, Some(value * 1.25)),
            6 => (learned, Some(value / 4.0)),
            _ => (learned, Some(value * 8.0)),
        }
    }

    /// Sets weights and ignored labels.
    fn set_weights(&mut self, spec: &mut LossSpec, problem: &mut Problem) {
        let (rows, classes) = problem.scores.dim();
        if self.next(2) == 0 {
            spec.class_weights = Some(self.random.vector(classes, 0.1, 3.0));
        }
        if self.next(2) == 0 {
            let mut weights = self.random.vector(rows, 0.1, 2.0);
            weights[rows - 1] = 0.0;
            problem.sample_weights = Some(weights);
        }
        let crate::problem::ProblemTargets::Labels(labels) = &mut problem.targets else { return };
        match self.next(4) {
            0 => spec.ignored_label = Some(labels[0]),
            1 => {
                spec.ignored_label = Some(-100);
                labels[rows / 2] = -100;
            }
            2 if self.next(4) == 0 => {
                spec.ignored_label = Some(-1);
                labels.fill(-1);
            }
            _ => {}
        }
    }

    fn regularizer(&mut self, spec: &LossSpec) -> (Option<Regularizer>, Option<f64>) {
        match self.next(5) {
            4 => (Some(Regularizer::Magnitude { weight: 2.0, low: 1.0, high: 2.0 }), None),
            0 if spec.geometry != Geometry::Cosine => (Some(Regularizer::FeatureIncay { weight: 0.5 }), None),
            1 => (Some(Regularizer::Ring { weight: 0.25, radius: 1.5 }), None),
            2 => (Some(Regularizer::Ring { weight: 0.25, radius: 1.5 }), Some(0.75)),
            _ => (None, None),
        }
    }
}

fn check(report: &mut ErrorReport, place: &str, spec: &LossSpec, problem: &Problem, reduction: Reduction) {
    let loss = spec.clone().build(problem.classes()).unwrap_or_else(|error| panic!("{place}: {error}"));
    let problem = problem.clone().fitted_to(&loss);
    for precision in Precision::ALL {
        let result = match precision {
            Precision::F32 => evaluate::<f32>(&loss, &problem, reduction),
            Precision::F64 => evaluate::<f64>(&loss, &problem, reduction),
        };
        let result = result.unwrap_or_else(|error| panic!("{place}: {error}"));
        let want = expected_by_oracle(spec, &problem, reduction, precision.least_sine());
        let conditions = Conditions { spec, problem: &problem, reduction, precision };
        compare_with_expected(report, place, &conditions, &result, &want);
    }
}

#[test]
fn every_geometry_margin_and_comparison_agrees_with_the_oracle() {
    let mut report = ErrorReport::new("grid");
    let mut options = RandomOptions { random: Random::new(1), turn: 0 };
    let (mut losses, mut rejected) = (0, 0);
    for classes in [2, 5, 70] {
        for geometry in geometries() {
            for margin in margins(classes) {
                for comparison in comparisons() {
                    let (scale, parameter) = options.scale(geometry);
                    let mut spec = plain_spec(geometry, scale, margin.clone(), comparison);
                    if !is_accepted(&spec) {
                        assert!(spec.build(classes).is_err());
                        rejected += 1;
                        continue;
                    }
                    // Long rows are tested with every third loss only.
                    if classes == 70 && options.next(3) > 0 {
                        continue;
                    }
                    spec.negatives = cycled_negatives(geometry, options.next(7));
                    let mut problem = problem(&mut options.random, geometry, 4, classes);
                    let (regularizer, radius) = options.regularizer(&spec);
                    spec.regularizer = regularizer;
                    options.set_weights(&mut spec, &mut problem);
                    problem.scale = parameter;
                    problem.radius = radius;
                    let mut state = random_state(&mut options.random);
                    state.step = 3;
                    problem.state = Some(state);
                    let per_sample = format!("{margin:?}").contains("PerSample");
                    problem.margins = per_sample.then(|| options.random.vector(4, 0.0, 0.6));
                    let reduction = REDUCTIONS[options.next(4)];
                    losses += 1;
                    check(&mut report, &format!("{spec:?} {reduction:?} of {problem:?}"), &spec, &problem, reduction);
                }
            }
        }
    }
    println!("grid: {losses} losses, {rejected} rejected, each in two precisions; {} random choices", options.turn);
    report.finish(500_000);
}

#[test]
fn every_preset_with_every_batch_option_agrees_with_the_oracle() {
    let mut report = ErrorReport::new("presets");
    let mut random = Random::new(2);
    for preset in presets::all() {
        for learned in [false, true] {
            for incay in [None, Some(true), Some(false)] {
                for (of_classes, of_rows, ignored) in
                    [(false, false, None), (true, false, Some(-1)), (false, true, Some(2)), (true, true, None)]
                {
                    for reduction in REDUCTIONS {
                        let mut spec = spec_of(preset, 6);
                        if learned {
                            let initial = spec.scale.initial();
                            spec.scale = Scale::Learned { initial, min: initial / 2.0, max: initial * 4.0 };
                        }
                        spec.regularizer = match incay {
                            Some(true) => Some(Regularizer::FeatureIncay { weight: 0.125 }),
                            Some(false) => Some(Regularizer::Ring { weight: 0.5, radius: 1.0 }),
                            None => spec.regularizer,
                        };
                        if !is_accepted(&spec) {
                            assert!(spec.build(6).is_err(), "{}", preset.name);
                            continue;
                        }
                        let mut problem = problem_of(&mut random, &spec, 7, 6);
                        spec.class_weights = of_classes.then(|| random.vector(6, 0.25, 2.0));
                        problem.sample_weights = of_rows.then(|| random.vector(7, 0.25, 2.0));
                        spec.ignored_label = ignored;
                        problem.state = Some(random_state(&mut random));
                        let place = format!("{} {spec:?} {reduction:?}", preset.name);
                        check(&mut report, &place, &spec, &problem, reduction);
                    }
                }
            }
        }
    }
    report.finish(60_000);
}

#[test]
fn soft_targets_with_every_option_agree_with_the_oracle() {
    let mut report = ErrorReport::new("soft targets");
    let mut random = Random::new(3);
    let mut options = RandomOptions { random: Random::new(4), turn: 0 };
    for classes in [1, 2, 3, 8, 70] {
        for geometry in geometries() {
            for (label_smoothing, z_loss) in [(0.0, 0.0), (0.125, 0.0), (0.0, 0.05), (0.25, 0.01)] {
                for reduction in REDUCTIONS {
                    for ring in [false, true] {
                        let (scale, parameter) = options.scale(geometry);
                        let mut spec = presets::find("cross-entropy")
                            .unwrap()
                            .spec()
                            .with_geometry(geometry)
                            .with_scale(scale)
                            .with_comparison(Comparison::LogSumExp {
                                gate: SmoothGate::Softplus { label_smoothing, z_loss },
                            });
                        let hard = problem(&mut random, geometry, 5, classes);
                        let mut targets = random.distributions(5, classes);
                        let mut scores = hard.scores;
                        if ring && classes > 2 {
                            // A masked class with target 0.
                            scores.column_mut(1).fill(f64::NEG_INFINITY);
                            let masked_targets = targets.column(1).to_owned();
                            targets.column_mut(0).scaled_add(1.0, &masked_targets);
                            targets.column_mut(1).fill(0.0);
                        }
                        let mut problem = Problem::soft(scores, targets);
                        problem.embedding_norms = hard.embedding_norms;
                        problem.scale = parameter;
                        spec.regularizer = ring.then_some(Regularizer::Ring { weight: 0.5, radius: 1.0 });
                        options.set_weights(&mut spec, &mut problem);
                        check(
                            &mut report,
                            &format!("{spec:?} {reduction:?} of {problem:?}"),
                            &spec,
                            &problem,
                            reduction,
                        );
                    }
                }
            }
        }
    }
    report.finish(50_000);
}

#[test]
fn long_rows_agree_with_the_oracle() {
    let mut report = ErrorReport::new("long rows");
    let mut turn = 0;
    let mut random = Random::new(5);
    for classes in [63, 64, 65, 2047, 2048, 2049, 2050, 5000] {
        for comparison in comparisons() {
            for geometry in [Geometry::Cosine, Geometry::InnerProduct { bias: false, temperature: 1.0 }] {
                let scale = Scale::fixed(if geometry == Geometry::Cosine { 30.0 } else { 2.0 });
                let spec = presets::find("cross-entropy")
                    .unwrap()
                    .spec()
                    .with_geometry(geometry)
                    .with_scale(scale)
                    .with_margin(Margin::score(0.25))
                    .with_comparison(comparison);
                if is_accepted(&spec) {
                    turn += 1;
                    let spec = spec.with_negatives(cycled_negatives(geometry, turn));
                    let mut problem = problem(&mut random, geometry, 3, classes);
                    problem.state = Some(random_state(&mut random));
                    // Include the first and the last class, where tiles begin and end.
                    problem.targets =
                        crate::problem::ProblemTargets::Labels(vec![0, classes as i64 - 1, classes as i64 / 2]);
                    check(&mut report, &format!("{classes} {spec:?}"), &spec, &problem, Reduction::Sum);
                }
            }
        }
    }
    report.finish(1_000_000);
}
