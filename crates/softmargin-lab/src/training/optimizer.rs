//! The step of a parameter `w` with gradient `g`, learning rate `r` and weight decay `d`.
//!
//! ```text
//! sgd     g += d w;  v <- momentum v + g;  w -= r (g + momentum v)                               (Nesterov)
//! adamw   m <- b1 m + (1 - b1) g;  q <- b2 q + (1 - b2) g^2;  w -= r d w + r m' / (sqrt(q') + epsilon)
//! ```
//!
//! `m'` and `q'` are `m` and `q` divided by `1 - b1^t` and `1 - b2^t` in step t. Weight decay applies to matrices and
//! kernels, not to vectors: biases, scales and shifts of normalizations, a learned scale of the loss. Nesterov's
//! momentum as in Sutskever et al. 2013; AdamW: Loshchilov and Hutter 2017, arXiv 1711.05101.

use super::nesterov::Nesterov;
use crate::config::OptimizerConfig;
use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use burn::tensor::Tensor;

impl OptimizerConfig {
    /// Builds the optimizer of a model's parameters.
    pub(super) fn build<M: Module>(self, model: &M, weight_decay: f64) -> ModuleOptimizer {
        let mut vectors = Vectors::default();
        model.visit(&mut vectors);
        let vectors = ParamGroup::from_ids(vectors.0);
        match self {
            Self::Sgd { momentum } => {
                let decayed: ModuleOptimizer = Nesterov::new(momentum, weight_decay).into();
                decayed.with_group(vectors, Nesterov::new(momentum, 0.0), None)
            }
            Self::Adamw { beta_1, beta_2, epsilon } => {
                let plain = AdamWConfig::new().with_beta_1(single(beta_1)).with_beta_2(single(beta_2));
                let plain = plain.with_epsilon(single(epsilon)).with_weight_decay(0.0);
                let decayed: ModuleOptimizer = plain.clone().with_weight_decay(single(weight_decay)).build().into();
                decayed.with_group(vectors, plain.build(), None)
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the optimizers take single precision")]
fn single(value: f64) -> f32 {
    value as f32
}

/// The ids of vectors (biases, scales, shifts), which have no weight decay.
#[derive(Default)]
struct Vectors(Vec<ParamId>);

impl ModuleVisitor for Vectors {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 1 {
            self.0.push(param.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::GradientsParams;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Pair {
        matrix: Param<Tensor<2>>,
        vector: Param<Tensor<1>>,
    }

    /// Returns two parameters, both 1 at the start, after some steps at the rate 0.1 with a constant gradient.
    fn after(optimizer: OptimizerConfig, weight_decay: f64, gradient: f32, steps: usize) -> [f64; 2] {
        let device = Device::flex().autodiff();
        let mut pair = Pair {
            matrix: Param::from_tensor(Tensor::from_floats([[1.0]], &device)),
            vector: Param::from_tensor(Tensor::from_floats([1.0], &device)),
        };
        let mut optimizer = optimizer.build(&pair, weight_decay);
        for _ in 0..steps {
            let loss = pair.matrix.val().sum().mul_scalar(gradient) + pair.vector.val().sum().mul_scalar(gradient);
            let gradients = GradientsParams::from_grads(loss.backward(), &pair);
            pair = optimizer.step(0.1, pair, gradients);
        }
        [f64::from(pair.matrix.val().into_scalar::<f32>()), f64::from(pair.vector.val().into_scalar::<f32>())]
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    #[test]
    fn sgd_takes_nesterovs_steps() {
        // v = 1, then 1.9; the steps are 0.1 (1 + 0.9 v).
        let [matrix, vector] = after(OptimizerConfig::Sgd { momentum: 0.9 }, 0.0, 1.0, 2);
        close(matrix, 1.0 - 0.19 - 0.271);
        close(vector, matrix);
    }

    #[test]
    fn adamw_takes_steps_of_the_rate_whatever_the_gradient() {
        for gradient in [1e-3, 1.0, 1e3] {
            let optimizer = OptimizerConfig::Adamw { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 };
            let [matrix, vector] = after(optimizer, 0.0, gradient, 3);
            assert!((matrix - 0.7).abs() < 1e-4 && (vector - 0.7).abs() < 1e-4, "{gradient}: {matrix} {vector}");
        }
    }

    #[test]
    fn matrices_are_decayed_and_vectors_are_not() {
        let [matrix, vector] = after(OptimizerConfig::Sgd { momentum: 0.0 }, 0.5, 0.0, 1);
        close(matrix, 0.95);
        close(vector, 1.0);
        let adamw = OptimizerConfig::Adamw { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 };
        let [matrix, vector] = after(adamw, 0.5, 0.0, 1);
        close(matrix, 0.95);
        close(vector, 1.0);
    }
}
