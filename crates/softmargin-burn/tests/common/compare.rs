//! Comparison of the modules with the core crate: both compute the loss and the gradients of a case.

use super::cases::{CLASSES, Case, Problem, ROWS, WIDTH};
use burn::module::Param;
use burn::tensor::{DType, Device, Element, Int, Tensor, TensorData};
use ndarray::{Array1, Array2};
use softmargin::head::{Head, HeadBatch, HeadParameters};
use softmargin::{
    Batch, Gradients, Loss, LossState, OperandGradients, Real, Reduction, Regularizer, RowInputs, Scored, Value,
    sub_centers,
};
use softmargin_burn::{MarginHead, MarginHeadConfig, RowTensors};

/// The tolerance of a gradient in `f32`: the exact derivative of an angle multiplies the rounding of a cosine by
/// `1 / sin^2`, up to some hundred here.
pub const F32: f64 = 1e-4;

/// The tolerance of a gradient in `f64`.
pub const F64: f64 = 1e-11;

/// A loss and its gradients.
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

/// Asserts that two answers agree within `tolerance`, relative to the largest value of each part or 1.
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

/// The choices under which a loss is computed.
#[derive(Clone, Debug)]
pub struct Question {
    pub dtype: DType,
    pub composed: bool,
    pub reduction: Reduction,
    /// The upstream gradient of the loss.
    pub upstream: Vec<f32>,
}

/// The answer of the module.
pub fn ask(case: &Case, problem: &Problem, question: &Question) -> Answer {
    let dtype = question.dtype;
    let head = head(case, problem, dtype);
    let embeddings = tensor(&problem.embeddings, [ROWS, WIDTH], dtype).require_grad();
    let mut inputs = RowTensors::new().with_reduction(question.reduction);
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

/// The answer of the core for some rows, with the state after all rows.
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

    /// The inputs of the rows, without norms.
    fn rows<'a>(&'a self, state: Option<&'a LossState>) -> RowInputs<'a, F> {
        let mut rows = match &self.soft {
            Some(soft) => RowInputs::soft(soft.view()),
            None => RowInputs::new(self.labels.view()),
        };
        if let Some(weights) = &self.sample_weights {
            rows = rows.with_sample_weights(weights.view());
        }
        if let Some(margins) = &self.margins {
            rows = rows.with_margins(margins.view());
        }
        match state {
            Some(state) => rows.with_state(state),
            None => rows,
        }
    }

    fn batch<'a>(&'a self, case: &Case, problem: &Problem, loss: &Loss, state: Option<&'a LossState>) -> Batch<'a, F> {
        let mut rows = self.rows(state);
        if loss.needs_embedding_norms() {
            rows = rows.with_embedding_norms(self.scored.embedding_norms.view());
        }
        if loss.needs_weight_norms() {
            rows = rows.with_weight_norms(self.scored.weight_norms.view());
        }
        let mut batch = Batch::new(self.pooled.scores.view(), rows);
        if case.spec.scale.is_learned() {
            batch = batch.with_scale(f64::from(problem.scale));
        }
        if has_radius(case) {
            batch = batch.with_radius(f64::from(problem.radius));
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
    let (scale, radius) = (gradients.rows.scale, gradients.rows.radius);
    let OperandGradients { embeddings, weight, bias } =
        geometry.backward(inputs.x.view(), inputs.w.view(), &inputs.scored, &gradients.into()).unwrap();
    let wide = |values: Vec<F>| values.into_iter().map(Real::widen).collect::<Vec<f64>>();
    let if_there = |there: bool, values: Vec<F>| if there { wide(values) } else { Vec::new() };
    Answer {
        loss: wide(if reduction == Reduction::None { value.rows.to_vec() } else { vec![value.total] }),
        embeddings: wide(embeddings.iter().copied().collect()),
        weight: wide(weight.iter().copied().collect()),
        bias: if_there(geometry.has_bias(), bias.to_vec()),
        scale: if_there(case.spec.scale.is_learned(), vec![scale]),
        radius: if_there(has_radius(case), vec![radius]),
    }
}

/// The answer of the core's fused head for all rows, in `f32`.
pub fn core_head(case: &Case, problem: &Problem, reduction: Reduction) -> Answer {
    let head = Head::new(case.spec.clone().build(CLASSES).unwrap());
    let inputs = CoreInputs::<f32>::new(case, problem, 0..ROWS);
    let prototypes = CLASSES * case.spec.sub_centers;
    let bias = Array1::from(problem.bias[..prototypes].to_vec());
    let mut parameters = HeadParameters::new(inputs.w.view());
    if case.spec.geometry.has_bias() {
        parameters = parameters.with_bias(bias.view());
    }
    if case.spec.scale.is_learned() {
        parameters = parameters.with_scale(f64::from(problem.scale));
    }
    if has_radius(case) {
        parameters = parameters.with_radius(f64::from(problem.radius));
    }
    let state = head.loss().initial_state().map(|mut state| {
        head.update(&mut state, &HeadBatch::new(inputs.x.view(), inputs.rows(None)), parameters).unwrap();
        state
    });
    let batch = HeadBatch::new(inputs.x.view(), inputs.rows(state.as_ref()));
    let (value, gradients) = head.value_and_grad(&batch, parameters, reduction).unwrap();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let if_there = |there: bool, values: Vec<f32>| if there { wide(values) } else { Vec::new() };
    Answer {
        loss: wide(if reduction == Reduction::None { value.rows.to_vec() } else { vec![value.total] }),
        embeddings: wide(gradients.embeddings.iter().copied().collect()),
        weight: wide(gradients.weight.iter().copied().collect()),
        bias: if_there(case.spec.geometry.has_bias(), gradients.learned.bias.to_vec()),
        scale: if_there(case.spec.scale.is_learned(), vec![gradients.learned.scale]),
        radius: if_there(has_radius(case), vec![gradients.learned.radius]),
    }
}

/// The answer of the core by single rows, all others of weight 0: the gradient of each row times its upstream gradient,
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
