//! The lines of `metrics.jsonl`.

use serde::{Deserialize, Serialize};
use softmargin_data::error::Error;

/// One epoch: a line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// The mean loss over the epoch, with the margin and on augmented samples.
    pub loss: f64,
    /// The share of samples whose highest score was that of their class, as the network saw them.
    pub accuracy: f64,
    /// The mean loss on the validation set after the epoch, with the margin; `None` without a validation set.
    pub validation_loss: Option<f64>,
    /// The accuracy on the validation set after the epoch; `None` without a validation set.
    pub validation_accuracy: Option<f64>,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Samples per second, over the epoch.
    pub images_per_second: f64,
    /// Seconds since training began.
    pub seconds: f64,
}

/// The reason why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// After the last epoch.
    Finished,
    /// The validation results did not improve for as many epochs as the patience allows.
    Early,
    /// The user interrupted it.
    Interrupted,
    /// An epoch after the first failed.
    Failed,
}

/// The end of a run: the last line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EndRecord {
    /// `None`, as the loss is, if the test failed.
    pub(crate) test_accuracy: Option<f64>,
    pub(crate) test_loss: Option<f64>,
    pub(crate) test_images: usize,
    pub(crate) best_epoch: usize,
    pub(crate) stopped: Stopped,
    /// (C): the recall of each class; empty if the test failed.
    pub(crate) recalls: Vec<Option<f64>>,
    /// The parts that the run lacks, each with its cause.
    pub(crate) missing: Vec<String>,
}

/// Formats records as lines of `metrics.jsonl`.
pub(crate) fn lines(records: &[impl Serialize]) -> Result<Vec<String>, Error> {
    let lines = records.iter().map(serde_json::to_string).collect::<Result<_, _>>();
    lines.map_err(|cause| Error::failure("metrics.jsonl", "numbers that JSON can represent", cause, ""))
}
