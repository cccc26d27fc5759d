//! The loss as one operation of Burn's Flex backend, in `f32`: the core crate computes value and gradients.
//!
//! For embeddings and prototypes, the core crate's head computes the loss; for given scores, its loss does. Forward
//! computes the gradients for an upstream gradient of 1 and stores them with the inputs, which are shared, not copied.
//! Backward multiplies the stored gradients. That is enough for a total, and for rows with one common upstream
//! gradient. Rows with different upstream gradients are computed again with these as weights, once for the positive and
//! once for the negative ones, because the derivatives with respect to scale, radius and prototypes are sums over rows.

use crate::call::{Answer, Call, HeadOperands, LearnedTensors, Operands, Wanted};
use crate::flex_memory::{FlexTensor, elements, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients as Upstream;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{DType, Shape, Tensor, TensorData};
use ndarray::{Array1, Array2, ArrayD, ArrayView1, ArrayView2, arr1};
use softmargin::head::{HeadBatch, HeadGradients, HeadParameters};
use softmargin::sub_centers::pool;
use softmargin::{Batch, Error, Geometry, Gradients, LossState, Reduction, Result, RowInputs};
use std::sync::Arc;

/// The number of tensors that the operation may be differentiated with respect to: three operands, scale and radius.
const TENSORS: usize = 5;
const SCALE: usize = 3;
const RADIUS: usize = 4;

/// A call, and the kinds of its first three tensors.
#[derive(Clone, Debug)]
pub(crate) struct FlexCall {
    call: Call<f32>,
    operands: OperandKinds,
}

/// The kinds of the first three tensors. A tensor that is absent is passed as `[0.0]`.
#[derive(Clone, Copy, Debug)]
enum OperandKinds {
    /// Embeddings (N, D), prototypes (C K, D) and an optional bias (C K).
    Head { geometry: Geometry, sub_centers: usize, bias: bool },
    /// Scores (N, C), and optional norms of embeddings (N) and prototypes (C).
    Scores { embedding_norms: bool, weight_norms: bool },
}

/// The result of the operation. `loss` can be differentiated. `scores` cannot; it is a placeholder unless requested.
#[derive(ExtensionType)]
pub(crate) struct Computed<B: Backend> {
    loss: FloatTensor<B>,
    scores: FloatTensor<B>,
    top: Vec<i64>,
    state: Option<LossState>,
    error: Option<Error>,
}

#[backend_extension(Flex, Autodiff)]
pub(crate) trait MarginOperation: Backend {
    fn margin_loss(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        radius: FloatTensor<Self>,
        call: Arc<FlexCall>,
    ) -> Computed<Self>;
}

/// Computes the loss of tensors that all lie in the Flex backend as `f32`.
pub(crate) fn forward(operands: Operands, learned: LearnedTensors, call: Call<f32>) -> Result<Answer> {
    let (operands, first, second, third) = match operands {
        Operands::Head(HeadOperands { geometry, sub_centers, embeddings, weight, bias }) => {
            let kinds = OperandKinds::Head { geometry, sub_centers, bias: bias.is_some() };
            (kinds, embeddings, Some(weight.into_dispatch()), bias)
        }
        Operands::Scores { scores, embedding_norms, weight_norms } => {
            let (embeddings, weights) = (embedding_norms.is_some(), weight_norms.is_some());
            let kinds = OperandKinds::Scores { embedding_norms: embeddings, weight_norms: weights };
            (kinds, scores, embedding_norms.map(Tensor::into_dispatch), weight_norms)
        }
    };
    let device = first.device();
    let absent = || Tensor::<1>::from_data(TensorData::new(vec![0.0_f32], [1]), (&device, DType::F32));
    let [third, scale, radius] =
        [third, learned.scale, learned.radius].map(|tensor| tensor.unwrap_or_else(absent).into_dispatch());
    let second = second.unwrap_or_else(|| absent().into_dispatch());
    let wanted = call.wanted;
    let call = Arc::new(FlexCall { call, operands });
    let Computed { loss, scores, top, state, error } =
        <Dispatch as MarginOperation>::margin_loss(first.into_dispatch(), second, third, scale, radius, call);
    if let Some(error) = error {
        return Err(error);
    }
    let top = (wanted == Wanted::Top).then(|| {
        let rows = top.len();
        Tensor::from_data(TensorData::new(top, [rows]), &device)
    });
    let scores = (wanted == Wanted::Scores).then(|| Tensor::from_dispatch(scores));
    Ok(Answer { loss: Tensor::from_dispatch(loss), scores, top, state })
}

impl MarginOperation for Flex {
    fn margin_loss(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        radius: FloatTensor<Self>,
        call: Arc<FlexCall>,
    ) -> Computed<Self> {
        let (computed, _) = call.compute(&Inputs::new([first, second, third, scale, radius]), false);
        computed
    }
}

impl<C: CheckpointStrategy> MarginOperation for Autodiff<Flex, C> {
    fn margin_loss(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        radius: FloatTensor<Self>,
        call: Arc<FlexCall>,
    ) -> Computed<Self> {
        let mut tensors = Vec::with_capacity(TENSORS);
        let nodes = [first, second, third, scale, radius].map(|tensor| {
            let (tensor, node) = tensor.into_parts();
            tensors.push(tensor);
            node
        });
        let inputs = Inputs::new(tensors);
        let operation = LossBackward.prepare::<C>(nodes).compute_bound().stateful();
        let (computed, gradients) = call.compute(&inputs, matches!(operation, OpsKind::Tracked(_)));
        let Computed { loss, scores, top, state, error } = computed;
        let loss = match (operation, gradients) {
            (OpsKind::Tracked(operation), Some(gradients)) => {
                let saved = Saved { inputs, gradients: Arc::new(gradients), state: state.clone(), call };
                operation.finish(saved, loss)
            }
            (OpsKind::Tracked(_), None) => Self::from_inner(loss),
            (OpsKind::UnTracked(operation), _) => operation.finish(loss),
        };
        Computed { loss, scores: Self::from_inner(scores), top, state, error }
    }
}

/// The five tensors, each contiguous in memory.
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

    fn number(&self, input: usize) -> f64 {
        f64::from(self.vector(input)[0])
    }
}

/// The results of the core crate.
struct Evaluated {
    rows: Array1<f32>,
    total: f32,
    /// (N): the class of the largest score of each row; empty for given scores.
    top: Vec<i64>,
    gradients: Option<GradientArrays>,
}

/// The gradients with respect to the five tensors, for an upstream gradient of 1.
type GradientArrays = [Option<ArrayD<f32>>; TENSORS];

fn head_gradients(gradients: HeadGradients<f32>) -> GradientArrays {
    let HeadGradients { embeddings, weight, learned } = gradients;
    [
        Some(embeddings.into_dyn()),
        Some(weight.into_dyn()),
        Some(learned.bias.into_dyn()),
        Some(arr1(&[learned.scale]).into_dyn()),
        Some(arr1(&[learned.radius]).into_dyn()),
    ]
}

fn score_gradients(gradients: Gradients<f32>) -> GradientArrays {
    let Gradients { scores, rows } = gradients;
    [
        Some(scores.into_dyn()),
        rows.embedding_norms.map(Array1::into_dyn),
        rows.weight_norms.map(Array1::into_dyn),
        Some(arr1(&[rows.scale]).into_dyn()),
        Some(arr1(&[rows.radius]).into_dyn()),
    ]
}

impl FlexCall {
    fn compute(&self, inputs: &Inputs, with_gradients: bool) -> (Computed<Flex>, Option<GradientArrays>) {
        match self.try_compute(inputs, with_gradients) {
            Ok(computed) => computed,
            Err(error) => {
                let nothing = || into_tensor(arr1(&[0.0]).into_dyn());
                let (loss, scores) = (nothing(), nothing());
                (Computed { loss, scores, top: Vec::new(), state: None, error: Some(error) }, None)
            }
        }
    }

    fn try_compute(&self, inputs: &Inputs, with_gradients: bool) -> Result<(Computed<Flex>, Option<GradientArrays>)> {
        let mut state = self.call.state.clone();
        if let (true, Some(state)) = (self.call.trains, &mut state) {
            self.update(inputs, state)?;
        }
        let Evaluated { rows, total, top, gradients } = self.evaluate(inputs, state.as_ref(), None, with_gradients)?;
        let loss = if self.call.reduction == Reduction::None { rows } else { arr1(&[total]) };
        let (loss, scores) = (into_tensor(loss.into_dyn()), self.scores(inputs)?);
        Ok((Computed { loss, scores, top, state, error: None }, gradients))
    }

    /// Returns the scores if they are requested, else any tensor.
    fn scores(&self, inputs: &Inputs) -> Result<FlexTensor> {
        let OperandKinds::Head { geometry, sub_centers, bias } = self.operands else { return Ok(inputs.0[0].clone()) };
        if self.call.wanted != Wanted::Scores {
            return Ok(inputs.0[SCALE].clone());
        }
        let bias = bias.then(|| inputs.vector(2));
        let all = geometry.scores(inputs.matrix(0), inputs.matrix(1), bias)?.scores;
        let scores: Array2<f32> = if sub_centers > 1 { pool(all.view(), sub_centers)?.scores } else { all };
        Ok(into_tensor(scores.into_dyn()))
    }

    /// Updates the moving averages of a state with the batch.
    fn update(&self, inputs: &Inputs, state: &mut LossState) -> Result<()> {
        let rows = self.rows(inputs, None, None);
        match self.operands {
            OperandKinds::Head { bias, .. } => {
                self.call.head.update(state, &HeadBatch::new(inputs.matrix(0), rows), self.parameters(inputs, bias))
            }
            OperandKinds::Scores { .. } => self.call.loss().update(state, &Batch::new(inputs.matrix(0), rows)),
        }
    }

    /// Computes value and gradients. If given, `weights` replaces the sample weights.
    fn evaluate(
        &self,
        inputs: &Inputs,
        state: Option<&LossState>,
        weights: Option<ArrayView1<'_, f32>>,
        with_gradients: bool,
    ) -> Result<Evaluated> {
        let Call { head, reduction, .. } = &self.call;
        let rows = self.rows(inputs, weights, state);
        if let OperandKinds::Head { bias, .. } = self.operands {
            let (batch, parameters) = (HeadBatch::new(inputs.matrix(0), rows), self.parameters(inputs, bias));
            let (value, gradients) = if with_gradients {
                let (value, gradients) = head.value_and_grad(&batch, parameters, *reduction)?;
                (value, Some(head_gradients(gradients)))
            } else {
                (head.value(&batch, parameters, *reduction)?, None)
            };
            let top = value.statistics.top.to_vec();
            return Ok(Evaluated { rows: value.rows, total: value.total, top, gradients });
        }
        let (scale, radius) = self.learned(inputs);
        let mut batch = Batch::new(inputs.matrix(0), rows);
        batch = scale.map_or(batch, |scale| batch.with_scale(scale));
        batch = radius.map_or(batch, |radius| batch.with_radius(radius));
        let (value, gradients) = if with_gradients {
            let (value, gradients) = head.loss().value_and_grad(&batch, *reduction)?;
            (value, Some(score_gradients(gradients)))
        } else {
            (head.loss().value(&batch, *reduction)?, None)
        };
        Ok(Evaluated { rows: value.rows, total: value.total, top: Vec::new(), gradients })
    }

    fn rows<'a>(
        &'a self,
        inputs: &'a Inputs,
        weights: Option<ArrayView1<'a, f32>>,
        state: Option<&'a LossState>,
    ) -> RowInputs<'a, f32> {
        let mut rows = self.call.rows.inputs(weights, state);
        if let OperandKinds::Scores { embedding_norms: true, .. } = self.operands {
            rows = rows.with_embedding_norms(inputs.vector(1));
        }
        if let OperandKinds::Scores { weight_norms: true, .. } = self.operands {
            rows = rows.with_weight_norms(inputs.vector(2));
        }
        rows
    }

    fn parameters<'a>(&self, inputs: &'a Inputs, bias: bool) -> HeadParameters<'a, f32> {
        let (scale, radius) = self.learned(inputs);
        let mut parameters = HeadParameters::new(inputs.matrix(1));
        parameters = if bias { parameters.with_bias(inputs.vector(2)) } else { parameters };
        parameters = scale.map_or(parameters, |scale| parameters.with_scale(scale));
        radius.map_or(parameters, |radius| parameters.with_radius(radius))
    }

    /// Returns the scale, clamped to its bounds, and the radius, if the loss learns them.
    fn learned(&self, inputs: &Inputs) -> (Option<f64>, Option<f64>) {
        let has_radius = self.call.loss().spec().regularizer.is_some_and(|term| term.initial_radius().is_some());
        let scale = self.call.scale.is_learned().then(|| inputs.number(SCALE));
        let learned = self.call.learned(scale, has_radius.then(|| inputs.number(RADIUS)));
        (learned.scale, learned.radius)
    }
}

#[derive(Debug)]
struct LossBackward;

/// The values that forward stores for backward.
#[derive(Clone, Debug)]
struct Saved {
    inputs: Inputs,
    gradients: Arc<GradientArrays>,
    /// The state that the loss was computed with.
    state: Option<LossState>,
    call: Arc<FlexCall>,
}

impl Backward<Flex, TENSORS> for LossBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, TENSORS>, gradients: &mut Upstream, _: &mut Checkpointer) {
        let upstream = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let of_inputs = ops.state.gradients(elements(&upstream));
        for (parent, gradient) in ops.parents.into_iter().zip(of_inputs) {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(node.id, into_tensor(gradient));
            }
        }
    }
}

impl Saved {
    /// Computes the gradients with respect to the five tensors, given the upstream gradient.
    fn gradients(self, upstream: &[f32]) -> GradientArrays {
        let Self { inputs, gradients, state, call } = self;
        let stored = |factor: f32| Arc::unwrap_or_clone(gradients).map(|array| Some(times(array?, factor)));
        let mut gradients = match uniform(upstream) {
            Some(factor) => stored(factor),
            None => call.weighted(&inputs, state.as_ref(), upstream).unwrap_or_else(|| stored(f32::NAN)),
        };
        let (scale, parameter) = (call.call.scale, inputs.number(SCALE));
        if let Some(slope) = &mut gradients[SCALE] {
            slope.mapv_inplace(|slope| scale.parameter_derivative(parameter, slope.into()) as f32);
        }
        gradients
    }
}

impl FlexCall {
    /// Computes the gradients with each row weighted by its upstream gradient. `None` if one of these is not finite.
    fn weighted(&self, inputs: &Inputs, state: Option<&LossState>, upstream: &[f32]) -> Option<GradientArrays> {
        let of_sign = |sign: f32| -> Option<GradientArrays> {
            let rows = upstream.iter().enumerate();
            let weight = |(row, slope): (usize, &f32)| (sign * slope).max(0.0) * self.call.rows.sample_weight(row);
            let weights: Array1<f32> = rows.map(weight).collect();
            self.evaluate(inputs, state, Some(weights.view()), true).ok()?.gradients
        };
        if upstream.iter().any(|slope| !slope.is_finite()) {
            return None;
        }
        let mut gradients = of_sign(1.0)?;
        if upstream.iter().any(|slope| *slope < 0.0) {
            for (positive, negative) in gradients.iter_mut().zip(of_sign(-1.0)?) {
                *positive = positive.take().zip(negative).map(|(positive, negative)| positive - negative);
            }
        }
        Some(gradients)
    }
}

/// Returns the upstream gradient if all rows have the same, or NaN if the first is NaN.
fn uniform(upstream: &[f32]) -> Option<f32> {
    let Some(&first) = upstream.first() else { return Some(1.0) };
    upstream.iter().all(|slope| *slope == first || first.is_nan()).then_some(first)
}

fn times(array: ArrayD<f32>, factor: f32) -> ArrayD<f32> {
    // The usual upstream gradient is 1, which needs no pass over the memory.
    if factor == 1.0 { array } else { array * factor }
}

/// Converts an array to a tensor, without copying if the elements fill their memory in standard order.
fn into_tensor(array: ArrayD<f32>) -> FlexTensor {
    let shape = Shape::from(array.shape().to_vec());
    let values = if array.is_standard_layout() {
        let length = array.len();
        match array.into_raw_vec_and_offset() {
            (memory, Some(start)) if start > 0 || memory.len() != length => memory[start..start + length].to_vec(),
            (memory, _) => memory,
        }
    } else {
        array.iter().copied().collect()
    };
    tensor(values, shape)
}
