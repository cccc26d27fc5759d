//! What turns a sample into an embedding: convolutions for images, a projection or nothing for embeddings.

use crate::network::{Plan, Recognizer, initial_weight};
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// The layers of an [`Encoder`], as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderPlan {
    /// Convolutions and a fully connected layer: for images.
    Convolutional(Plan),
    /// A linear map without bias and a batch normalization.
    Projection {
        /// Values of a sample.
        inputs: usize,
        /// Numbers in an embedding.
        embedding: usize,
    },
    /// The values of a sample are its embedding.
    None {
        /// Values of a sample, and numbers in an embedding.
        inputs: usize,
    },
}

impl EncoderPlan {
    /// The names of the kinds.
    pub const KINDS: [&str; 3] = ["convolutional", "projection", "none"];

    /// Numbers in an embedding.
    #[must_use]
    pub fn embedding(&self) -> usize {
        match self {
            Self::Convolutional(plan) => plan.embedding,
            Self::Projection { embedding, .. } => *embedding,
            Self::None { inputs } => *inputs,
        }
    }

    /// Values that its first layer makes of a sample: the measure of how many samples are looked at together.
    pub(crate) fn first_layer_values(&self) -> usize {
        match self {
            Self::Convolutional(plan) => plan.first_layer_values(),
            _ => self.embedding().max(1),
        }
    }

    /// Numbers in the kernels and matrices. Saturates: a plan may come from a file that was changed.
    pub(crate) fn weights(&self) -> usize {
        match self {
            Self::Convolutional(plan) => plan.weights(),
            Self::Projection { inputs, embedding } => inputs.saturating_mul(*embedding),
            Self::None { .. } => 0,
        }
    }
}

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

    /// Embeddings (N, E) of samples (N, channels, height, width) with values around 0.
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
        // The first parameter of the encoder, as that of the first convolution is.
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

    #[test]
    fn plans_are_files() {
        for plan in [
            EncoderPlan::Convolutional(Plan::for_images([1, 8, 8], 16)),
            EncoderPlan::Projection { inputs: 3, embedding: 2 },
            EncoderPlan::None { inputs: 3 },
        ] {
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<EncoderPlan>(&text).unwrap(), plan, "{text}");
            assert!(toml::from_str::<EncoderPlan>(&format!("depth = 3\n{text}")).is_err(), "{text}");
        }
    }
}
