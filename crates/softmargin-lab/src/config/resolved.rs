//! The complete configuration of a run: `config.toml`.

use super::network_plan::EncoderPlan;
use super::recipe::Recipe;
use serde::{Deserialize, Serialize};
use softmargin::LossSpec;
use softmargin_data::{DataSource, HoldOut, Input, Normalization};

/// The version of the layout of a run directory.
pub const FORMAT: u32 = 3;

/// The complete configuration of a run: `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The version of the run directory's layout.
    pub format: u32,
    /// The source of the samples.
    pub data: DataConfig,
    /// The kind and shape of a sample, and how a file becomes one.
    pub input: Input,
    /// The mean and the standard deviation that normalize the values of a sample.
    pub normalization: Normalization,
    /// The loss.
    pub loss: NamedLoss,
    /// The layers that turn a sample into an embedding.
    pub network: EncoderPlan,
    /// The recipe by which the network is trained.
    pub training: Recipe,
}

/// The source of the samples, and their split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataConfig {
    /// `digits`, or a folder.
    pub source: DataSource,
    /// The side that images are resized to, in pixels, if the user chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// The samples of each class in the test set, if the user chose them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_split: Option<HoldOut>,
    /// The training samples of each class in the validation set, if the user chose them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<HoldOut>,
    /// The most bytes that decoded samples may occupy, if the user chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The number of classes.
    pub classes: usize,
}

/// A loss and the name of its preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamedLoss {
    /// The name of the preset.
    pub name: String,
    /// The complete loss.
    pub spec: LossSpec,
}
