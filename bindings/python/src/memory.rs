//! Checks that memory can be allocated. A failure is a `MemoryError`, as in NumPy; in a kernel it would end the
//! process.

use pyo3::PyResult;
use pyo3::exceptions::PyMemoryError;

/// Returns an error if there is no memory for a number of matrices of a shape.
pub(crate) fn check<F>(what: &str, matrices: usize, shape: (usize, usize)) -> PyResult<()> {
    let numbers = shape.0.checked_mul(shape.1).and_then(|numbers| numbers.checked_mul(matrices));
    let is_there = numbers.is_some_and(|numbers| Vec::<F>::new().try_reserve_exact(numbers).is_ok());
    if is_there {
        return Ok(());
    }
    let bytes = size_of::<F>();
    Err(PyMemoryError::new_err(format!(
        "{what}: expected memory for {matrices} x {shape:?} numbers of {bytes} bytes, found less"
    )))
}
