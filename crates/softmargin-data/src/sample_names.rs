//! Names of samples: listed one by one, or numbered.

use std::path::Path;

use crate::error::Error;
use crate::wording::counted;

/// Names of the samples of a store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SampleNames {
    /// One for each row.
    Listed(Vec<String>),
    /// A word, to which the number of the row is added.
    Numbered(&'static str),
}

impl SampleNames {
    /// Returns the name of the sample `row`.
    pub(crate) fn of(&self, row: usize) -> String {
        match self {
            SampleNames::Listed(names) => names[row].clone(),
            SampleNames::Numbered(word) => format!("{word} {row}"),
        }
    }
}

/// Reads the file of names beside an array: a list of `count` strings in JSON, one for each row; `array` is for
/// messages.
///
/// # Errors
/// If the file cannot be read, is no such list, or has another number of names.
pub fn read_row_names(path: &Path, array: &Path, count: usize) -> Result<Vec<String>, Error> {
    let unreadable = |cause| Error::io(path, "a readable file of names", cause);
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let names: Vec<String> = serde_json::from_str(&text).map_err(|cause| {
        let expected = "a list of names in JSON, one for each row";
        Error::failure(path.display(), expected, &cause, "write it again, or remove it").with_source(cause)
    })?;
    if names.len() == count {
        return Ok(names);
    }
    let expected = format!("{}, one for each row of {}", counted(count, "name"), array.display());
    Err(Error::failure(path.display(), expected, names.len(), "save both from one data set"))
}
