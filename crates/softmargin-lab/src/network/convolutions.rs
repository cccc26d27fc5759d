//! The convolutional network: image -> convolutions -> fully connected layer -> embedding.
//!
//! On the CPU a layer is one fused operation; on other devices it is composed of Burn's operations.

use super::fused;
use super::initial_weight::initial_weight;
use crate::config::{Convolution, ConvolutionalPlan};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation::relu};

/// A convolution, batch normalization, skip connection, 2 x 2 maximum and ReLU.
#[derive(Module, Debug)]
pub(super) struct Layer {
    pub(super) convolution: Conv2d,
    pub(super) normalization: BatchNorm,
    pool: Option<MaxPool2d>,
    skip: bool,
}

impl Layer {
    pub(super) fn new(inputs: usize, plan: &Convolution, device: &Device) -> Self {
        let convolution = Conv2dConfig::new([inputs, plan.channels], [3, 3])
            .with_stride([plan.stride, plan.stride])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_bias(false)
            .init(device);
        Self {
            convolution,
            normalization: BatchNormConfig::new(plan.channels).init(device),
            pool: plan.pool.then(|| MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init()),
            skip: plan.skip,
        }
    }

    /// Computes the layer's output; `flat` tells whether it is flattened next.
    pub(super) fn forward(&self, x: Tensor<4>, flat: bool) -> Tensor<4> {
        // The rule by which Burn's batch normalization chooses between batch and running statistics.
        let differentiable = x.device().is_autodiff();
        let training = differentiable && self.normalization.training.is_enabled();
        let weight = self.convolution.weight.val();
        if training == differentiable && fused::fits(&x, &weight) {
            let options = fused::LayerOptions {
                stride: self.convolution.stride[0],
                pool: self.pool.is_some(),
                skip: self.skip,
                epsilon: self.normalization.epsilon,
                training,
                flat,
            };
            return fused::forward(x, weight, &self.normalization, options);
        }
        self.composed(x)
    }

    /// Computes the layer's output with Burn's operations, on any device.
    pub(super) fn composed(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.normalization.forward(self.convolution.forward(x.clone()));
        let y = if self.skip { y + x } else { y };
        // The maximum first: ReLU commutes with it and then works on a quarter of the values.
        match &self.pool {
            Some(pool) => relu(pool.forward(y)),
            None => relu(y),
        }
    }
}

/// A convolutional network that turns images into embeddings.
#[derive(Module, Debug)]
pub struct Recognizer {
    layers: Vec<Layer>,
    embedding: Linear,
    normalization: BatchNorm,
}

impl Recognizer {
    /// Builds the network of `plan` with the initial weights of `seed`.
    pub fn new(plan: &ConvolutionalPlan, seed: u64, device: &Device) -> Self {
        let mut channels = plan.image[0];
        let layers = plan
            .convolutions
            .iter()
            .map(|convolution| {
                let inputs = std::mem::replace(&mut channels, convolution.channels);
                Layer::new(inputs, convolution, device)
            })
            .collect();
        let [height, width] = plan.remaining();
        let mut network = Self {
            layers,
            embedding: LinearConfig::new(channels * height * width, plan.embedding).with_bias(false).init(device),
            normalization: BatchNormConfig::new(plan.embedding).init(device),
        };
        let mut number = 0;
        for layer in &mut network.layers {
            let shape = layer.convolution.weight.dims();
            layer.convolution.weight = initial_weight(shape, shape[1..].iter().product(), seed, number, device);
            number += 1;
        }
        // Burn stores a fully connected weight as (inputs, outputs).
        let shape = network.embedding.weight.dims();
        network.embedding.weight = initial_weight(shape, shape[0], seed, number, device);
        network
    }

    /// Computes the embeddings (N, D) of images (N, channels, height, width) with values around 0.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, number + 1 == self.layers.len());
        }
        self.normalization.forward(self.embedding.forward(x.flatten(1, 3)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gives_embeddings() {
        let device = Device::flex();
        for (height, width) in [(1, 1), (1, 9), (2, 30), (8, 8), (9, 7), (31, 17), (50, 49)] {
            let plan = ConvolutionalPlan::for_images([3, height, width], 10);
            let network = Recognizer::new(&plan, 1, &device);
            let images = Tensor::zeros([2, 3, height, width], &device);
            assert_eq!(network.forward(images).dims(), [2, 10], "{height} x {width}");
        }
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let plan = ConvolutionalPlan::for_images([1, 8, 8], 16);
        let weight = |seed| Recognizer::new(&plan, seed, &Device::flex()).embedding.weight.val().into_data();
        assert_eq!(weight(1), weight(1));
        assert_ne!(weight(1), weight(2));
    }
}
