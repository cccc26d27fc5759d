//! Gradient clipping: scales the gradients `g` of all parameters so that their common norm is at most `limit`.
//!
//! ```text
//! g <- g min(1, limit / |g|),  |g|^2 = sum over all parameters of the squares of their gradients
//! ```
//!
//! One factor for all parameters preserves the direction of the step. A norm that is not finite changes nothing: the
//! checks of the loss and of the parameters report it. Pascanu, Mikolov, Bengio 2012, arXiv 1211.5063.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Clips the gradients of a module to the norm `limit`, and returns their norm before.
pub(super) fn clip<M: Module>(module: &M, gradients: &mut GradientsParams, limit: f64) -> f64 {
    let mut squares = Squares { gradients, sum: 0.0 };
    module.visit(&mut squares);
    let norm = squares.sum.sqrt();
    if norm.is_finite() && norm > limit {
        module.visit(&mut Shorten { gradients, factor: limit / norm });
    }
    norm
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            // In f64 and in order: the square of an f32 cannot overflow, and the sum does not depend on the threads.
            self.sum += gradient.into_data().iter::<f32>().map(|value| f64::from(value).powi(2)).sum::<f64>();
        }
    }
}

struct Shorten<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Shorten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Two parameters with the gradients (3 s, 0) and (0, 4 s), whose common norm is 5 s.
    fn problem(scale: f32) -> (Vec<Param<Tensor<1>>>, GradientsParams) {
        let device = Device::flex().autodiff();
        let param = |row: [f32; 2]| Param::from_tensor(Tensor::<1>::from_floats(row, &device));
        let module = vec![param([1.0, 2.0]), param([3.0, 4.0])];
        let along = |row: [f32; 2]| Tensor::<1>::from_floats(row, &device);
        let loss =
            (module[0].val() * along([3.0 * scale, 0.0])).sum() + (module[1].val() * along([0.0, 4.0 * scale])).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        (module, gradients)
    }

    fn clipped(scale: f32, limit: f64) -> (f64, Vec<f32>) {
        let (module, mut gradients) = problem(scale);
        let norm = clip(&module, &mut gradients, limit);
        let values = module.iter().flat_map(|param| {
            gradients.get::<1>(param.id).map(|gradient| gradient.into_data().iter::<f32>().collect::<Vec<_>>()).unwrap()
        });
        (norm, values.collect())
    }

    #[test]
    fn the_norm_of_all_counts_and_the_direction_stays() {
        let (norm, values) = clipped(1.0, 1.0);
        assert_eq!(norm, 5.0);
        for (value, expected) in values.iter().zip([0.6, 0.0, 0.0, 0.8]) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn gradients_within_the_limit_keep_every_bit() {
        assert_eq!(clipped(1.0, 5.0), (5.0, vec![3.0, 0.0, 0.0, 4.0]));
    }

    #[test]
    fn squares_beyond_single_precision_are_no_infinity() {
        let (norm, values) = clipped(1e30, 5.0);
        assert!((norm / 5e30 - 1.0).abs() < 1e-6, "{norm}");
        assert!((values[0] - 3.0).abs() < 1e-5 && (values[3] - 4.0).abs() < 1e-5, "{values:?}");
    }
}
