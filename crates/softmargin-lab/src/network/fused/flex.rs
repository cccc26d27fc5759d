//! The layer as one operation of Burn's Flex backend, in `f32`.
//!
//! The shape of tensors is (images, channels, height, width); in memory the channels are innermost, from layer to
//! layer, so that nothing is copied in between.

use super::batch_normalization::Statistics;
use super::convolution::Grid;
use super::lanes::LANES;
use super::layer::{Gradients, Kept, Parameters, Shape, backward, infer, train};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients as Upstream;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension,
};
use burn::nn::BatchNorm;
use burn::tensor::{DType, Shape as Sides, Tensor};
use rayon::prelude::*;
use softmargin::InstructionSet;
use softmargin_burn::flex_memory::{self, FlexTensor, elements, is_flex, tensor};
use std::sync::Arc;

/// The differentiable inputs: input, weight, gamma, beta.
const INPUTS: usize = 4;

/// The options of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerOptions {
    pub(crate) stride: usize,
    pub(crate) pool: bool,
    pub(crate) skip: bool,
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// True if the statistics of the batch are used instead of the running ones.
    pub(crate) training: bool,
    /// True if the output is contiguous in the order of its shape, because it is flattened next.
    pub(crate) flat: bool,
}

/// The output of the operation, and the statistics of the batch; only `output` is differentiable.
#[derive(ExtensionType)]
pub(crate) struct LayerTensors<B: Backend> {
    output: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
}

/// The operation.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait LayerOperation: Backend {
    #[allow(clippy::too_many_arguments, reason = "the macro takes tensors one by one")]
    fn layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: Arc<LayerOptions>,
    ) -> LayerTensors<Self>;
}

/// Returns whether the operation supports this layer: `f32` on the CPU, a multiple of `LANES` channels.
pub(crate) fn fits(x: &Tensor<4>, weight: &Tensor<4>) -> bool {
    let whole = weight.dims()[0].is_multiple_of(LANES) && x.dims().iter().all(|&side| side > 0);
    is_flex(&x.device()) && whole && x.dtype() == DType::F32 && weight.dtype() == DType::F32
}

/// Computes the layer's output. In training the running statistics of `normalization` are updated as Burn does it.
pub(crate) fn forward(x: Tensor<4>, weight: Tensor<4>, normalization: &BatchNorm, options: LayerOptions) -> Tensor<4> {
    let device = x.device();
    let of = |state: Tensor<1>| state.to_device(&device);
    let (mean, variance) = (of(normalization.running_mean.value()), of(normalization.running_var.value()));
    let tensors = <Dispatch as LayerOperation>::layer(
        x.into_dispatch(),
        weight.into_dispatch(),
        normalization.gamma.val().into_dispatch(),
        normalization.beta.val().into_dispatch(),
        mean.into_dispatch(),
        variance.into_dispatch(),
        Arc::new(options),
    );
    if options.training {
        let momentum = normalization.momentum;
        let moved = |old: Tensor<1>, new: Tensor<1>| of(old).mul_scalar(1.0 - momentum).add(new.mul_scalar(momentum));
        let [mean, variance] = [tensors.mean, tensors.variance].map(Tensor::from_dispatch);
        normalization.running_mean.update(moved(normalization.running_mean.value_sync(), mean).detach());
        normalization.running_var.update(moved(normalization.running_var.value_sync(), variance).detach());
    }
    Tensor::from_dispatch(tensors.output)
}

impl LayerOperation for Flex {
    fn layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: Arc<LayerOptions>,
    ) -> LayerTensors<Self> {
        let inputs = Inputs::new(&x, &weight, &gamma, &beta, *options);
        if options.training {
            return inputs.train().0;
        }
        let values = |tensor: &FlexTensor| elements(&tensor.to_contiguous()).to_vec();
        let statistics = Statistics { mean: values(&mean), variance: values(&variance) };
        let shape = inputs.shape;
        let output = infer(&shape, elements(&inputs.x), inputs.parameters(), &statistics);
        LayerTensors { output: laid_out(output, &shape, options.flat), mean, variance }
    }
}

impl<C: CheckpointStrategy> LayerOperation for Autodiff<Flex, C> {
    fn layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: Arc<LayerOptions>,
    ) -> LayerTensors<Self> {
        let ((x, of_x), (weight, of_weight)) = (x.into_parts(), weight.into_parts());
        let ((gamma, of_gamma), (beta, of_beta)) = (gamma.into_parts(), beta.into_parts());
        let nodes = [of_x, of_weight, of_gamma, of_beta];
        let (tensors, output) = match LayerBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(operation) => {
                let inputs = Inputs::new(&x, &weight, &gamma, &beta, LayerOptions { training: true, ..*options });
                let (tensors, kept) = inputs.train();
                let state = State { shape: inputs.shape, kept: Arc::new(kept), weight: inputs.weight };
                let output = operation.finish(state, tensors.output.clone());
                (tensors, output)
            }
            OpsKind::UnTracked(operation) => {
                let [mean, variance] = [mean, variance].map(|tensor| tensor.into_parts().0);
                let tensors = Flex::layer(x, weight, gamma, beta, mean, variance, options);
                let output = operation.finish(tensors.output.clone());
                (tensors, output)
            }
        };
        let [mean, variance] = [tensors.mean, tensors.variance].map(Self::from_inner);
        LayerTensors { output, mean, variance }
    }
}

/// The tensors, with their elements in the order of access.
struct Inputs {
    x: FlexTensor,
    weight: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    shape: Shape,
    epsilon: f64,
    flat: bool,
}

impl Inputs {
    fn new(x: &FlexTensor, weight: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, options: LayerOptions) -> Self {
        let sides = x.shape();
        let shape = Shape {
            images: sides[0],
            input: Grid { height: sides[2], width: sides[3], channels: sides[1] },
            channels: weight.shape()[0],
            stride: options.stride,
            pool: options.pool,
            skip: options.skip,
            instructions: InstructionSet::best(),
        };
        let [weight, gamma, beta] = [weight, gamma, beta].map(FlexTensor::to_contiguous);
        let LayerOptions { epsilon, flat, .. } = options;
        Self { x: channels_innermost(x), weight, gamma, beta, shape, epsilon, flat }
    }

    fn parameters(&self) -> Parameters<'_> {
        let [weight, gamma, beta] = [&self.weight, &self.gamma, &self.beta].map(elements);
        Parameters { weight, gamma, beta, epsilon: self.epsilon }
    }

    fn train(&self) -> (LayerTensors<Flex>, Kept) {
        let trained = train(&self.shape, elements(&self.x), self.parameters());
        let output = laid_out(trained.out, &self.shape, self.flat);
        let [mean, variance] = [trained.statistics.mean, trained.statistics.variance].map(vector);
        (LayerTensors { output, mean, variance }, trained.kept)
    }
}

#[derive(Debug)]
struct LayerBackward;

/// The values that backward needs.
#[derive(Clone, Debug)]
struct State {
    shape: Shape,
    kept: Arc<Kept>,
    weight: FlexTensor,
}

impl Backward<Flex, INPUTS> for LayerBackward {
    type State = State;

    fn backward(self, ops: Ops<State, INPUTS>, gradients: &mut Upstream, _: &mut Checkpointer) {
        let upstream = channels_innermost(&gradients.consume::<Flex>(&ops.node));
        let State { shape, kept, weight } = ops.state;
        let wants_input = ops.parents[0].is_some();
        let Gradients { input, weight: of_weight, gamma, beta } =
            backward(&shape, &kept, elements(&weight), elements(&upstream), wants_input);
        let input = input.map(|input| images(input, shape.images, shape.input));
        let of_weight = tensor(of_weight, weight.shape());
        let slopes = [input, Some(of_weight), Some(vector(gamma)), Some(vector(beta))];
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let (Some(node), Some(slope)) = (parent, slope) {
                gradients.register::<Flex>(node.id, slope);
            }
        }
    }
}

/// Orders the elements of (images, channels, height, width) with the channels innermost; copies only if they are not.
fn channels_innermost(tensor: &FlexTensor) -> FlexTensor {
    let turned = tensor.permute(&[0, 2, 3, 1]);
    if turned.is_contiguous() || !tensor.is_contiguous() || tensor.layout().start_offset() > 0 {
        return turned.to_contiguous();
    }
    let shape = tensor.shape();
    let values = transposed(elements(tensor), [shape[1], shape[2] * shape[3]]);
    flex_memory::tensor(values, turned.shape())
}

/// Returns the output of a layer; with `flat`, contiguous in the order of its shape.
fn laid_out(values: Vec<f32>, shape: &Shape, flat: bool) -> FlexTensor {
    let grid = shape.output();
    if !flat {
        return images(values, shape.images, grid);
    }
    let values = transposed(&values, [grid.pixels(), grid.channels]);
    tensor(values, Sides::new([shape.images, grid.channels, grid.height, grid.width]))
}

/// Transposes each image (rows, columns) to (columns, rows).
fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let size = (rows * columns).max(1);
    out.par_chunks_mut(size).zip(values.par_chunks(size)).for_each(|(out, values)| {
        for (column, out) in out.chunks_exact_mut(rows).enumerate() {
            for (out, row) in out.iter_mut().zip(values.chunks_exact(columns)) {
                *out = row[column];
            }
        }
    });
    out
}

fn images(values: Vec<f32>, count: usize, grid: Grid) -> FlexTensor {
    tensor(values, Sides::new([count, grid.height, grid.width, grid.channels])).permute(&[0, 3, 1, 2])
}

fn vector(values: Vec<f32>) -> FlexTensor {
    let length = values.len();
    tensor(values, Sides::new([length]))
}
