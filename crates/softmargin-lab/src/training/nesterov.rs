//! Stochastic gradient descent with Nesterov momentum (Sutskever et al. 2013), in one pass over a parameter.
//!
//! ```text
//! g' = g + decay w;   v <- g' + momentum v;   w <- w - rate (g' + momentum v)
//! ```
//!
//! `v` starts as `g'`. Bitwise identical to Burn's `Sgd`, which makes nine passes over the parameter.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{DType, Device, Tensor};
use rayon::prelude::*;
use softmargin_burn::flex_memory::{self, elements, is_flex};

/// The least number of values per task.
const CHUNK: usize = 1 << 14;

/// The name of the tensor in a record of the optimizer.
const VELOCITY: &str = "velocity";

/// The optimizer of some parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nesterov {
    momentum: f32,
    decay: f32,
}

impl Nesterov {
    #[expect(clippy::cast_possible_truncation, reason = "parameters are in single precision")]
    pub(crate) fn new(momentum: f64, decay: f64) -> Self {
        Self { momentum: momentum as f32, decay: decay as f32 }
    }
}

/// The state of the optimizer for a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Velocity<const D: usize> {
    velocity: Tensor<D>,
}

impl<const D: usize> RecordState for Velocity<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, VELOCITY, self.velocity.to_data());
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        src.take_tensor(prefix, VELOCITY).map(|data| Self { velocity: Tensor::from_data(data, device) })
    }
}

impl Optimizer for Nesterov {
    type State<const D: usize> = Velocity<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Velocity<D>>,
    ) -> (Tensor<D>, Option<Velocity<D>>) {
        let velocity = state.map(|state| state.velocity);
        let (tensor, velocity) = if fits(&tensor) && fits(&gradient) {
            self.fused(rate, tensor, gradient, velocity)
        } else {
            self.composed(rate, tensor, gradient, velocity)
        };
        (tensor, Some(Velocity { velocity }))
    }

    fn to_device<const D: usize>(state: Velocity<D>, device: &Device) -> Velocity<D> {
        Velocity { velocity: state.velocity.to_device(device) }
    }
}

impl Nesterov {
    fn composed<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        velocity: Option<Tensor<D>>,
    ) -> (Tensor<D>, Tensor<D>) {
        let gradient = if self.decay == 0.0 { gradient } else { tensor.clone().mul_scalar(self.decay).add(gradient) };
        let velocity = match velocity {
            Some(velocity) => gradient.clone().add(velocity.mul_scalar(self.momentum)),
            None => gradient.clone(),
        };
        let direction = velocity.clone().mul_scalar(self.momentum).add(gradient);
        (tensor - direction.mul_scalar(rate), velocity)
    }

    fn fused<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        velocity: Option<Tensor<D>>,
    ) -> (Tensor<D>, Tensor<D>) {
        #[expect(clippy::cast_possible_truncation, reason = "as Burn multiplies a tensor in single precision")]
        let factors = Factors { optimizer: *self, rate: rate as f32, first: velocity.is_none() };
        // In the first step the velocity is not read.
        let velocity = velocity.unwrap_or_else(|| gradient.zeros_like());
        let moved = <Dispatch as StepOperation>::step(
            tensor.into_dispatch(),
            gradient.into_dispatch(),
            velocity.into_dispatch(),
            factors,
        );
        (Tensor::from_dispatch(moved.tensor), Tensor::from_dispatch(moved.velocity))
    }
}

fn fits<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device();
    is_flex(&device) && !device.is_autodiff() && tensor.dtype() == DType::F32
}

/// The scalars of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    optimizer: Nesterov,
    rate: f32,
    first: bool,
}

/// A parameter after a step, and its velocity.
#[derive(ExtensionType)]
pub(crate) struct Moved<B: Backend> {
    tensor: FloatTensor<B>,
    velocity: FloatTensor<B>,
}

/// A step as one operation.
#[backend_extension(Flex)]
pub(crate) trait StepOperation: Backend {
    fn step(
        tensor: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        factors: Factors,
    ) -> Moved<Self>;
}

impl StepOperation for Flex {
    fn step(
        tensor: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        factors: Factors,
    ) -> Moved<Self> {
        let shape = tensor.shape();
        let inputs = [tensor, gradient, velocity].map(|tensor| tensor.to_contiguous());
        let [tensor, gradient, velocity] = inputs.each_ref().map(elements);
        let (mut moved, mut direction) = (Vec::new(), Vec::new());
        let numbers = tensor.par_iter().zip(gradient).zip(velocity).with_min_len(CHUNK);
        numbers.map(|((w, g), v)| factors.apply(*w, *g, *v)).unzip_into_vecs(&mut moved, &mut direction);
        let [tensor, velocity] = [moved, direction].map(|values| flex_memory::tensor(values, shape.clone()));
        Moved { tensor, velocity }
    }
}

impl Factors {
    /// Computes a value of the parameter and of its velocity after the step.
    #[inline(always)]
    fn apply(self, w: f32, g: f32, v: f32) -> (f32, f32) {
        let Nesterov { momentum, decay } = self.optimizer;
        let slope = if decay == 0.0 { g } else { w * decay + g };
        let velocity = if self.first { slope } else { slope + v * momentum };
        (w - (velocity * momentum + slope) * self.rate, velocity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::SgdConfig;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::momentum::MomentumConfig;
    use burn::tensor::Distribution;

    #[test]
    fn bitwise_identical_to_burns_sgd_and_to_the_composed_step() {
        let device = Device::flex();
        let random = |rows| Tensor::<2>::random([rows, 37], Distribution::Uniform(-1.0, 1.0), &device);
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0).with_nesterov(true);
        let plain = SgdConfig::new().with_momentum(Some(momentum));
        for decay in [0.0, 5e-4] {
            let burn = if decay == 0.0 {
                plain.build()
            } else {
                plain.clone().with_weight_decay(Some(WeightDecayConfig::new(decay as f32))).build()
            };
            let own = Nesterov::new(0.9, decay);
            let start = random(1000);
            let (mut a, mut b, mut c) = (start.clone(), start.clone(), start.clone());
            let (mut state_a, mut state_b, mut velocity) = (None, None, None);
            for step in 0..4 {
                // Some of the gradients are parts of a larger tensor.
                let gradient =
                    if step == 2 { random(1000) } else { Tensor::cat(vec![random(37); 28], 0).narrow(0, 0, 1000) };
                let rate = 0.1 / f64::from(step + 1);
                (a, state_a) = own.step(rate, a, gradient.clone(), state_a);
                (b, state_b) = burn.step(rate, b, gradient.clone(), state_b);
                let (tensor, moved) = own.composed(rate, c, gradient, velocity);
                (c, velocity) = (tensor, Some(moved));
                assert!(a.to_data() == b.to_data() && a.to_data() == c.to_data(), "step {step}, decay {decay}");
            }
            assert!(a.to_data() != start.to_data());
        }
    }
}
