//! The loss as one operation of Burn's Flex backend, in `f32`: value and gradients are the core crate's.
//!
//! Embeddings and prototypes go through the core's fused head, which never holds their scores; scores that are given, through
//! its loss. Forward computes the gradient for an upstream gradient of 1 and keeps it, and the inputs, which are shared and cost
//! nothing. Backward multiplies: for a total, and for rows that all have the same upstream gradient, that is all. Rows with
//! gradients of their own are computed again as rows of those weights, once for the positive and once for the negative
//! ones, because the slopes by scale, radius and norms are sums over the rows.

use crate::flex_memory::{FlexTensor, elements, tensor};
use crate::inputs::{Host, MarginOutput};
use crate::prepared::{Answer, Learned, Operands};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients as Upstream;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{DType, Shape, Tensor, TensorData};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use softmargin::head::{Head, HeadBatch};
use softmargin::sub_centers::pool;
use softmargin::{Batch, Error, Geometry, Gradients, HeadGradients, Loss, LossState, Reduction, Result, Scale};
use std::sync::Arc;

/// Tensors that the operation may be differentiated by.
const INPUTS: usize = 5;

/// What is computed, besides the tensors.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The head of the loss, its bounds of a learned scale out of the way.
    pub(crate) head: Arc<Head>,
    /// The scale with its bounds.
    pub(crate) scale: Scale,
    pub(crate) source: Source,
    pub(crate) host: Host<f32>,
    pub(crate) state: Option<LossState>,
    /// Whether the state takes the batch in before the loss is computed with it.
    pub(crate) trains: bool,
    pub(crate) reduction: Reduction,
    /// Whether the scores are asked for where they are made here.
    pub(crate) wants_scores: bool,
}

/// What the first three tensors are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Embeddings (N, D), prototypes (C K, D), K for each class, and perhaps a bias (C K).
    Embeddings { geometry: Geometry, sub_centers: usize, bias: bool },
    /// Scores (N, C) and perhaps the norms (N) and (C) that they were made with.
    Scores { embedding_norms: bool, weight_norms: bool },
}

/// What the operation gives back. `loss` can be differentiated; `scores` cannot.
#[derive(ExtensionType)]
pub(crate) struct Outcome<B: Backend> {
    loss: FloatTensor<B>,
    scores: FloatTensor<B>,
    top: Vec<i64>,
    state: Option<LossState>,
    refusal: Option<Error>,
}

/// The operation. Tensors that are not there are given as `[0.0]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait MarginOperation: Backend {
    fn margin_loss(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        radius: FloatTensor<Self>,
        request: Arc<Request>,
    ) -> Outcome<Self>;
}

/// Computes the loss of tensors that all lie in the Flex backend as `f32`.
pub(crate) fn forward(operands: Operands, learned: Learned, request: Request) -> Result<Answer> {
    let (first, second, third) = match operands {
        Operands::Head { embeddings, weight, bias, .. } => {
            (embeddings, weight.into_dispatch(), bias.map(Tensor::into_dispatch))
        }
        Operands::Scores { scores, embedding_norms, weight_norms } => {
            let norms = embedding_norms.unwrap_or_else(|| absent(&scores));
            (scores, norms.into_dispatch(), weight_norms.map(Tensor::into_dispatch))
        }
    };
    let or_absent = |tensor: Option<Tensor<1>>| tensor.unwrap_or_else(|| absent(&first)).into_dispatch();
    let (scale, radius) = (or_absent(learned.scale), or_absent(learned.radius));
    let third = third.unwrap_or_else(|| absent(&first).into_dispatch());
    let request = Arc::new(request);
    let outcome =
        <Dispatch as MarginOperation>::margin_loss(first.into_dispatch(), second, third, scale, radius, request);
    match outcome.refusal {
        Some(error) => Err(error),
        None => {
            let loss = Tensor::from_dispatch(outcome.loss);
            let output = MarginOutput { loss, scores: Tensor::from_dispatch(outcome.scores) };
            Ok(Answer { output, top: Some(outcome.top), state: outcome.state })
        }
    }
}

fn absent(like: &Tensor<2>) -> Tensor<1> {
    Tensor::from_data(TensorData::new(vec![0.0_f32], [1]), (&like.device(), DType::F32))
}

impl MarginOperation for Flex {
    fn margin_loss(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        radius: FloatTensor<Self>,
        request: Arc<Request>,
    ) -> Outcome<Self> {
        let inputs = Inputs::new([first, second, third, scale, radius]);
        match request.compute(&inputs, false) {
            Ok(computed) => {
                let scores = computed.scores.map_or_else(|| inputs.0[0].clone(), matrix);
                Outcome { loss: computed.loss, scores, top: computed.top, state: computed.state, refusal: None }
            }
            Err(error) => refused(error),
        }
    }
}

impl<C: CheckpointStrategy> MarginOperation for Autodiff<Flex, C> {
    fn margin_loss(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        radius: FloatTensor<Self>,
        request: Arc<Request>,
    ) -> Outcome<Self> {
        let parts = [first, second, third, scale, radius].map(|tensor| tensor.into_parts());
        let mut tensors = Vec::with_capacity(INPUTS);
        let nodes = parts.map(|(tensor, node)| {
            tensors.push(tensor);
            node
        });
        let inputs = Inputs::new(tensors);
        let operation = LossBackward.prepare::<C>(nodes).compute_bound().stateful();
        let tracked = matches!(operation, OpsKind::Tracked(_));
        let Computed { loss, gradients, scores, top, state } = match request.compute(&inputs, tracked) {
            Ok(computed) => computed,
            Err(error) => {
                let Outcome { loss, scores, top, state, refusal } = refused::<Flex>(error);
                let (loss, scores) = (Self::from_inner(loss), Self::from_inner(scores));
                return Outcome { loss, scores, top, state, refusal };
            }
        };
        let scores = scores.map_or_else(|| inputs.0[0].clone(), matrix);
        let loss = match (operation, gradients) {
            (OpsKind::Tracked(operation), Some(gradients)) => {
                let kept = Kept { gradients, state: state.clone() };
                operation.finish(State { inputs, kept: Arc::new(kept), request }, loss)
            }
            (OpsKind::Tracked(_), None) => Self::from_inner(loss),
            (OpsKind::UnTracked(operation), _) => operation.finish(loss),
        };
        Outcome { loss, scores: Self::from_inner(scores), top, state, refusal: None }
    }
}

fn refused<B: Backend<FloatTensorPrimitive = FlexTensor>>(error: Error) -> Outcome<B> {
    let nothing = || vector(Array1::zeros(1));
    Outcome { loss: nothing(), scores: nothing(), top: Vec::new(), state: None, refusal: Some(error) }
}

/// The five tensors, their elements side by side in memory.
#[derive(Clone, Debug)]
struct Inputs(Vec<FlexTensor>);

impl Inputs {
    fn new(tensors: impl IntoIterator<Item = FlexTensor>) -> Self {
        Self(tensors.into_iter().map(|tensor| tensor.to_contiguous()).collect())
    }

    fn vector(&self, input: usize) -> ArrayView1<'_, f32> {
        ArrayView1::from(elements(&self.0[input]))
    }

    fn matrix(&self, input: usize) -> ArrayView2<'_, f32> {
        let shape = self.0[input].shape();
        let view = ArrayView2::from_shape((shape[0], shape[1]), elements(&self.0[input]));
        view.expect("a contiguous tensor of rank 2 has as many elements as its shape says")
    }

    /// The parameter of a learned scale.
    fn scale(&self) -> f64 {
        f64::from(self.vector(3)[0])
    }

    fn radius(&self) -> f64 {
        f64::from(self.vector(4)[0])
    }
}

/// What the core crate answers.
struct Computed {
    loss: FlexTensor,
    gradients: Option<Slopes>,
    /// Where they are made here: all of them if they are asked for, else a single 0.
    scores: Option<Array2<f32>>,
    /// The class of the largest score of each row, where scores are made here.
    top: Vec<i64>,
    /// What the loss was computed with.
    state: Option<LossState>,
}

/// Gradients for an upstream gradient of 1.
#[derive(Clone, Debug)]
enum Slopes {
    Head(HeadGradients<f32>),
    Scores(Gradients<f32>),
}

impl Request {
    fn loss(&self) -> &Loss {
        self.head.loss()
    }

    fn compute(&self, inputs: &Inputs, with_gradients: bool) -> Result<Computed> {
        match self.source {
            Source::Embeddings { geometry, sub_centers, bias } => {
                let computed = self.compute_head(inputs, bias, with_gradients)?;
                let scores = if self.wants_scores {
                    let bias = bias.then(|| inputs.vector(2));
                    let all = geometry.scores(inputs.matrix(0), inputs.matrix(1), bias)?.scores;
                    if sub_centers > 1 { pool(all.view(), sub_centers)?.scores } else { all }
                } else {
                    Array2::zeros((1, 1))
                };
                Ok(Computed { scores: Some(scores), ..computed })
            }
            Source::Scores { .. } => self.compute_scores(inputs, with_gradients),
        }
    }

    fn compute_head(&self, inputs: &Inputs, bias: bool, with_gradients: bool) -> Result<Computed> {
        let weight = inputs.matrix(1);
        let mut state = self.state.clone();
        if let (true, Some(next)) = (self.trains, &mut state) {
            self.head.update(next, &self.head_batch(inputs, bias, self.state.as_ref(), None), weight)?;
        }
        let batch = self.head_batch(inputs, bias, state.as_ref(), None);
        let (value, gradients) = if with_gradients {
            let (value, gradients) = self.head.value_and_grad(&batch, weight, self.reduction)?;
            (value, Some(Slopes::Head(gradients)))
        } else {
            (self.head.value(&batch, weight, self.reduction)?, None)
        };
        let loss = self.loss_of(value.rows, value.total);
        Ok(Computed { loss, gradients, scores: None, top: value.statistics.top.to_vec(), state })
    }

    fn compute_scores(&self, inputs: &Inputs, with_gradients: bool) -> Result<Computed> {
        let mut state = self.state.clone();
        if let (true, Some(next)) = (self.trains, &mut state) {
            self.loss().update(next, &self.batch(inputs, self.state.as_ref(), None))?;
        }
        let batch = self.batch(inputs, state.as_ref(), None);
        let (value, gradients) = if with_gradients {
            let (value, gradients) = self.loss().value_and_grad(&batch, self.reduction)?;
            (value, Some(Slopes::Scores(gradients)))
        } else {
            (self.loss().value(&batch, self.reduction)?, None)
        };
        let loss = self.loss_of(value.rows, value.total);
        Ok(Computed { loss, gradients, scores: None, top: Vec::new(), state })
    }

    fn loss_of(&self, rows: Array1<f32>, total: f32) -> FlexTensor {
        match self.reduction {
            Reduction::None => vector(rows),
            _ => vector(Array1::from_elem(1, total)),
        }
    }

    /// The embeddings; `sample_weights` takes the place of the batch's own.
    fn head_batch<'a>(
        &'a self,
        inputs: &'a Inputs,
        bias: bool,
        state: Option<&'a LossState>,
        sample_weights: Option<ArrayView1<'a, f32>>,
    ) -> HeadBatch<'a, f32> {
        let mut batch = HeadBatch::with_targets(inputs.matrix(0), self.host.targets());
        if bias {
            batch = batch.with_bias(inputs.vector(2));
        }
        if let Some(weights) = sample_weights.or(self.host.sample_weights.as_ref().map(|weights| weights.view())) {
            batch = batch.with_sample_weights(weights);
        }
        if let Some(margins) = &self.host.margins {
            batch = batch.with_margins(margins.view());
        }
        if let Some(state) = state {
            batch = batch.with_state(state);
        }
        if self.scale.is_learned() {
            batch = batch.with_scale(self.scale_of(inputs));
        }
        if self.has_radius() {
            batch = batch.with_radius(inputs.radius());
        }
        batch
    }

    /// A learned scale within its bounds; one that is no number is complained of by the loss.
    fn scale_of(&self, inputs: &Inputs) -> f64 {
        let parameter = inputs.scale();
        if parameter.is_finite() { self.scale.clamp(parameter) } else { parameter }
    }

    /// `sample_weights` takes the place of the batch's own.
    fn batch<'a>(
        &'a self,
        inputs: &'a Inputs,
        state: Option<&'a LossState>,
        sample_weights: Option<ArrayView1<'a, f32>>,
    ) -> Batch<'a, f32> {
        let mut batch = self.host.batch(inputs.matrix(0), sample_weights, state);
        if let Source::Scores { embedding_norms, weight_norms } = self.source {
            if embedding_norms {
                batch = batch.with_embedding_norms(inputs.vector(1));
            }
            if weight_norms {
                batch = batch.with_weight_norms(inputs.vector(2));
            }
        }
        if self.scale.is_learned() {
            batch = batch.with_scale(self.scale_of(inputs));
        }
        if self.has_radius() {
            batch = batch.with_radius(inputs.radius());
        }
        batch
    }

    fn has_radius(&self) -> bool {
        self.loss().spec().regularizer.is_some_and(|term| term.initial_radius().is_some())
    }
}

#[derive(Debug)]
struct LossBackward;

/// What backward needs.
#[derive(Clone, Debug)]
struct State {
    inputs: Inputs,
    kept: Arc<Kept>,
    request: Arc<Request>,
}

/// What forward has computed.
#[derive(Clone, Debug)]
struct Kept {
    gradients: Slopes,
    /// What the loss was computed with.
    state: Option<LossState>,
}

impl Backward<Flex, INPUTS> for LossBackward {
    type State = State;

    fn backward(self, ops: Ops<State, INPUTS>, gradients: &mut Upstream, _: &mut Checkpointer) {
        let upstream = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let slopes = ops.state.slopes(elements(&upstream));
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let (Some(node), Some(slope)) = (parent, slope) {
                gradients.register::<Flex>(node.id, slope);
            }
        }
    }
}

impl State {
    /// The gradients by the five tensors.
    fn slopes(self, upstream: &[f32]) -> [Option<FlexTensor>; INPUTS] {
        let Self { inputs, kept, request } = self;
        let Kept { gradients, state } = Arc::unwrap_or_clone(kept);
        let gradients = match uniform(upstream) {
            Some(factor) => gradients.times(factor),
            None => {
                let weighted = request.weighted(&inputs, state.as_ref(), upstream);
                weighted.unwrap_or_else(|| gradients.times(f32::NAN))
            }
        };
        let (by_scale, by_radius) = match &gradients {
            Slopes::Head(head) => (head.scale, head.radius),
            Slopes::Scores(scores) => (scores.scale, scores.radius),
        };
        let scale = request.scale.is_learned().then(|| bounded(request.scale, inputs.scale(), by_scale));
        let radius = request.has_radius().then_some(by_radius);
        let number = |slope: Option<f32>| slope.map(|slope| vector(Array1::from_elem(1, slope)));
        let [first, second, third] = match gradients {
            Slopes::Head(head) => {
                let bias = matches!(request.source, Source::Embeddings { bias: true, .. });
                [Some(matrix(head.embeddings)), Some(matrix(head.weight)), bias.then(|| vector(head.bias))]
            }
            Slopes::Scores(of_scores) => {
                let (of_embeddings, of_weight) = (of_scores.embedding_norms, of_scores.weight_norms);
                [Some(matrix(of_scores.scores)), of_embeddings.map(vector), of_weight.map(vector)]
            }
        };
        [first, second, third, number(scale), number(radius)]
    }
}

impl Request {
    /// The gradient of the rows, each weighted by its upstream gradient. `None` where one of these is not finite.
    fn weighted(&self, inputs: &Inputs, state: Option<&LossState>, upstream: &[f32]) -> Option<Slopes> {
        let own = |row: usize| self.host.sample_weights.as_ref().map_or(1.0, |weights| weights[row]);
        let of_sign = |sign: f32| -> Option<Slopes> {
            let rows = upstream.iter().enumerate();
            let weights: Array1<f32> = rows.map(|(row, slope)| (sign * slope).max(0.0) * own(row)).collect();
            let weights = Some(weights.view());
            if let Source::Embeddings { bias, .. } = self.source {
                let batch = self.head_batch(inputs, bias, state, weights);
                let answer = self.head.value_and_grad(&batch, inputs.matrix(1), self.reduction);
                return answer.ok().map(|(_, gradients)| Slopes::Head(gradients));
            }
            let batch = self.batch(inputs, state, weights);
            self.loss().value_and_grad(&batch, self.reduction).ok().map(|(_, gradients)| Slopes::Scores(gradients))
        };
        if upstream.iter().any(|slope| !slope.is_finite()) {
            return None;
        }
        let positive = of_sign(1.0)?;
        if upstream.iter().all(|slope| *slope >= 0.0) {
            return Some(positive);
        }
        Some(positive.minus(of_sign(-1.0)?))
    }
}

/// The upstream gradient, if all rows have the same. One that is NaN makes all of them so.
fn uniform(upstream: &[f32]) -> Option<f32> {
    let Some(&first) = upstream.first() else { return Some(1.0) };
    upstream.iter().all(|slope| *slope == first || first.is_nan()).then_some(first)
}

impl Slopes {
    fn times(self, factor: f32) -> Self {
        // The usual upstream gradient; multiplying by 1 would change no bit.
        if factor == 1.0 {
            return self;
        }
        let times = |numbers: Array1<f32>| numbers * factor;
        match self {
            Self::Head(head) => Self::Head(HeadGradients {
                embeddings: head.embeddings * factor,
                weight: head.weight * factor,
                bias: head.bias * factor,
                scale: head.scale * factor,
                radius: head.radius * factor,
            }),
            Self::Scores(scores) => Self::Scores(Gradients {
                scores: scores.scores * factor,
                scale: scores.scale * factor,
                radius: scores.radius * factor,
                embedding_norms: scores.embedding_norms.map(times),
                weight_norms: scores.weight_norms.map(times),
            }),
        }
    }

    /// The difference of two of one kind.
    fn minus(self, other: Self) -> Self {
        let minus = |a: Option<Array1<f32>>, b: Option<Array1<f32>>| Some(a? - b?);
        match (self, other) {
            (Self::Head(a), Self::Head(b)) => Self::Head(HeadGradients {
                embeddings: a.embeddings - b.embeddings,
                weight: a.weight - b.weight,
                bias: a.bias - b.bias,
                scale: a.scale - b.scale,
                radius: a.radius - b.radius,
            }),
            (Self::Scores(a), Self::Scores(b)) => Self::Scores(Gradients {
                scores: a.scores - b.scores,
                scale: a.scale - b.scale,
                radius: a.radius - b.radius,
                embedding_norms: minus(a.embedding_norms, b.embedding_norms),
                weight_norms: minus(a.weight_norms, b.weight_norms),
            }),
            (own, _) => own,
        }
    }
}

/// The slope by the parameter of a learned scale: 0 where a step would only leave its range further.
fn bounded(scale: Scale, parameter: f64, slope: f32) -> f32 {
    match scale {
        Scale::Learned { min, max, .. } if (parameter <= min && slope > 0.0) || (parameter >= max && slope < 0.0) => {
            0.0
        }
        _ => slope,
    }
}

fn vector(values: Array1<f32>) -> FlexTensor {
    let length = values.len();
    tensor(values.into_iter().collect(), Shape::new([length]))
}

fn matrix(values: Array2<f32>) -> FlexTensor {
    let (rows, columns) = values.dim();
    let values = if values.is_standard_layout() {
        // Whole and in order, so its memory can be given away.
        let (memory, offset) = values.into_raw_vec_and_offset();
        match offset {
            Some(start) if start > 0 || memory.len() != rows * columns => {
                memory[start..start + rows * columns].to_vec()
            }
            _ => memory,
        }
    } else {
        values.iter().copied().collect()
    };
    tensor(values, Shape::new([rows, columns]))
}
