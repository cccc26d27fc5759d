//! Errors of the oracle.

use std::fmt;

/// A loss or a batch that the oracle rejects.
#[derive(Debug, Clone, PartialEq)]
pub struct OracleError {
    /// Index of the first invalid row, if the error concerns one row.
    pub row: Option<usize>,
    /// What was expected and what was found.
    pub message: String,
}

impl OracleError {
    pub(crate) fn at(row: usize, message: impl Into<String>) -> Self {
        Self { row: Some(row), message: message.into() }
    }

    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self { row: None, message: message.into() }
    }
}

impl fmt::Display for OracleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(f, "row {row}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for OracleError {}
