//! The recipe of training, as plain data: epochs, batches, learning rate, optimizer, augmentation.

use crate::device::DeviceChoice;
use serde::{Deserialize, Serialize};
use softmargin_data::augmentation::Augmentation;

/// The recipe by which a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// The number of passes over the training set.
    pub epochs: usize,
    /// The largest number of samples in a step.
    pub batch_size: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// The change of the rate from step to step.
    pub schedule: Schedule,
    /// The share of the steps during which the rate rises to its highest value.
    pub warm_up: f64,
    /// The weight decay of matrices and kernels; biases, scales and shifts have none.
    pub weight_decay: f64,
    /// The largest norm of the gradient of all parameters together; longer gradients are clipped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_limit: Option<f64>,
    /// The number of epochs without a higher validation accuracy or a lower validation loss after which training stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// The seed of every random choice.
    pub seed: u64,
    /// The device to compute on.
    pub device: DeviceChoice,
    /// The rule that turns a gradient into a step.
    pub optimizer: OptimizerConfig,
    /// Small random changes to the training images; `None` for embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}

/// The change of the learning rate from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// A linear warm-up, then half a cosine down to 0.
    #[default]
    Cosine,
    /// Half a cosine up from 1/25 of the highest rate, then half a cosine down to 0.
    OneCycle,
    /// A linear warm-up, then the highest rate to the end.
    Constant,
}

impl Schedule {
    /// All schedules.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::OneCycle, Self::Constant];

    /// Returns the name in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::OneCycle => "one-cycle",
            Self::Constant => "constant",
        }
    }
}

/// The rule that turns a gradient into a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with Nesterov's momentum.
    Sgd {
        /// The weight of the previous direction, in [0, 1).
        momentum: f64,
    },
    /// Adam with decoupled weight decay.
    Adamw {
        /// The decay of the running mean of the gradient, in [0, 1).
        #[serde(rename = "beta-1")]
        beta_1: f64,
        /// The decay of the running mean of the squared gradient, in [0, 1).
        #[serde(rename = "beta-2")]
        beta_2: f64,
        /// Added to the root of the mean squared gradient; above 0.
        epsilon: f64,
    },
}

impl OptimizerConfig {
    /// The names of the kinds.
    pub const NAMES: [&str; 2] = ["sgd", "adamw"];

    /// Returns the name in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd { .. } => Self::NAMES[0],
            Self::Adamw { .. } => Self::NAMES[1],
        }
    }
}
