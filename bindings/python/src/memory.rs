//! Memory that the system cannot give is an exception, as it is to NumPy; a kernel that finds out would end the interpreter.

use pyo3::PyResult;
use pyo3::exceptions::PyMemoryError;

/// Refuses so many matrices of a shape where there is no room for them.
pub(crate) fn check<F>(what: &str, matrices: usize, shape: (usize, usize)) -> PyResult<()> {
    let numbers = shape.0.checked_mul(shape.1).and_then(|numbers| numbers.checked_mul(matrices));
    let is_there = numbers.is_some_and(|numbers| Vec::<F>::new().try_reserve_exact(numbers).is_ok());
    if is_there {
        return Ok(());
    }
    let bytes = size_of::<F>();
    Err(PyMemoryError::new_err(format!(
        "{what}: expected room for {matrices} x {shape:?} numbers of {bytes} bytes, found less"
    )))
}
