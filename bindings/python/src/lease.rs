//! Large gradients, in memory that is used again once nobody holds an array or a tensor in it.
//!
//! A fresh array of hundreds of megabytes costs a fault for each of its pages. So what the kernels have allocated is lent to
//! NumPy; when the last array of it goes, it comes back here for the next gradient of that size.

use crate::arrays::Number;
use ndarray::Array2;
use numpy::PyArray2;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Smaller arrays are NumPy's own: 4 MiB.
const LARGE: usize = 4 << 20;

/// Buffers that are kept: the gradients of two heads, or of one whose last gradients are still held.
const MOST: usize = 2;

static FREE: Mutex<Vec<Numbers>> = Mutex::new(Vec::new());

/// A buffer of either type.
pub(crate) enum Numbers {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// A type of numbers whose buffers are kept.
pub(crate) trait Lent: Number {
    fn wrap(buffer: Vec<Self>) -> Numbers;
    /// The buffer if it is of this type, else as it was.
    fn unwrap(buffer: Numbers) -> Result<Vec<Self>, Numbers>;
}

impl Lent for f32 {
    fn wrap(buffer: Vec<Self>) -> Numbers {
        Numbers::Single(buffer)
    }

    fn unwrap(buffer: Numbers) -> Result<Vec<Self>, Numbers> {
        if let Numbers::Single(buffer) = buffer { Ok(buffer) } else { Err(buffer) }
    }
}

impl Lent for f64 {
    fn wrap(buffer: Vec<Self>) -> Numbers {
        Numbers::Double(buffer)
    }

    fn unwrap(buffer: Numbers) -> Result<Vec<Self>, Numbers> {
        if let Numbers::Double(buffer) = buffer { Ok(buffer) } else { Err(buffer) }
    }
}

impl Numbers {
    fn length(&self) -> (bool, usize) {
        match self {
            Self::Single(buffer) => (true, buffer.len()),
            Self::Double(buffer) => (false, buffer.len()),
        }
    }
}

/// A matrix of any content in memory that has come back, if there is one of this size.
pub(crate) fn take<F: Lent>(shape: (usize, usize)) -> Option<Array2<F>> {
    let wanted = F::wrap(Vec::new()).length().0;
    let length = shape.0.checked_mul(shape.1)?;
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let index = free.iter().position(|buffer| buffer.length() == (wanted, length))?;
    let buffer = F::unwrap(free.swap_remove(index)).ok()?;
    Array2::from_shape_vec(shape, buffer).ok()
}

/// What owns the memory of an array of NumPy.
#[pyclass(frozen, module = "softmargin._core")]
struct Lease {
    buffer: Mutex<Option<Numbers>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
        if free.len() > MOST {
            free.remove(0);
        }
    }
}

/// A gradient as an array of NumPy, without a copy. What no later call takes is not to be lent.
#[allow(unsafe_code, reason = "NumPy borrows memory whose owner it keeps alive")]
pub(crate) fn lend<F: Lent>(py: Python<'_>, matrix: Array2<F>) -> PyResult<Bound<'_, PyAny>> {
    let shape = matrix.dim();
    if shape.0 * shape.1 * size_of::<F>() < LARGE || !matrix.is_standard_layout() {
        return Ok(PyArray2::from_owned_array(py, matrix).into_any());
    }
    let (mut buffer, offset) = matrix.into_raw_vec_and_offset();
    let Some(numbers) = buffer.get_mut(offset.unwrap_or(0)..).filter(|numbers| numbers.len() >= shape.0 * shape.1)
    else {
        return Err(PyRuntimeError::new_err("a matrix is smaller than its shape"));
    };
    let pointer = numbers.as_mut_ptr();
    let lease = Bound::new(py, Lease { buffer: Mutex::new(Some(F::wrap(buffer))) })?;
    // SAFETY: the pointer is to numbers of the buffer, as many as the shape has and in its order, which the lease owns and
    // nobody reads or writes but through the array. The buffer is moved only as a whole, which leaves its numbers where they are, and
    // only when the lease is dropped. The array keeps the lease alive as its base.
    let array = unsafe {
        let view = ndarray::ArrayViewMut2::from_shape_ptr(shape, pointer);
        PyArray2::borrow_from_array(&view, lease.into_any())
    };
    Ok(array.into_any())
}

/// Gives the memory of gradients that nobody holds any more back to the system.
#[pyfunction]
pub(crate) fn release_memory() {
    FREE.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
