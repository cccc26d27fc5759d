//! The loss as one operation of Burn's Flex backend, in `f32`: value and gradients are the core crate's.
//!
//! Forward computes the gradient for an upstream gradient of 1 and keeps it, and the inputs, which are shared and cost
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
use softmargin::sub_centres::{Pooled, pool, spread};
use softmargin::{Batch, Error, Geometry, Gradients, Loss, LossState, Reduction, Result, Scale, Scored, Value};
use std::sync::Arc;

const ACCEPTED: &str = "forward has accepted these shapes";

/// Tensors that the operation may be differentiated by.
const INPUTS: usize = 5;

/// What is computed, besides the tensors.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The loss, its bounds of a learned scale out of the way.
    pub(crate) loss: Arc<Loss>,
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
    Embeddings { geometry: Geometry, sub_centres: usize, bias: bool },
    /// Scores (N, C) and perhaps the norms (N) and (C) that they were made with.
    Scores { embedding_norms: bool, weight_norms: bool },
}

/// What the operation gives back. `loss` can be differentiated; `scores` cannot.
#[derive(ExtensionType)]
pub(crate) struct Outcome<B: Backend> {
    loss: FloatTensor<B>,
    scores: FloatTensor<B>,
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
            Ok(Answer { output, state: outcome.state })
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
            Ok(Computed { value, made, state, .. }) => {
                let scores = made.map_or_else(|| inputs.0[0].clone(), |made| matrix(made.into_scores()));
                Outcome { loss: request.loss_of(&value), scores, state, refusal: None }
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
        let Computed { value, gradients, made, state } = match request.compute(&inputs, tracked) {
            Ok(computed) => computed,
            Err(error) => {
                let Outcome { loss, scores, state, refusal } = refused::<Flex>(error);
                return Outcome { loss: Self::from_inner(loss), scores: Self::from_inner(scores), state, refusal };
            }
        };
        let loss = request.loss_of(&value);
        let scores = match &made {
            None => inputs.0[0].clone(),
            Some(made) if request.wants_scores => matrix(made.scores().to_owned()),
            Some(_) => vector(Array1::zeros(1)),
        };
        let loss = match (operation, gradients) {
            (OpsKind::Tracked(operation), Some(gradients)) => {
                let kept = Kept { gradients, made, state: state.clone() };
                operation.finish(State { inputs, kept: Arc::new(kept), request }, loss)
            }
            (OpsKind::Tracked(_), None) => Self::from_inner(loss),
            (OpsKind::UnTracked(operation), _) => operation.finish(loss),
        };
        Outcome { loss, scores: Self::from_inner(scores), state, refusal: None }
    }
}

fn refused<B: Backend<FloatTensorPrimitive = FlexTensor>>(error: Error) -> Outcome<B> {
    let nothing = || vector(Array1::zeros(1));
    Outcome { loss: nothing(), scores: nothing(), state: None, refusal: Some(error) }
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

/// Scores that are made here.
#[derive(Clone, Debug)]
struct Made {
    /// Against every prototype (N, C K).
    all: Scored<f32>,
    /// The best of each class, where a class has several prototypes.
    pooled: Option<Pooled<f32>>,
}

impl Made {
    /// Scores (N, C).
    fn scores(&self) -> ArrayView2<'_, f32> {
        self.pooled.as_ref().map_or_else(|| self.all.scores.view(), |pooled| pooled.scores.view())
    }

    fn into_scores(self) -> Array2<f32> {
        self.pooled.map_or(self.all.scores, |pooled| pooled.scores)
    }
}

/// What the core crate answers.
struct Computed {
    value: Value<f32>,
    gradients: Option<Gradients<f32>>,
    made: Option<Made>,
    /// What the loss was computed with.
    state: Option<LossState>,
}

impl Request {
    fn compute(&self, inputs: &Inputs, with_gradients: bool) -> Result<Computed> {
        let made = self.made(inputs)?;
        let mut state = self.state.clone();
        if let (true, Some(next)) = (self.trains, &mut state) {
            self.loss.update(next, &self.batch(inputs, made.as_ref(), self.state.as_ref(), None))?;
        }
        let batch = self.batch(inputs, made.as_ref(), state.as_ref(), None);
        let (value, gradients) = if with_gradients {
            let (value, gradients) = self.loss.value_and_grad(&batch, self.reduction)?;
            (value, Some(gradients))
        } else {
            (self.loss.value(&batch, self.reduction)?, None)
        };
        Ok(Computed { value, gradients, made, state })
    }

    fn made(&self, inputs: &Inputs) -> Result<Option<Made>> {
        let Source::Embeddings { geometry, sub_centres, bias } = self.source else { return Ok(None) };
        let bias = bias.then(|| inputs.vector(2));
        let all = geometry.scores(inputs.matrix(0), inputs.matrix(1), bias)?;
        let pooled = if sub_centres > 1 { Some(pool(all.scores.view(), sub_centres)?) } else { None };
        Ok(Some(Made { all, pooled }))
    }

    fn loss_of(&self, value: &Value<f32>) -> FlexTensor {
        match self.reduction {
            Reduction::None => vector(value.rows.clone()),
            _ => vector(Array1::from_elem(1, value.total)),
        }
    }

    /// `sample_weights` takes the place of the batch's own.
    fn batch<'a>(
        &'a self,
        inputs: &'a Inputs,
        made: Option<&'a Made>,
        state: Option<&'a LossState>,
        sample_weights: Option<ArrayView1<'a, f32>>,
    ) -> Batch<'a, f32> {
        let scores = made.map_or_else(|| inputs.matrix(0), Made::scores);
        let scored = made.map(|made| &made.all);
        let (of_embeddings, of_weight) = match (self.source, scored) {
            (Source::Scores { embedding_norms, weight_norms }, _) => {
                (embedding_norms.then(|| inputs.vector(1)), weight_norms.then(|| inputs.vector(2)))
            }
            (Source::Embeddings { .. }, scored) => (
                scored.filter(|_| self.loss.needs_embedding_norms()).map(|scored| scored.embedding_norms.view()),
                scored.filter(|_| self.loss.needs_weight_norms()).map(|scored| scored.weight_norms.view()),
            ),
        };
        let mut batch = self.host.batch(scores, sample_weights, state);
        if let Some(norms) = of_embeddings {
            batch = batch.with_embedding_norms(norms);
        }
        if let Some(norms) = of_weight {
            batch = batch.with_weight_norms(norms);
        }
        if self.scale.is_learned() {
            let parameter = inputs.scale();
            batch = batch.with_scale(if parameter.is_finite() { self.scale.clamp(parameter) } else { parameter });
        }
        if self.has_radius() {
            batch = batch.with_radius(inputs.radius());
        }
        batch
    }

    fn has_radius(&self) -> bool {
        self.loss.spec().regulariser.is_some_and(|term| term.initial_radius().is_some())
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
    /// For an upstream gradient of 1.
    gradients: Gradients<f32>,
    /// Where the scores were made here.
    made: Option<Made>,
    /// What the loss was computed with.
    state: Option<LossState>,
}

impl Backward<Flex, INPUTS> for LossBackward {
    type State = State;

    fn backward(self, ops: Ops<State, INPUTS>, gradients: &mut Upstream, _: &mut Checkpointer) {
        let upstream = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let slopes = ops.state.slopes(elements(&upstream), wanted);
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let (Some(node), Some(slope)) = (parent, slope) {
                gradients.register::<Flex>(node.id, slope);
            }
        }
    }
}

impl State {
    /// The gradients by the five tensors.
    fn slopes(self, upstream: &[f32], wanted: [bool; INPUTS]) -> [Option<FlexTensor>; INPUTS] {
        let Self { inputs, kept, request } = self;
        let Kept { gradients, made, state } = Arc::unwrap_or_clone(kept);
        let mut gradients = match uniform(upstream) {
            Some(factor) => scaled(gradients, factor),
            None => {
                let weighted = request.weighted(&inputs, made.as_ref(), state.as_ref(), upstream);
                weighted.unwrap_or_else(|| scaled(gradients, f32::NAN))
            }
        };
        let scale = request.scale.is_learned().then(|| bounded(request.scale, inputs.scale(), gradients.scale));
        let radius = request.has_radius().then_some(gradients.radius);
        let number = |slope: Option<f32>| slope.map(|slope| vector(Array1::from_elem(1, slope)));
        let [first, second, third] = match request.source {
            Source::Embeddings { geometry, sub_centres, .. } => {
                let made = made.filter(|_| wanted[..3].contains(&true));
                let head = made.map(|Made { all, pooled }| {
                    if let Some(Pooled { winners, .. }) = pooled {
                        let spread = spread(gradients.scores.view(), winners.view(), sub_centres);
                        gradients.scores = spread.expect(ACCEPTED);
                    }
                    geometry.backward(inputs.matrix(0), inputs.matrix(1), &all, &gradients).expect(ACCEPTED)
                });
                head.map_or([None, None, None], |head| {
                    [Some(matrix(head.embeddings)), Some(matrix(head.weight)), Some(vector(head.bias))]
                })
            }
            Source::Scores { .. } => {
                let (of_embeddings, of_weight) = (gradients.embedding_norms.take(), gradients.weight_norms.take());
                [Some(matrix(gradients.scores)), of_embeddings.map(vector), of_weight.map(vector)]
            }
        };
        [first, second, third, number(scale), number(radius)]
    }
}

impl Request {
    /// The gradient of the rows, each weighted by its upstream gradient. `None` where one of these is not finite.
    fn weighted(
        &self,
        inputs: &Inputs,
        made: Option<&Made>,
        state: Option<&LossState>,
        upstream: &[f32],
    ) -> Option<Gradients<f32>> {
        let own = |row: usize| self.host.sample_weights.as_ref().map_or(1.0, |weights| weights[row]);
        let of_sign = |sign: f32| -> Option<Gradients<f32>> {
            let rows = upstream.iter().enumerate();
            let weights: Array1<f32> = rows.map(|(row, slope)| (sign * slope).max(0.0) * own(row)).collect();
            let batch = self.batch(inputs, made, state, Some(weights.view()));
            self.loss.value_and_grad(&batch, self.reduction).ok().map(|(_, gradients)| gradients)
        };
        if upstream.iter().any(|slope| !slope.is_finite()) {
            return None;
        }
        let positive = of_sign(1.0)?;
        if upstream.iter().all(|slope| *slope >= 0.0) {
            return Some(positive);
        }
        Some(difference(positive, &of_sign(-1.0)?))
    }
}

/// The upstream gradient, if all rows have the same. One that is NaN makes all of them so.
fn uniform(upstream: &[f32]) -> Option<f32> {
    let Some(&first) = upstream.first() else { return Some(1.0) };
    upstream.iter().all(|slope| *slope == first || first.is_nan()).then_some(first)
}

fn scaled(gradients: Gradients<f32>, factor: f32) -> Gradients<f32> {
    // The usual upstream gradient; multiplying by 1 would change no bit.
    if factor == 1.0 {
        return gradients;
    }
    let times = |numbers: Array1<f32>| numbers * factor;
    Gradients {
        scores: gradients.scores * factor,
        scale: gradients.scale * factor,
        radius: gradients.radius * factor,
        embedding_norms: gradients.embedding_norms.map(times),
        weight_norms: gradients.weight_norms.map(times),
    }
}

fn difference(a: Gradients<f32>, b: &Gradients<f32>) -> Gradients<f32> {
    let minus = |a: Option<Array1<f32>>, b: &Option<Array1<f32>>| Some(a? - b.as_ref()?);
    Gradients {
        scores: a.scores - &b.scores,
        scale: a.scale - b.scale,
        radius: a.radius - b.radius,
        embedding_norms: minus(a.embedding_norms, &b.embedding_norms),
        weight_norms: minus(a.weight_norms, &b.weight_norms),
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
