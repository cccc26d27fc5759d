//! What a user asks of a training run, and the whole configuration that it resolves to.
//!
//! A [`Request`] leaves open whatever its user did not choose; it is also what a file for `--config` holds, in any part.
//! [`Config::resolve`] looks at the data, closes every opening by one rule each, and checks everything before any work
//! begins. The result is written to `config.toml`, in the same layout: as a request it gives the same run again.

mod check;
mod file;
mod keys;
mod request;
mod resolve;
mod text;

pub use keys::{KEYS, Key, reference};
pub use request::{DataRequest, LossRequest, NetworkRequest, OptimizerRequest, Request, TrainingRequest};

pub(crate) use check::Fault;

use crate::augmentation::Augmentation;
use crate::data::{DataSource, HoldOut, Input, Normalization};
use crate::device::DeviceChoice;
use crate::encoder::EncoderPlan;
use crate::training::{Optimizer, Schedule};
use serde::{Deserialize, Serialize};
use softmargin::LossSpec;

/// The version of the layout of a run directory.
pub const FORMAT: u32 = 2;

/// The loss that is used when none is named.
pub const DEFAULT_LOSS: &str = "am-softmax";

/// Everything that a run was made with: `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The version of the run directory's layout.
    pub format: u32,
    /// Where the samples came from.
    pub data: DataConfig,
    /// What a sample is, and how a file becomes one.
    pub input: Input,
    /// What is taken from a sample's values, and what they are divided by.
    pub normalization: Normalization,
    /// The loss.
    pub loss: NamedLoss,
    /// The layers that turn a sample into an embedding.
    pub network: EncoderPlan,
    /// How it was trained.
    pub training: Recipe,
}

/// Where the samples came from, and how they were parted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataConfig {
    /// `digits`, or a folder.
    pub source: DataSource,
    /// The side that images are brought to, in pixels, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Which samples of each class test, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_split: Option<HoldOut>,
    /// Which training samples of each class validate, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<HoldOut>,
    /// Bytes that decoded images may take, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How many classes there are.
    pub classes: usize,
}

/// A loss and the name of its preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamedLoss {
    /// The preset.
    pub name: String,
    /// The loss in full.
    pub spec: LossSpec,
}

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training data.
    pub epochs: usize,
    /// Samples a step, at most.
    pub batch_size: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How the rate changes from step to step.
    pub schedule: Schedule,
    /// Share of the steps in which the rate rises to its highest.
    pub warm_up: f64,
    /// Decay of matrices and kernels; biases, scales and shifts have none.
    pub weight_decay: f64,
    /// The longest gradient, all parameters taken together; longer ones are shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_limit: Option<f64>,
    /// Epochs without a higher validation accuracy or a lower loss, after which training stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Fixes every random choice.
    pub seed: u64,
    /// Where it was computed.
    pub device: DeviceChoice,
    /// What becomes of a gradient.
    pub optimizer: Optimizer,
    /// Small random changes to the training images; embeddings have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}
