//! Initial weights, from the counter-based generator: identical on every machine.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use softmargin::random::{Generator, Purpose};

/// Draws a weight uniformly from +-sqrt(6 / inputs) (He et al. 2015: preserves the variance through a ReLU).
///
/// `number` is the stream of random numbers: the position of the parameter in the model. Uniform draws are bitwise
/// identical on every machine.
pub(super) fn initial_weight<const D: usize>(
    shape: [usize; D],
    inputs: usize,
    seed: u64,
    number: u64,
    device: &Device,
) -> Param<Tensor<D>> {
    let count: usize = shape.iter().product();
    let bound = (6.0 / inputs as f64).sqrt();
    let mut stream = Generator::new(seed, Purpose::Weights, number);
    let values: Vec<f32> = (0..count).map(|_| stream.between(-bound, bound) as f32).collect();
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    Param::initialized(ParamId::new(), tensor.set_require_grad(device.is_autodiff()))
}
