//! The encoder turns a sample into an embedding: convolutions for images; a projection, or nothing, for embeddings.

use super::convolutions::Recognizer;
use super::initial_weight::initial_weight;
use crate::config::EncoderPlan;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// Turns samples into embeddings.
#[derive(Module, Debug)]
pub enum Encoder {
    /// Convolutions and a fully connected layer.
    Convolutional(Recognizer),
    /// The values of a sample as they are, or projected.
    Flat(Option<Projection>),
}

/// A linear map without bias and a batch normalization.
#[derive(Module, Debug)]
pub struct Projection {
    linear: Linear,
    normalization: BatchNorm,
}

impl Encoder {
    /// Builds the layers of `plan` with the initial weights of `seed`.
    #[must_use]
    pub fn new(plan: &EncoderPlan, seed: u64, device: &Device) -> Self {
        match plan {
            EncoderPlan::Convolutional(plan) => Self::Convolutional(Recognizer::new(plan, seed, device)),
            EncoderPlan::Projection { inputs, embedding } => {
                Self::Flat(Some(Projection::new(*inputs, *embedding, seed, device)))
            }
            EncoderPlan::None { .. } => Self::Flat(None),
        }
    }

    /// Computes the embeddings (N, D) of samples (N, channels, height, width) with values around 0.
    pub fn forward(&self, samples: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Convolutional(recognizer) => recognizer.forward(samples),
            Self::Flat(projection) => {
                let values = samples.flatten(1, 3);
                projection.as_ref().map_or_else(|| values.clone(), |projection| projection.forward(values.clone()))
            }
        }
    }
}

impl Projection {
    fn new(inputs: usize, embedding: usize, seed: u64, device: &Device) -> Self {
        let mut linear = LinearConfig::new(inputs, embedding).with_bias(false).init(device);
        // Stream 0, as the first convolution.
        linear.weight = initial_weight([inputs, embedding], inputs, seed, 0, device);
        Self { linear, normalization: BatchNormConfig::new(embedding).init(device) }
    }

    fn forward(&self, values: Tensor<2>) -> Tensor<2> {
        self.normalization.forward(self.linear.forward(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(device: &Device) -> Tensor<4> {
        Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]], device).reshape([2, 3, 1, 1])
    }

    #[test]
    fn nothing_gives_the_values_back() {
        let device = Device::flex();
        let encoder = Encoder::new(&EncoderPlan::None { inputs: 3 }, 1, &device);
        let embeddings: Vec<f32> = encoder.forward(samples(&device)).into_data().iter().collect();
        assert_eq!(embeddings, [1.0, 2.0, 3.0, 4.0, 5.0, 7.0]);
        assert_eq!(encoder.num_params(), 0);
    }

    #[test]
    fn a_projection_is_linear_and_its_seed_decides_it() {
        let device = Device::flex();
        let plan = EncoderPlan::Projection { inputs: 3, embedding: 2 };
        let of = |seed| -> Vec<f32> {
            let encoder = Encoder::new(&plan, seed, &device);
            let twice = encoder.forward(samples(&device) * 2.0).into_data();
            let once: Vec<f32> = encoder.forward(samples(&device)).into_data().iter().collect();
            assert!(once.iter().zip(twice.iter::<f32>()).all(|(once, twice)| (2.0 * once - twice).abs() < 1e-5));
            once
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
