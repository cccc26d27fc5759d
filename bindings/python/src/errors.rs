//! The core's errors as Python exceptions, with the core's messages.

use pyo3::PyErr;
use pyo3::exceptions::{PyIndexError, PyValueError};
use softmargin::{Error, ErrorKind};

/// Names of the core, and the names of the same things in Python.
const NAMES: [(&str, &str); 6] = [
    ("LossSpec::with_class_counts", "class_counts"),
    ("moments()", "state_dict()"),
    ("learning rate:", "lr:"),
    ("beta1:", "betas[0]:"),
    ("beta2:", "betas[1]:"),
    ("epsilon:", "eps:"),
];

/// Converts an error: a label that is no class is an `IndexError`, as in NumPy and PyTorch; others are a `ValueError`.
pub(crate) fn raised(error: Error) -> PyErr {
    let words = NAMES.iter().fold(error.to_string(), |words, (core, python)| words.replace(core, python));
    match error.kind() {
        ErrorKind::Label => PyIndexError::new_err(format!("{words}; ignored_label names a label to ignore")),
        _ => PyValueError::new_err(words),
    }
}
