//! The cases: losses over the whole family, each on a small problem.

use softmargin::{
    AngularMargin, Anneal, BeyondPi, Comparison, Gate, Geometry, LossSpec, Margin, MarginGradient, MarginValue,
    Negatives, NormMargin, Radians, Regularizer, Scale, SmoothGate, presets,
};

pub const CLASSES: usize = 5;
pub const WIDTH: usize = 4;
/// The most prototypes that a class of a case has.
pub const CENTERS: usize = 3;
pub const ROWS: usize = 7;

/// A number in (-1, 1): the fractional parts of multiples of the golden ratio, which are spread evenly.
pub fn number(index: usize) -> f32 {
    let fraction = (index as f64 * 0.618_033_988_749_894_9).fract();
    (2.0 * fraction - 1.0) as f32
}

pub fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| number(seed + 7 * index + 1)).collect()
}

/// The numbers of a batch and of the parameters of a head.
#[derive(Clone, Debug)]
pub struct Problem {
    pub embeddings: Vec<f32>,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub targets: Vec<i64>,
    pub soft: Option<Vec<f32>>,
    pub sample_weights: Option<Vec<f32>>,
    pub margins: Option<Vec<f32>>,
    pub scale: f32,
    pub radius: f32,
}

impl Problem {
    /// Some embeddings lie near their prototype, some far, the last one at the origin.
    pub fn new() -> Self {
        let weight = numbers(CLASSES * CENTERS * WIDTH, 0);
        let targets: Vec<i64> = (0..ROWS).map(|row| (row * 3 % CLASSES) as i64).collect();
        let noise = numbers(ROWS * WIDTH, 1000);
        let mut embeddings: Vec<f32> = (0..ROWS * WIDTH)
            .map(|at| {
                let (row, entry) = (at / WIDTH, at % WIDTH);
                let prototype = weight[targets[row] as usize * WIDTH + entry];
                2.0 * ([1.5, 0.2, -1.2][row % 3] * prototype + noise[at])
            })
            .collect();
        embeddings[(ROWS - 1) * WIDTH..].fill(0.0);
        let bias = numbers(CLASSES * CENTERS, 50);
        Self {
            embeddings,
            weight,
            bias,
            targets,
            soft: None,
            sample_weights: None,
            margins: None,
            scale: 3.5,
            radius: 1.25,
        }
    }

    /// The problem of a case, with the inputs that its loss needs.
    pub fn of(case: &Case) -> Self {
        let mut problem = Self::new();
        if case.per_sample {
            problem.margins = Some(numbers(ROWS, 9).iter().map(|m| m.abs() * 1.2).collect());
        }
        if case.spec.ignored_label.is_some() {
            problem.targets[2] = case.spec.ignored_label.unwrap_or_default();
        }
        if case.weighted {
            problem.sample_weights = Some(vec![1.0, 0.5, 2.0, 0.0, 1.5, 0.25, 1.0]);
        }
        if case.soft {
            let mut rows = Vec::new();
            for row in 0..ROWS {
                let mass: Vec<f32> = numbers(CLASSES, 31 * row).iter().map(|p| p.abs() + 0.01).collect();
                let total: f32 = mass.iter().sum();
                rows.extend(mass.iter().map(|p| p / total));
            }
            // One that is certain.
            rows[..CLASSES].copy_from_slice(&[0.0, 1.0, 0.0, 0.0, 0.0]);
            problem.soft = Some(rows);
        }
        problem
    }
}

/// A loss, and which optional inputs its batch has.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub spec: LossSpec,
    pub per_sample: bool,
    pub weighted: bool,
    pub soft: bool,
}

fn case(name: impl Into<String>, spec: LossSpec) -> Case {
    Case { name: name.into(), spec, per_sample: false, weighted: false, soft: false }
}

/// The number of rows of each class, for losses that depend on it.
pub const COUNTS: [u64; CLASSES] = [3, 50, 7, 400, 12];

pub fn preset(name: &str) -> LossSpec {
    presets::find(name).unwrap().spec().with_class_counts(&COUNTS)
}

fn angle(times: f64, plus: f64, minus: f64, beyond_pi: BeyondPi, gradient: MarginGradient) -> AngularMargin {
    AngularMargin {
        times,
        plus: MarginValue::One(Radians(plus)),
        minus: MarginValue::One(minus),
        beyond_pi,
        gradient,
        anneal: None,
    }
}

/// Every preset and every option.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = presets::all().iter().map(|one| case(one.name, preset(one.name))).collect();
    cases.extend(comparisons());
    cases.extend(negatives());
    cases.extend(values());
    cases.extend(several_centers());
    cases.extend(margins());
    cases.extend(extras());
    cases
}

fn comparisons() -> Vec<Case> {
    let mut cases = Vec::new();
    let cosine = preset("am-softmax").with_scale(6.0);
    for gate in [Gate::Relu, Gate::Softplus, Gate::Identity] {
        for comparison in
            [Comparison::EachPair { gate }, Comparison::Hardest { gate }, Comparison::AgainstZero { gate }]
        {
            cases.push(case(format!("{comparison:?}"), cosine.clone().with_comparison(comparison)));
            if gate == Gate::Softplus {
                let spec = cosine.clone().with_comparison(comparison).with_scale(learned());
                cases.push(case(format!("{comparison:?} learned"), spec));
            }
        }
    }
    for (gate, scale) in [
        (SmoothGate::Relu, Scale::fixed(6.0)),
        (SmoothGate::Relu, learned()),
        (SmoothGate::Identity, Scale::fixed(6.0)),
    ] {
        let spec = cosine.clone().with_comparison(Comparison::LogSumExp { gate }).with_scale(scale);
        cases.push(case(format!("{gate:?} {scale:?}"), spec));
    }
    for (label_smoothing, z_loss) in [(0.1, 0.0), (0.0, 0.05), (0.2, 0.01)] {
        let comparison = Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } };
        for scale in [Scale::fixed(2.0), learned()] {
            let name = format!("{comparison:?} {scale:?}");
            let spec = preset("cross-entropy").with_comparison(comparison).with_scale(scale);
            cases.push(case(name.clone(), spec.clone().with_margin(Margin::score(0.3))));
            cases.push(Case { soft: true, ..case(format!("soft {name}"), spec) });
        }
    }
    cases
}

fn learned() -> Scale {
    Scale::Learned { initial: 3.0, min: 0.5, max: 20.0 }
}

fn margins() -> Vec<Case> {
    let mut cases = Vec::new();
    let cosine = preset("normface");
    let with = |margin: Margin| cosine.clone().with_margin(margin);
    for gradient in [MarginGradient::Exact, MarginGradient::StraightThrough] {
        for (times, plus, minus, beyond_pi) in [
            (1.0, 1.4, 0.1, BeyondPi::Continue),
            (1.3, 1.0, 0.0, BeyondPi::Continue),
            (1.0, 1.4, 0.0, BeyondPi::Extend),
            (1.0, 1.4, 0.0, BeyondPi::Plain),
            (2.5, 1.0, 0.2, BeyondPi::Piecewise),
            (1.5, 0.7, 0.0, BeyondPi::Clamp),
            (1.0, 0.0, 0.3, BeyondPi::Continue),
        ] {
            let margin = angle(times, plus, minus, beyond_pi, gradient);
            cases.push(case(format!("{margin:?}"), with(Margin::Angle(margin.clone()))));
            for geometry in [Geometry::UnitWeights, Geometry::InnerProduct { bias: false, temperature: 1.5 }] {
                let spec = with(Margin::Angle(margin.clone())).with_geometry(geometry);
                cases.push(case(format!("{geometry:?} {margin:?}"), spec));
            }
        }
    }
    for geometry in [Geometry::UnitWeights, Geometry::InnerProduct { bias: false, temperature: 1.0 }] {
        let anneal = Some(Anneal { initial: 1.5, rate: 0.0, power: 1.0, min: 0.0 });
        let margin = AngularMargin { anneal, ..angle(3.0, 0.2, 0.1, BeyondPi::Piecewise, MarginGradient::Exact) };
        cases.push(case(format!("annealed {geometry:?}"), with(Margin::Angle(margin)).with_geometry(geometry)));
    }
    let per_class: Vec<f64> = vec![0.0, 0.1, 0.5, 1.2, 0.3];
    let radians = per_class.iter().map(|m| Radians(*m)).collect();
    let base = angle(1.0, 0.0, 0.0, BeyondPi::Continue, MarginGradient::Exact);
    cases.push(case("score per class", with(Margin::Score { value: MarginValue::PerClass(per_class.clone()) })));
    cases.push(case("logit per class", with(Margin::Logit { value: MarginValue::PerClass(per_class.clone()) })));
    cases.push(case("logit", with(Margin::Logit { value: MarginValue::One(0.7) })));
    let plus = AngularMargin { plus: MarginValue::PerClass(radians), ..base.clone() };
    cases.push(case("angle per class", with(Margin::Angle(plus))));
    let minus = AngularMargin { minus: MarginValue::PerClass(per_class), ..base.clone() };
    cases.push(case("cosine per class", with(Margin::Angle(minus))));
    for (name, margin) in [
        ("score per sample", Margin::Score { value: MarginValue::PerSample }),
        ("logit per sample", Margin::Logit { value: MarginValue::PerSample }),
        ("angle per sample", Margin::Angle(AngularMargin { plus: MarginValue::PerSample, ..base.clone() })),
        ("cosine per sample", Margin::Angle(AngularMargin { minus: MarginValue::PerSample, ..base })),
    ] {
        cases.push(Case { per_sample: true, ..case(name, with(margin)) });
    }
    cases
}

/// Every kind of negatives under every comparison.
fn negatives() -> Vec<Case> {
    let comparisons = [
        Comparison::EachPair { gate: Gate::Softplus },
        Comparison::Hardest { gate: Gate::Relu },
        Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing: 0.1, z_loss: 0.02 } },
        Comparison::AgainstZero { gate: Gate::Softplus },
    ];
    let kinds = [
        Negatives::Misclassified { factor: 1.3 },
        Negatives::Curricular { momentum: 0.3 },
        Negatives::DividedAngle { by: 1.5 },
        Negatives::DividedAngle { by: 1.0 },
    ];
    let mut cases = Vec::new();
    for negatives in kinds {
        for comparison in comparisons {
            for (name, scale) in
                [("arcface", Scale::fixed(6.0)), ("am-softmax", Scale::fixed(6.0)), ("normface", learned())]
            {
                let scale = if matches!(comparison, Comparison::Hardest { .. }) { Scale::fixed(6.0) } else { scale };
                let spec = preset(name).with_negatives(negatives).with_comparison(comparison).with_scale(scale);
                cases.push(case(format!("{negatives:?} {comparison:?} {name}"), spec));
            }
        }
    }
    cases
}

/// Margin values that are drawn, follow the norm or the frequency of the class, on every margin.
fn values() -> Vec<Case> {
    let drawn = MarginValue::Drawn { mean: 0.4, std: 0.1 };
    let linear = NormMargin::Linear { low: 0.1, high: 0.9, norm_low: 0.5, norm_high: 2.5 };
    let counted = MarginValue::ByFrequency { largest: 0.5, class_counts: Some(COUNTS.to_vec()) };
    let score = |value: MarginValue<f64>| Margin::Score { value };
    let logit = |value: MarginValue<f64>| Margin::Logit { value };
    let base = angle(1.0, 0.0, 0.0, BeyondPi::Continue, MarginGradient::Exact);
    let minus = |value: MarginValue<f64>| Margin::Angle(AngularMargin { minus: value, ..base.clone() });
    let mut cases = Vec::new();
    for value in [drawn, MarginValue::FromNorm(linear), counted] {
        for margin in [score(value.clone()), logit(value.clone()), minus(value.clone())] {
            cases.push(case(format!("{margin:?}"), preset("normface").with_margin(margin).with_scale(6.0)));
        }
    }
    // Averages that are those of the batch: norms on both sides of them, and angles made smaller than 0.
    for momentum in [0.5, 1.0] {
        let standardized = NormMargin::Standardized { value: 0.9, concentration: 5.0, momentum };
        let margin = AngularMargin {
            plus: MarginValue::FromNorm(standardized),
            minus: MarginValue::FromNorm(standardized),
            beyond_pi: BeyondPi::Clamp,
            ..base.clone()
        };
        let spec = preset("normface").with_margin(Margin::Angle(margin)).with_scale(6.0);
        cases.push(case(format!("standardized {momentum}"), spec));
        let spec = preset("normface").with_scale(6.0);
        cases.push(case(
            format!("standardized score {momentum}"),
            spec.with_margin(score(MarginValue::FromNorm(standardized))),
        ));
    }
    for beyond_pi in [BeyondPi::Continue, BeyondPi::Extend, BeyondPi::Plain, BeyondPi::Piecewise, BeyondPi::Clamp] {
        for geometry in [Geometry::Cosine, Geometry::UnitWeights] {
            let plus = AngularMargin { plus: MarginValue::FromNorm(linear), beyond_pi, ..base.clone() };
            let scale = Scale::fixed(6.0);
            let spec = preset("normface").with_margin(Margin::Angle(plus)).with_geometry(geometry).with_scale(scale);
            cases.push(case(format!("{geometry:?} {beyond_pi:?} from the norm"), spec));
        }
    }
    cases
}

fn several_centers() -> Vec<Case> {
    let biased = Geometry::InnerProduct { bias: true, temperature: 1.0 };
    let with = |geometry, name: &str| preset(name).with_geometry(geometry).with_sub_centers(2);
    vec![
        case("two centers and a bias", with(biased, "cross-entropy")),
        case("two centers on unit weights", with(Geometry::UnitWeights, "cross-entropy")),
        case("two centers and negatives", with(Geometry::Cosine, "mv-softmax")),
        case(
            "two centers and ring",
            with(Geometry::Cosine, "am-softmax").with_regularizer(Regularizer::Ring { weight: 0.3, radius: 1.0 }),
        ),
    ]
}

fn extras() -> Vec<Case> {
    let ring = Some(Regularizer::Ring { weight: 0.3, radius: 1.0 });
    let incay = Some(Regularizer::FeatureIncay { weight: 0.2 });
    let entropy = preset("cross-entropy");
    let with = |regularizer, name: &str| preset(name).with_regularizer(regularizer);
    let class_weights = Some(vec![1.0, 2.0, 0.5, 0.0, 3.0]);
    let weighted = preset("normface").with_class_weights(class_weights);
    let everything = weighted.clone().with_regularizer(ring).with_ignored_label(-100);
    vec![
        case("ring on cosines", with(ring, "am-softmax")),
        case("ring on inner products", with(ring, "cross-entropy")),
        case("ring and an angle", with(ring, "l-softmax")),
        case("ring and arcface", with(ring, "arcface")),
        case("magnitude", with(Some(Regularizer::Magnitude { weight: 2.0, low: 0.5, high: 3.0 }), "am-softmax")),
        case("incay", with(incay, "cross-entropy")),
        case("incay on unit weights", with(incay, "sphereface")),
        Case { weighted: true, ..case("incay weighted", with(incay, "cross-entropy")) },
        Case { soft: true, ..case("ring and soft targets", with(ring, "cross-entropy")) },
        case("class weights", weighted.clone()),
        Case { weighted: true, ..case("both weights", weighted) },
        Case { weighted: true, ..case("sample weights", preset("arcface")) },
        case("ignored label", entropy.clone().with_ignored_label(-100)),
        Case { weighted: true, ..case("everything", everything) },
        Case { weighted: true, soft: true, ..case("soft and weighted", entropy.clone()) },
        case(
            "temperature",
            entropy.with_geometry(Geometry::InnerProduct { bias: true, temperature: 2.0 }).with_scale(learned()),
        ),
    ]
}
