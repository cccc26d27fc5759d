//! The names of the files of a run directory, and the errors about them.

use softmargin_data::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

pub(super) const CONFIG: &str = "config.toml";
pub(crate) const MODEL: &str = "model.safetensors";
pub(super) const CLASSES: &str = "classes.json";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const REPORT: &str = "report.html";
pub(crate) const STATE: &str = "checkpoint/state.json";
pub(super) const LAST: &str = "checkpoint/last.safetensors";

/// Returns the error of a file that is missing. The path of the run directory is right, so the work failed.
pub(super) fn missing(path: &Path, cause: io::Error) -> Error {
    let advice = "the run directory is incomplete: train again";
    Error::failure(path.display(), "a file of a run directory", &cause, advice).with_source(cause)
}

/// Returns the error of a file with unexpected content.
pub(crate) fn damaged(path: &Path, expected: impl fmt::Display, found: impl fmt::Display) -> Error {
    Error::failure(path.display(), expected, found, "the run directory was changed or cut short: train again")
}
