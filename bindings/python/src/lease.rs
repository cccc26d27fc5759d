//! Large gradients, in memory that is reused once no array or tensor refers to it.
//!
//! A fresh array of hundreds of megabytes costs a page fault for each of its pages. So NumPy borrows
//! the kernels' buffers; when the last array over one is freed, it is stored here for the next gradient of that size.

use crate::arrays::Number;
use ndarray::Array2;
use numpy::PyArray2;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Size of the smallest buffer that NumPy borrows, in bytes: 4 MiB. Smaller arrays belong to NumPy.
const LARGE: usize = 4 << 20;

/// The largest number of free buffers: for the gradients of two heads, or of one whose last gradients are still in use.
const MOST: usize = 2;

static FREE: Mutex<Vec<Numbers>> = Mutex::new(Vec::new());

/// A buffer of either type.
pub(crate) enum Numbers {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// A type of numbers whose buffers are reused.
pub(crate) trait Lent: Number {
    fn wrap(buffer: Vec<Self>) -> Numbers;
    /// Returns the numbers if they are of this type, else the buffer as it was.
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

/// Returns a matrix of arbitrary content over a free buffer of this size, if there is one.
pub(crate) fn take<F: Lent>(shape: (usize, usize)) -> Option<Array2<F>> {
    let wanted = F::wrap(Vec::new()).length().0;
    let length = shape.0.checked_mul(shape.1)?;
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let index = free.iter().position(|buffer| buffer.length() == (wanted, length))?;
    let buffer = F::unwrap(free.swap_remove(index)).ok()?;
    Array2::from_shape_vec(shape, buffer).ok()
}

/// Owner of the memory of a NumPy array.
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

/// Returns a gradient as a NumPy array, without a copy. Only for matrices whose buffer a later call can take.
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
    // SAFETY: the pointer is to at least as many numbers as the shape has, in its order, in a buffer that the lease
    // owns and that is read and written only through the array. The buffer is moved only as a whole, which does not
    // move its numbers, and only when the lease is dropped. The array keeps the lease alive as its base.
    let array = unsafe {
        let view = ndarray::ArrayViewMut2::from_shape_ptr(shape, pointer);
        PyArray2::borrow_from_array(&view, lease.into_any())
    };
    Ok(array.into_any())
}

/// Returns the memory of free buffers to the system.
#[pyfunction]
pub(crate) fn release_memory() {
    FREE.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
