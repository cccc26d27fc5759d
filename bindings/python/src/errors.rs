//! The core's errors as exceptions of Python, with the core's words.

use pyo3::PyErr;
use pyo3::exceptions::{PyIndexError, PyValueError};
use softmargin::{Error, ErrorKind};

/// A label that is no class is an index out of range, as it is to NumPy and PyTorch; all else is a wrong value.
pub(crate) fn raised(error: Error) -> PyErr {
    match error.kind() {
        ErrorKind::Label => PyIndexError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}
