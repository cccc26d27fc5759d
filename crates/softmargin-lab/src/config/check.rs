//! The ranges of a configuration, checked before anything is built from it.
//!
//! A file may have been edited since it was written, and a request may contain any value. Nothing is allocated here and
//! every product saturates, so that no value can exhaust the memory or overflow.

use super::keys::rejected;
use super::network_plan::{Convolution, ConvolutionalPlan, EncoderPlan};
use super::recipe::{OptimizerConfig, Recipe};
use super::resolved::Config;
use softmargin_data::augmentation::Augmentation;
use softmargin_data::error::Error;
use softmargin_data::{Input, Normalization};
use std::fmt;

/// A key whose value is out of range.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The key.
    pub(crate) key: String,
    /// The expected range.
    pub(crate) expected: String,
    /// The value.
    pub(crate) found: String,
}

/// Converts a fault of a request.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        rejected(&fault.key, fault.expected, fault.found)
    }
}

/// 4 GiB in single precision. Larger values, here and below, are treated as typos.
const MAX_WEIGHTS: usize = 1 << 30;
const MAX_EMBEDDING: usize = 1 << 16;
const MAX_EPOCHS: usize = 1_000_000;
const MAX_BATCH: usize = 1 << 20;
const MAX_CONVOLUTIONS: usize = 64;
const MAX_CHANNELS: usize = 4096;
/// The largest integer of TOML.
const MAX_SEED: u64 = i64::MAX as u64;
/// Values of one layer for one image: 256 MiB, sixteen times those of the default network for the largest image.
const MAX_LAYER: usize = 1 << 26;

fn expect(holds: bool, key: &str, expected: impl fmt::Display, found: impl fmt::Debug) -> Result<(), Fault> {
    if holds {
        return Ok(());
    }
    Err(Fault { key: key.to_owned(), expected: expected.to_string(), found: format!("{found:?}") })
}

fn within(key: &str, value: usize, least: usize, most: usize) -> Result<(), Fault> {
    expect((least..=most).contains(&value), key, format!("a whole number from {least} to {most}"), value)
}

/// Checks that a value is in [0, 1).
fn share(key: &str, value: f64) -> Result<(), Fault> {
    expect((0.0..1.0).contains(&value), key, "a number from 0 to below 1", value)
}

fn above_0(key: &str, value: f64) -> Result<(), Fault> {
    expect(value.is_finite() && value > 0.0, key, "a finite number above 0", value)
}

impl Config {
    /// Checks everything that building and using the model relies on.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let classes = self.data.classes;
        expect(classes >= 1, "data.classes", "at least one class", classes)?;
        self.network.check()?;
        self.check_shape()?;
        within("the number of the network's weights", self.weights(), 1, MAX_WEIGHTS)?;
        // Data sets have no ignored labels: a sample that should be ignored is removed from the data.
        let ignored = self.loss.spec.ignored_label;
        expect(ignored.is_none(), "loss.spec.ignored-label", "none", ignored)?;
        check_normalization(self.normalization)?;
        self.training.check()?;
        let built = self.loss.spec.clone().build(classes);
        built.map(|_| ()).map_err(|error| Fault {
            key: format!("loss.spec.{}", error.subject()),
            expected: error.expected().to_owned(),
            found: error.found().to_owned(),
        })
    }

    /// Checks that network and augmentation fit the input.
    fn check_shape(&self) -> Result<(), Fault> {
        let shape = self.input.shape();
        let values = shape.iter().fold(1_usize, |values, &side| values.saturating_mul(side));
        let is_images = matches!(self.input, Input::Images(_));
        match &self.network {
            EncoderPlan::Convolutional(plan) => {
                let kind = "projection or none, for embeddings";
                expect(is_images, "network.kind", kind, EncoderPlan::KINDS[0])?;
                expect(plan.image == shape, "network.image", format!("the {shape:?} of the input"), plan.image)?;
            }
            EncoderPlan::Projection { inputs, .. } | EncoderPlan::None { inputs } => {
                expect(*inputs == values, "network.inputs", format!("the {values} of the input"), inputs)?;
            }
        }
        let augmentation = self.training.augmentation;
        expect(
            is_images == augmentation.is_some(),
            "training.augmentation",
            "settings for images, and none for embeddings",
            augmentation,
        )
    }

    /// Returns the least number of values in the file of the model.
    pub(crate) fn weights(&self) -> usize {
        let prototypes = self.data.classes.saturating_mul(self.loss.spec.sub_centers);
        self.network.weights().saturating_add(prototypes.saturating_mul(self.network.embedding()))
    }
}

impl EncoderPlan {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if let Self::Convolutional(plan) = self {
            plan.check()?;
        }
        if let Self::Projection { inputs, .. } | Self::None { inputs } = *self {
            within("network.inputs", inputs, 1, MAX_LAYER)?;
        }
        match self {
            Self::None { .. } => Ok(()),
            _ => within("network.embedding", self.embedding(), 1, MAX_EMBEDDING),
        }
    }
}

impl ConvolutionalPlan {
    fn check(&self) -> Result<(), Fault> {
        let key = "network.convolutions";
        let count = self.convolutions.len();
        expect((1..=MAX_CONVOLUTIONS).contains(&count), key, format!("1 to {MAX_CONVOLUTIONS} convolutions"), count)?;
        let [mut channels, mut height, mut width] = self.image;
        for convolution in &self.convolutions {
            convolution.check(channels)?;
            channels = convolution.channels;
            [height, width] = convolution.before_pool([height, width]);
            let values = channels.saturating_mul(height).saturating_mul(width);
            expect((1..=MAX_LAYER).contains(&values), key, format!("1 to {MAX_LAYER} values of a layer"), values)?;
            [height, width] = convolution.after_pool([height, width]);
        }
        expect(height > 0 && width > 0, key, "convolutions that leave at least one row and one column", [height, width])
    }
}

impl Convolution {
    fn check(&self, inputs: usize) -> Result<(), Fault> {
        within("network.convolutions.channels", self.channels, 1, MAX_CHANNELS)?;
        within("network.convolutions.stride", self.stride, 1, 2)?;
        let same = self.channels == inputs && self.stride == 1 && !self.pool;
        let expected = "false if channels or size change";
        expect(same || !self.skip, "network.convolutions.skip", expected, self.skip)
    }
}

fn check_normalization(normalization: Normalization) -> Result<(), Fault> {
    let Normalization { mean, std } = normalization;
    expect(mean.is_finite(), "normalization.mean", "a finite number", mean)?;
    above_0("normalization.std", f64::from(std))
}

impl Recipe {
    pub(super) fn check(&self) -> Result<(), Fault> {
        within("training.epochs", self.epochs, 1, MAX_EPOCHS)?;
        within("training.batch-size", self.batch_size, 2, MAX_BATCH)?;
        above_0("training.learning-rate", self.learning_rate)?;
        share("training.warm-up", self.warm_up)?;
        share("training.weight-decay", self.weight_decay)?;
        self.gradient_limit.map_or(Ok(()), |limit| above_0("training.gradient-limit", limit))?;
        self.patience.map_or(Ok(()), |patience| within("training.patience", patience, 1, MAX_EPOCHS))?;
        let seed = format!("a whole number from 0 to {MAX_SEED}");
        expect(self.seed <= MAX_SEED, "training.seed", seed, self.seed)?;
        self.optimizer.check()?;
        self.augmentation.as_ref().map_or(Ok(()), check_augmentation)
    }
}

impl OptimizerConfig {
    fn check(self) -> Result<(), Fault> {
        match self {
            Self::Sgd { momentum } => share("training.optimizer.momentum", single(momentum)),
            Self::Adamw { beta_1, beta_2, epsilon } => {
                share("training.optimizer.beta-1", single(beta_1))?;
                share("training.optimizer.beta-2", single(beta_2))?;
                above_0("training.optimizer.epsilon", single(epsilon))
            }
        }
    }
}

/// Returns the value in the single precision of the optimizers.
#[expect(clippy::cast_possible_truncation, reason = "rounded as in the optimizers")]
fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

fn check_augmentation(augmentation: &Augmentation) -> Result<(), Fault> {
    let Some((name, range, value)) = augmentation.out_of_range() else { return Ok(()) };
    let expected = format!("a number from {} to {}", range.start(), range.end());
    expect(false, &format!("training.augmentation.{name}"), expected, value)
}
