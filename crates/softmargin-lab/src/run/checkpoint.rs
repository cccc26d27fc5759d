//! `checkpoint/state.json`: the state of training at its end.

use super::layout::{damaged, missing};
use super::records::Stopped;
use crate::config::current_name;
use serde::{Deserialize, Serialize};
use softmargin::LossState;
use softmargin_data::error::Error;
use std::fs;
use std::path::Path;

/// The state of training at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Checkpoint {
    /// Completed epochs; the last may have been interrupted.
    pub epochs: usize,
    /// Training steps.
    pub steps: u64,
    /// The epoch of the best model, from 1.
    pub best_epoch: usize,
    /// Identifies the samples of the training, validation and test set: see
    /// [`Dataset::fingerprint`](softmargin_data::Dataset::fingerprint).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<String>,
    /// The reason why training ended; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The state of the loss at the best epoch, for losses that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_state: Option<LossState>,
}

impl Checkpoint {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|cause| missing(path, cause))?;
        serde_json::from_str(&text).map_err(|cause| {
            let message = cause.to_string();
            match old_key(&message) {
                Some((old, new)) => Error::failure(path.display(), "current names", old, format!("use {new}")),
                None => damaged(path, "what `softmargin train` writes there", message),
            }
        })
    }
}

/// Returns the old name of a key in a message such as "unknown field `norm-deviation`, expected ...", and its new name.
fn old_key(message: &str) -> Option<(&str, &'static str)> {
    let key = message.strip_prefix("unknown field `")?.split('`').next()?;
    current_name(key).map(|new| (key, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_with_an_old_name_is_rejected_with_the_new_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state.json");
        let text = r#"{"epochs": 1, "steps": 1, "best-epoch": 1, "loss-state": {"norm-deviation": 100.0}}"#;
        fs::write(&path, text).unwrap();
        let message = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(message.ends_with("expected current names, found norm-deviation; use norm-std"), "{message}");
        fs::write(&path, text.replace("norm-deviation", "norm-std")).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap().loss_state.unwrap().norm_std, 100.0);
    }
}
