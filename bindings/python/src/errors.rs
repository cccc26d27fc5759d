//! The core's errors as exceptions of Python, with the core's words.

use pyo3::PyErr;
use pyo3::exceptions::{PyIndexError, PyValueError};
use softmargin::{Error, ErrorKind};

/// What has another name in Python.
const NAMES: [(&str, &str); 2] = [("LossSpec::with_class_counts", "class_counts"), ("moments()", "state_dict()")];

/// A label that is no class is an index out of range, as it is to NumPy and PyTorch; all else is a wrong value.
pub(crate) fn raised(error: Error) -> PyErr {
    let words = NAMES.iter().fold(error.to_string(), |words, (core, python)| words.replace(core, python));
    match error.kind() {
        ErrorKind::Label => PyIndexError::new_err(format!("{words}; ignored_label names rows that do not count")),
        _ => PyValueError::new_err(words),
    }
}
