//! Heads over the whole family, on a small problem, and what the core crate says of them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use burn::module::Param;
use burn::tensor::{DType, Device, Element, Int, Tensor, TensorData};
use ndarray::{Array1, Array2};
use softmargin::head::{Head, HeadBatch};
use softmargin::{
    AngularMargin, Anneal, Batch, BeyondPi, Comparison, Gate, Geometry, Gradients, HeadGradients, Loss, LossSpec,
    LossState, Margin, MarginGradient, MarginValue, Negatives, NormMargin, Radians, Real, Reduction, Regularizer,
    Scale, Scored, SmoothGate, Value, presets, sub_centers,
};
use softmargin_burn::{MarginHead, MarginHeadConfig, RowInputs};

pub const CLASSES: usize = 5;
pub const WIDTH: usize = 4;
/// The most prototypes that a class of a case has.
pub const CENTERS: usize = 3;
pub const ROWS: usize = 7;

/// What `f32` leaves of a gradient: the exact slope of an angle multiplies the rounding of a cosine by `1 / sin^2`, up to
/// some hundred here.
pub const F32: f64 = 1e-4;

/// What `f64` leaves of it.
pub const F64: f64 = 1e-11;

/// A number in (-1, 1): the fractional parts of multiples of the golden ratio, which are spread evenly.
pub fn number(index: usize) -> f32 {
    let fraction = (index as f64 * 0.618_033_988_749_894_9).fract();
    (2.0 * fraction - 1.0) as f32
}

pub fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| number(seed + 7 * index + 1)).collect()
}

/// What a head is computed on.
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

    /// The problem that a spec asks for.
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

/// A loss, and what its batch brings.
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

/// The number of rows of each class that a loss is told, where it asks.
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

/// Numbers of a head: a loss and its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub loss: Vec<f64>,
    pub embeddings: Vec<f64>,
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
    pub scale: Vec<f64>,
    pub radius: Vec<f64>,
}

impl Answer {
    pub fn parts(&self) -> [(&'static str, &[f64]); 6] {
        [
            ("loss", &self.loss),
            ("embeddings", &self.embeddings),
            ("weight", &self.weight),
            ("bias", &self.bias),
            ("scale", &self.scale),
            ("radius", &self.radius),
        ]
    }
}

/// Each part of one answer lies within `tolerance` of the other's, relative to the largest number of the part or 1.
#[track_caller]
pub fn assert_close(name: &str, found: &Answer, expected: &Answer, tolerance: f64) {
    for ((part, found), (_, expected)) in found.parts().into_iter().zip(expected.parts()) {
        assert_eq!(found.len(), expected.len(), "{name}: length of {part}");
        let size = expected.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let off = (f - e).abs() / size;
            assert!(off <= tolerance, "{name}: {part}[{index}] is {f}, expected {e} (off by {off:e} of {size})");
        }
    }
}

pub fn device() -> Device {
    Device::flex().autodiff()
}

pub fn tensor<const D: usize>(values: &[f32], shape: [usize; D], dtype: DType) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&device(), dtype))
}

/// The head of a case, its parameters set to those of the problem.
pub fn head(case: &Case, problem: &Problem, dtype: DType) -> MarginHead {
    let config = MarginHeadConfig::new(WIDTH, CLASSES).with_loss(case.spec.clone());
    let mut head = config.try_init(&device()).unwrap();
    let prototypes = CLASSES * case.spec.sub_centers;
    head.weight = Param::from_tensor(tensor(&problem.weight[..prototypes * WIDTH], [prototypes, WIDTH], dtype));
    head.bias = head.bias.map(|_| Param::from_tensor(tensor(&problem.bias[..prototypes], [prototypes], dtype)));
    head.scale = head.scale.map(|_| Param::from_tensor(tensor(&[problem.scale], [1], dtype)));
    head.radius = head.radius.map(|_| Param::from_tensor(tensor(&[problem.radius], [1], dtype)));
    head
}

pub fn targets(problem: &Problem) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(problem.targets.clone(), [ROWS]), &device())
}

/// How a head is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub dtype: DType,
    pub composed: bool,
    pub reduction: Reduction,
    /// The gradient of what follows the loss.
    pub upstream: Vec<f32>,
}

/// What the module says.
pub fn ask(case: &Case, problem: &Problem, question: &Question) -> Answer {
    let dtype = question.dtype;
    let head = head(case, problem, dtype);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], dtype).require_grad();
    let mut inputs = RowInputs::new().with_reduction(question.reduction);
    if let Some(weights) = &problem.sample_weights {
        inputs = inputs.with_sample_weights(tensor(weights, [ROWS], dtype));
    }
    if let Some(margins) = &problem.margins {
        inputs = inputs.with_margins(tensor(margins, [ROWS], dtype));
    }
    if question.composed {
        inputs = inputs.composed();
    }
    let loss = match &problem.soft {
        Some(soft) => head.forward_batch(embeddings.clone(), tensor(soft, [ROWS, CLASSES], dtype), inputs).loss,
        None => head.forward_batch(embeddings.clone(), targets(problem), inputs).loss,
    };
    let upstream = tensor(&question.upstream, [question.upstream.len()], dtype);
    let gradients = (loss.clone() * upstream).sum().backward();
    let list = |data: Option<TensorData>| data.map_or_else(Vec::new, |data| data.iter::<f64>().collect());
    let of_vector = |parameter: &Option<Param<Tensor<1>>>| {
        list(parameter.as_ref().map(|p| p.val().grad(&gradients).unwrap().into_data()))
    };
    Answer {
        loss: list(Some(loss.into_data())),
        embeddings: list(Some(embeddings.grad(&gradients).unwrap().into_data())),
        weight: list(Some(head.weight.val().grad(&gradients).unwrap().into_data())),
        bias: of_vector(&head.bias),
        scale: of_vector(&head.scale),
        radius: of_vector(&head.radius),
    }
}

/// What the core says of the rows from `rows`, under a reduction, its state having taken in all rows.
pub fn core<F: Real + Element>(
    case: &Case,
    problem: &Problem,
    rows: std::ops::Range<usize>,
    reduction: Reduction,
) -> Answer {
    let state = state_after::<F>(case, problem);
    core_with::<F>(case, problem, rows, reduction, state.as_ref())
}

/// The state that the loss of all rows is computed with.
fn state_after<F: Real + Element>(case: &Case, problem: &Problem) -> Option<LossState> {
    let loss = case.spec.clone().build(CLASSES).unwrap();
    let mut state = loss.initial_state()?;
    let inputs = CoreInputs::<F>::new(case, problem, 0..ROWS);
    let before = state.clone();
    loss.update(&mut state, &inputs.batch(case, problem, &loss, Some(&before))).unwrap();
    Some(state)
}

/// The rows of a problem, and the scores that the core makes of them.
struct CoreInputs<F> {
    x: Array2<F>,
    w: Array2<F>,
    scored: Scored<F>,
    pooled: sub_centers::Pooled<F>,
    labels: Array1<i64>,
    soft: Option<Array2<F>>,
    sample_weights: Option<Array1<F>>,
    margins: Option<Array1<F>>,
}

impl<F: Real + Element> CoreInputs<F> {
    fn new(case: &Case, problem: &Problem, rows: std::ops::Range<usize>) -> Self {
        let of = |v: &[f32]| -> Vec<F> { v.iter().map(|v| F::round_from(f64::from(*v))).collect() };
        let count = rows.len();
        let prototypes = CLASSES * case.spec.sub_centers;
        let x = of(&problem.embeddings[rows.start * WIDTH..rows.end * WIDTH]);
        let x = Array2::from_shape_vec((count, WIDTH), x).unwrap();
        let w = Array2::from_shape_vec((prototypes, WIDTH), of(&problem.weight[..prototypes * WIDTH])).unwrap();
        let bias = Array1::from(of(&problem.bias[..prototypes]));
        let geometry = case.spec.geometry;
        let scored = geometry.scores(x.view(), w.view(), geometry.has_bias().then(|| bias.view())).unwrap();
        let pooled = sub_centers::pool(scored.scores.view(), case.spec.sub_centers).unwrap();
        let soft = problem.soft.as_ref().map(|soft| {
            Array2::from_shape_vec((count, CLASSES), of(&soft[rows.start * CLASSES..rows.end * CLASSES])).unwrap()
        });
        let column = |values: &Option<Vec<f32>>| values.as_ref().map(|v| Array1::from(of(&v[rows.clone()])));
        Self {
            labels: Array1::from(problem.targets[rows.clone()].to_vec()),
            soft,
            sample_weights: column(&problem.sample_weights),
            margins: column(&problem.margins),
            x,
            w,
            scored,
            pooled,
        }
    }

    fn batch<'a>(&'a self, case: &Case, problem: &Problem, loss: &Loss, state: Option<&'a LossState>) -> Batch<'a, F> {
        let mut batch = match &self.soft {
            Some(soft) => Batch::soft(self.pooled.scores.view(), soft.view()),
            None => Batch::new(self.pooled.scores.view(), self.labels.view()),
        };
        if let Some(weights) = &self.sample_weights {
            batch = batch.with_sample_weights(weights.view());
        }
        if let Some(margins) = &self.margins {
            batch = batch.with_margins(margins.view());
        }
        if loss.needs_embedding_norms() {
            batch = batch.with_embedding_norms(self.scored.embedding_norms.view());
        }
        if loss.needs_weight_norms() {
            batch = batch.with_weight_norms(self.scored.weight_norms.view());
        }
        if case.spec.scale.is_learned() {
            batch = batch.with_scale(f64::from(problem.scale));
        }
        if has_radius(case) {
            batch = batch.with_radius(f64::from(problem.radius));
        }
        if let Some(state) = state {
            batch = batch.with_state(state);
        }
        batch
    }
}

fn has_radius(case: &Case) -> bool {
    matches!(case.spec.regularizer, Some(Regularizer::Ring { .. }))
}

fn core_with<F: Real + Element>(
    case: &Case,
    problem: &Problem,
    rows: std::ops::Range<usize>,
    reduction: Reduction,
    state: Option<&LossState>,
) -> Answer {
    let loss = case.spec.clone().build(CLASSES).unwrap();
    let inputs = CoreInputs::<F>::new(case, problem, rows);
    let batch = inputs.batch(case, problem, &loss, state);
    let geometry = case.spec.geometry;
    let (value, mut gradients): (Value<F>, Gradients<F>) = loss.value_and_grad(&batch, reduction).unwrap();
    let winners = inputs.pooled.winners.view();
    gradients.scores = sub_centers::spread(gradients.scores.view(), winners, case.spec.sub_centers).unwrap();
    let HeadGradients { embeddings, weight, bias, .. } =
        geometry.backward(inputs.x.view(), inputs.w.view(), &inputs.scored, &gradients).unwrap();
    let wide = |values: Vec<F>| values.into_iter().map(Real::widen).collect::<Vec<f64>>();
    let if_there = |there: bool, values: Vec<F>| if there { wide(values) } else { Vec::new() };
    Answer {
        loss: wide(if reduction == Reduction::None { value.rows.to_vec() } else { vec![value.total] }),
        embeddings: wide(embeddings.iter().copied().collect()),
        weight: wide(weight.iter().copied().collect()),
        bias: if_there(geometry.has_bias(), bias.to_vec()),
        scale: if_there(case.spec.scale.is_learned(), vec![gradients.scale]),
        radius: if_there(has_radius(case), vec![gradients.radius]),
    }
}

/// What the core's fused head says of all rows, in `f32`.
pub fn core_head(case: &Case, problem: &Problem, reduction: Reduction) -> Answer {
    let head = Head::new(case.spec.clone().build(CLASSES).unwrap());
    let inputs = CoreInputs::<f32>::new(case, problem, 0..ROWS);
    let prototypes = CLASSES * case.spec.sub_centers;
    let bias = Array1::from(problem.bias[..prototypes].to_vec());
    let mut batch = match &inputs.soft {
        Some(soft) => HeadBatch::soft(inputs.x.view(), soft.view()),
        None => HeadBatch::new(inputs.x.view(), inputs.labels.view()),
    };
    if case.spec.geometry.has_bias() {
        batch = batch.with_bias(bias.view());
    }
    if let Some(weights) = &inputs.sample_weights {
        batch = batch.with_sample_weights(weights.view());
    }
    if let Some(margins) = &inputs.margins {
        batch = batch.with_margins(margins.view());
    }
    if case.spec.scale.is_learned() {
        batch = batch.with_scale(f64::from(problem.scale));
    }
    if has_radius(case) {
        batch = batch.with_radius(f64::from(problem.radius));
    }
    let state = head.loss().initial_state().map(|mut state| {
        head.update(&mut state, &batch, inputs.w.view()).unwrap();
        state
    });
    if let Some(state) = &state {
        batch = batch.with_state(state);
    }
    let (value, gradients) = head.value_and_grad(&batch, inputs.w.view(), reduction).unwrap();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let if_there = |there: bool, values: Vec<f32>| if there { wide(values) } else { Vec::new() };
    Answer {
        loss: wide(if reduction == Reduction::None { value.rows.to_vec() } else { vec![value.total] }),
        embeddings: wide(gradients.embeddings.iter().copied().collect()),
        weight: wide(gradients.weight.iter().copied().collect()),
        bias: if_there(case.spec.geometry.has_bias(), gradients.bias.to_vec()),
        scale: if_there(case.spec.scale.is_learned(), vec![gradients.scale]),
        radius: if_there(has_radius(case), vec![gradients.radius]),
    }
}

/// What the core says of single rows, the others of weight 0: each gradient multiplied by the upstream gradient of its row,
/// added up.
pub fn core_row_by_row(case: &Case, problem: &Problem, upstream: &[f32]) -> Answer {
    let state = state_after::<f64>(case, problem);
    let own = problem.sample_weights.clone().unwrap_or_else(|| vec![1.0; ROWS]);
    let mut sum: Option<Answer> = None;
    for (row, factor) in upstream.iter().enumerate() {
        let mut weights = vec![0.0; ROWS];
        weights[row] = own[row];
        let alone = Problem { sample_weights: Some(weights), ..problem.clone() };
        let part = core_with::<f64>(case, &alone, 0..ROWS, Reduction::None, state.as_ref());
        let factor = f64::from(*factor);
        let times = |v: Vec<f64>| v.into_iter().map(|v| v * factor).collect::<Vec<f64>>();
        let part = Answer {
            loss: part.loss,
            embeddings: times(part.embeddings),
            weight: times(part.weight),
            bias: times(part.bias),
            scale: times(part.scale),
            radius: times(part.radius),
        };
        let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<f64>>();
        sum = Some(match sum {
            None => part,
            Some(sum) => Answer {
                loss: add(sum.loss, part.loss),
                embeddings: add(sum.embeddings, part.embeddings),
                weight: add(sum.weight, part.weight),
                bias: add(sum.bias, part.bias),
                scale: add(sum.scale, part.scale),
                radius: add(sum.radius, part.radius),
            },
        });
    }
    sum.unwrap()
}
