//! The default recognizer: image -> convolutions -> fully connected layer -> embedding.
//!
//! One rule, [`Plan::for_images`], turns the image size into layers, so that nobody has to choose. On the CPU a layer is
//! one fused operation; elsewhere it is composed of Burn's operations.

mod fused;

pub use fused::{PARTS, profile};

use burn::module::{Module, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData, activation::relu};

use crate::generator::{Generator, Purpose};
use serde::{Deserialize, Serialize};

/// One convolution of a [`Plan`]: 3 x 3, padded by one, then batch normalization and ReLU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Convolution {
    /// Channels that come out.
    pub channels: usize,
    /// 2 halves the image, 1 keeps its size.
    pub stride: usize,
    /// Whether a 2 x 2 maximum follows, which halves the image too.
    pub pool: bool,
    /// Whether the input is added to the output (same channels, same size).
    pub skip: bool,
}

/// The layers of a [`Recognizer`], as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// Channels, height and width of the images.
    pub image: [usize; 3],
    /// Numbers in an embedding.
    pub embedding: usize,
    /// The convolutions, first to last.
    pub convolutions: Vec<Convolution>,
}

/// Larger images are halved by the first convolution already.
const LARGE_SIDE: usize = 48;
/// The convolutions leave at most this many rows and columns where pooling can bring them there, so that the fully
/// connected layer stays small.
const LAST_SIDE: usize = 7;
/// Channels of the first stage; every stage doubles them up to the widest.
const FIRST_CHANNELS: usize = 16;
const WIDEST: usize = 128;

impl Plan {
    /// The default layers for images of (channels, height, width).
    ///
    /// Stages of 16, 32, 64, 128 channels, three at least, each ended by a 2 x 2 maximum as late as possible, until
    /// at most 7 x 7 values a channel are left; a last convolution refines them with a skip connection. A maximum halves
    /// both sides: of an elongated image more than 7 values are left along the long side once the short one is down to 1.
    /// 8 x 8: 16, 32 pool, 64, 64. 28 x 28: 16 pool, 32 pool, 64, 64. 64 x 64: 16 stride 2 pool, 32 pool,
    /// 64 pool, 128, 128.
    pub fn for_images(image: [usize; 3], embedding: usize) -> Self {
        let [_, height, width] = image;
        let stride = if height.min(width) >= LARGE_SIDE { 2 } else { 1 };
        let (mut largest, mut smallest) = (height.max(width).div_ceil(stride), height.min(width).div_ceil(stride));
        let mut pools = 0;
        while largest > LAST_SIDE && smallest >= 2 {
            (largest, smallest, pools) = (largest / 2, smallest / 2, pools + 1);
        }
        let stages = (pools + 1).max(3);
        let mut convolutions: Vec<Convolution> = (0..stages)
            .map(|stage| Convolution {
                channels: WIDEST.min(FIRST_CHANNELS << stage.min(16)),
                stride: if stage == 0 { stride } else { 1 },
                pool: stage + 1 < stages && stage + 1 + pools >= stages,
                skip: false,
            })
            .collect();
        if let Some(last) = convolutions.last().cloned() {
            convolutions.push(Convolution { stride: 1, skip: true, ..last });
        }
        Self { image, convolutions, embedding }
    }

    /// Height and width of what the convolutions leave.
    fn remaining(&self) -> [usize; 2] {
        let [_, height, width] = self.image;
        self.convolutions.iter().fold([height, width], |sides, c| c.after_pool(c.before_pool(sides)))
    }

    /// Values that the first convolution makes of one image: the measure of how many images are looked at together,
    /// because later layers make more of small images only.
    pub(crate) fn first_layer_values(&self) -> usize {
        let [_, height, width] = self.image;
        self.convolutions.first().map_or(1, |first| {
            let [height, width] = first.before_pool([height, width]);
            first.channels.saturating_mul(height).saturating_mul(width).max(1)
        })
    }

    /// Numbers in the kernels and matrices. Saturates: a plan may come from a file that was changed.
    pub(crate) fn weights(&self) -> usize {
        let mut inputs = self.image[0];
        let mut count = 0_usize;
        for convolution in &self.convolutions {
            count = count.saturating_add(inputs.saturating_mul(convolution.channels).saturating_mul(9));
            inputs = convolution.channels;
        }
        let values = self.remaining().into_iter().fold(inputs, usize::saturating_mul);
        count.saturating_add(values.saturating_mul(self.embedding))
    }
}

impl Convolution {
    /// Height and width of its output; padded by one, a stride rounds up.
    pub(crate) fn before_pool(&self, sides: [usize; 2]) -> [usize; 2] {
        sides.map(|side| side.div_ceil(self.stride))
    }

    /// Height and width after the maximum, if it has one, which rounds down.
    pub(crate) fn after_pool(&self, sides: [usize; 2]) -> [usize; 2] {
        if self.pool { sides.map(|side| side / 2) } else { sides }
    }
}

#[derive(Module, Debug)]
struct Layer {
    convolution: Conv2d,
    normalization: BatchNorm,
    pool: Option<MaxPool2d>,
    skip: bool,
}

impl Layer {
    fn new(inputs: usize, plan: &Convolution, device: &Device) -> Self {
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

    /// `flat`: whether the output is about to be flattened.
    fn forward(&self, x: Tensor<4>, flat: bool) -> Tensor<4> {
        // As batch normalization in Burn decides which statistics it takes.
        let differentiable = x.device().is_autodiff();
        let training = differentiable && self.normalization.training.is_enabled();
        let weight = self.convolution.weight.val();
        if training == differentiable && fused::fits(&x, &weight) {
            let request = fused::Request {
                stride: self.convolution.stride[0],
                pool: self.pool.is_some(),
                skip: self.skip,
                epsilon: self.normalization.epsilon,
                training,
                flat,
            };
            return fused::forward(x, weight, &self.normalization, request);
        }
        self.composed(x)
    }

    /// The layer out of Burn's own operations, for every device.
    fn composed(&self, x: Tensor<4>) -> Tensor<4> {
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
    pub fn new(plan: &Plan, seed: u64, device: &Device) -> Self {
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
        // Burn keeps a fully connected weight as (inputs, outputs).
        let shape = network.embedding.weight.dims();
        network.embedding.weight = initial_weight(shape, shape[0], seed, number, device);
        network
    }

    /// Embeddings (N, E) of images (N, channels, height, width) with values around 0.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, number + 1 == self.layers.len());
        }
        self.normalization.forward(self.embedding.forward(x.flatten(1, 3)))
    }
}

/// A weight drawn evenly from +-sqrt(6 / inputs) (He et al. 2015: keeps the variance through a ReLU).
///
/// Uniform, because its draws are the same bits on every machine.
pub fn initial_weight<const D: usize>(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(side: usize) -> String {
        let plan = Plan::for_images([1, side, side], 128);
        let one = |c: &Convolution| {
            format!(
                "{}{}{}{}",
                c.channels,
                ["", "s"][c.stride - 1],
                ["", "p"][usize::from(c.pool)],
                ["", "r"][usize::from(c.skip)]
            )
        };
        let layers: Vec<String> = plan.convolutions.iter().map(one).collect();
        format!("{} -> {}", layers.join(" "), plan.remaining()[0])
    }

    #[test]
    fn the_rule_for_common_sizes() {
        assert_eq!(text(1), "16 32 64 64r -> 1");
        assert_eq!(text(8), "16 32p 64 64r -> 4");
        assert_eq!(text(28), "16p 32p 64 64r -> 7");
        assert_eq!(text(32), "16p 32p 64p 128 128r -> 4");
        assert_eq!(text(64), "16sp 32p 64p 128 128r -> 4");
        assert_eq!(text(105), "16sp 32p 64p 128 128r -> 6");
        assert_eq!(text(224), "16sp 32p 64p 128p 128 128r -> 7");
    }

    #[test]
    fn every_size_gives_embeddings() {
        let device = Device::flex();
        for (height, width) in [(1, 1), (1, 9), (2, 30), (8, 8), (9, 7), (31, 17), (50, 49)] {
            let plan = Plan::for_images([3, height, width], 10);
            let network = Recognizer::new(&plan, 1, &device);
            let images = Tensor::zeros([2, 3, height, width], &device);
            assert_eq!(network.forward(images).dims(), [2, 10], "{height} x {width}");
        }
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let plan = Plan::for_images([1, 8, 8], 16);
        let weight = |seed| Recognizer::new(&plan, seed, &Device::flex()).embedding.weight.val().into_data();
        assert_eq!(weight(1), weight(1));
        assert_ne!(weight(1), weight(2));
    }
}
