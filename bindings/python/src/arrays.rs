//! NumPy arrays as views. The Python side has converted all values of a call to one type, and labels to `int64`.
//! Strides are arbitrary.

use ndarray::{Dimension, Ix1, Ix2};
use numpy::{BorrowError, Element, PyArray, PyArrayMethods, PyReadonlyArray, PyReadwriteArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use softmargin::Real;
use softmargin::head::HeadNumber;

/// A type of numbers that the kernels support.
pub(crate) trait Number: Real + HeadNumber + Element {}

impl Number for f32 {}
impl Number for f64 {}

/// Returns true for a matrix of `f32`; others are of `f64`, or rejected when they are read.
pub(crate) fn is_single(matrix: &Bound<'_, PyAny>) -> bool {
    matrix.cast::<PyArray<f32, Ix2>>().is_ok()
}

/// Evaluates an expression with `$number` as the element type of a matrix.
macro_rules! with_type_of {
    ($matrix:expr, $number:ident => $compute:expr) => {
        if $crate::arrays::is_single($matrix) {
            type $number = f32;
            $compute
        } else {
            type $number = f64;
            $compute
        }
    };
}
pub(crate) use with_type_of;

/// Borrows an array for reading.
pub(crate) fn read<'py, T: Element, D: Dimension>(
    name: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    typed(name, array)?.try_readonly().map_err(|cause| PyValueError::new_err(format!("{name}: {cause}")))
}

pub(crate) fn read_optional<'py, T: Element>(
    name: &str,
    array: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<PyReadonlyArray<'py, T, Ix1>>> {
    array.map(|array| read(name, array)).transpose()
}

/// Borrows an array for writing, for a step.
pub(crate) fn write<'py, D: Dimension>(
    name: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadwriteArray<'py, f32, D>> {
    let rejected = |cause: BorrowError| PyValueError::new_err(format!("{name}: {cause}; a step writes to it"));
    typed(name, array)?.try_readwrite().map_err(rejected)
}

fn typed<'a, 'py, T: Element, D: Dimension>(
    name: &str,
    array: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray<T, D>>> {
    array.cast::<PyArray<T, D>>().map_err(|_| {
        let wanted = std::any::type_name::<T>().replace('f', "float").replace('i', "int");
        let dimensions = D::NDIM.unwrap_or_default();
        PyTypeError::new_err(format!("{name}: expected a NumPy array of {wanted} with {dimensions} dimensions"))
    })
}

/// Targets of the rows of a batch: labels (N) or distributions (N, C).
pub(crate) enum Targets<'py, F: Element> {
    Hard(PyReadonlyArray<'py, i64, Ix1>),
    Soft(PyReadonlyArray<'py, F, Ix2>),
}

impl<'py, F: Number> Targets<'py, F> {
    pub(crate) fn read(target: &Bound<'py, PyAny>) -> PyResult<Self> {
        if target.cast::<PyArray<i64, Ix1>>().is_ok() {
            return Ok(Self::Hard(read("target", target)?));
        }
        Ok(Self::Soft(read("target", target)?))
    }

    pub(crate) fn view(&self) -> softmargin::Targets<'_, F> {
        match self {
            Self::Hard(labels) => softmargin::Targets::Hard(labels.as_array()),
            Self::Soft(distributions) => softmargin::Targets::Soft(distributions.as_array()),
        }
    }
}
