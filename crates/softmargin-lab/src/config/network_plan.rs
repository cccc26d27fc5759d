//! The layers of a network as plain data, and the rule that chooses them by the size of the images.

use serde::{Deserialize, Serialize};

/// The layers that turn a sample into an embedding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderPlan {
    /// Convolutions and a fully connected layer: for images.
    Convolutional(ConvolutionalPlan),
    /// A linear map without bias and a batch normalization.
    Projection {
        /// The number of values of a sample.
        inputs: usize,
        /// The embedding dimension.
        embedding: usize,
    },
    /// The values of a sample are its embedding.
    None {
        /// The number of values of a sample, which is the embedding dimension.
        inputs: usize,
    },
}

impl EncoderPlan {
    /// The names of the kinds.
    pub const KINDS: [&str; 3] = ["convolutional", "projection", "none"];

    /// Returns the embedding dimension.
    #[must_use]
    pub fn embedding(&self) -> usize {
        match self {
            Self::Convolutional(plan) => plan.embedding,
            Self::Projection { embedding, .. } => *embedding,
            Self::None { inputs } => *inputs,
        }
    }

    /// Returns the number of values that the first layer computes for a sample. It decides how many samples form a
    /// batch.
    pub(crate) fn first_layer_values(&self) -> usize {
        match self {
            Self::Convolutional(plan) => plan.first_layer_values(),
            _ => self.embedding().max(1),
        }
    }

    /// Returns the number of values in the kernels and matrices. Saturates, since a plan may come from an edited file.
    pub(crate) fn weights(&self) -> usize {
        match self {
            Self::Convolutional(plan) => plan.weights(),
            Self::Projection { inputs, embedding } => inputs.saturating_mul(*embedding),
            Self::None { .. } => 0,
        }
    }
}

/// One convolution of a [`ConvolutionalPlan`]: 3 x 3, padded by one, then batch normalization and ReLU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Convolution {
    /// Output channels.
    pub channels: usize,
    /// 2 halves the image, 1 keeps its size.
    pub stride: usize,
    /// True if a 2 x 2 maximum follows, which halves the image.
    pub pool: bool,
    /// True if the input is added to the output (same channels, same size).
    pub skip: bool,
}

/// Convolutions and a fully connected layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConvolutionalPlan {
    /// Channels, height and width of the images.
    pub image: [usize; 3],
    /// The embedding dimension.
    pub embedding: usize,
    /// The convolutions, first to last.
    pub convolutions: Vec<Convolution>,
}

/// From this side on, the first convolution halves the image.
const LARGE_SIDE: usize = 48;
/// The convolutions leave at most this many rows and columns if pooling can reach it, so that the fully connected layer
/// stays small.
const LAST_SIDE: usize = 7;
/// Channels of the first stage; every stage doubles them, up to `WIDEST`.
const FIRST_CHANNELS: usize = 16;
const WIDEST: usize = 128;

impl ConvolutionalPlan {
    /// Returns the default layers for images of shape (channels, height, width).
    ///
    /// Stages of 16, 32, 64, 128 channels, at least three, each ended by a 2 x 2 maximum as late as possible, until at
    /// most 7 x 7 values per channel are left; a last convolution with a skip connection follows. The first convolution
    /// of large images has stride 2. A maximum halves both sides: of an elongated image more than 7 values are left
    /// along the long side once the short one is down to 1.
    ///
    /// | image | layers |
    /// |---|---|
    /// | 8 x 8 | 16, 32 pool, 64, 64 |
    /// | 28 x 28 | 16 pool, 32 pool, 64, 64 |
    /// | 64 x 64 | 16 stride 2 pool, 32 pool, 64 pool, 128, 128 |
    #[must_use]
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

    /// Returns height and width of the output of the last convolution.
    pub(crate) fn remaining(&self) -> [usize; 2] {
        let [_, height, width] = self.image;
        self.convolutions.iter().fold([height, width], |sides, c| c.after_pool(c.before_pool(sides)))
    }

    /// Returns the number of values that the first convolution computes for an image; only for small images do later
    /// layers compute more.
    pub(crate) fn first_layer_values(&self) -> usize {
        let [_, height, width] = self.image;
        self.convolutions.first().map_or(1, |first| {
            let [height, width] = first.before_pool([height, width]);
            first.channels.saturating_mul(height).saturating_mul(width).max(1)
        })
    }

    /// Returns the number of values in the kernels and matrices. Saturates, since a plan may come from an edited file.
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
    /// Returns height and width of the output of the convolution: with padding 1, a stride rounds up.
    pub(crate) fn before_pool(&self, sides: [usize; 2]) -> [usize; 2] {
        sides.map(|side| side.div_ceil(self.stride))
    }

    /// Returns height and width after the 2 x 2 maximum, if there is one; it rounds down.
    pub(crate) fn after_pool(&self, sides: [usize; 2]) -> [usize; 2] {
        if self.pool { sides.map(|side| side / 2) } else { sides }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(side: usize) -> String {
        let plan = ConvolutionalPlan::for_images([1, side, side], 128);
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
    fn plans_are_files() {
        for plan in [
            EncoderPlan::Convolutional(ConvolutionalPlan::for_images([1, 8, 8], 16)),
            EncoderPlan::Projection { inputs: 3, embedding: 2 },
            EncoderPlan::None { inputs: 3 },
        ] {
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<EncoderPlan>(&text).unwrap(), plan, "{text}");
            assert!(toml::from_str::<EncoderPlan>(&format!("depth = 3\n{text}")).is_err(), "{text}");
        }
    }
}
