//! The optimiser of a head's fused step.

use crate::arrays::{read, typed};
use crate::errors::raised;
use ndarray::Ix2;
use numpy::{PyArray2, PyArrayMethods, ToPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pythonize::depythonize;
use softmargin::head::{self, Rule};

#[pyclass(module = "softmargin._core")]
pub(crate) struct Optimiser {
    pub(crate) inner: head::Optimiser,
}

#[pymethods]
impl Optimiser {
    /// `rule` is a dictionary: its kind and its numbers.
    #[new]
    #[pyo3(signature = (rule, learning_rate, shape, row_rates=None))]
    fn new(
        rule: Bound<'_, PyAny>,
        learning_rate: f64,
        shape: (usize, usize),
        row_rates: Option<Vec<f32>>,
    ) -> PyResult<Self> {
        let rule: Rule =
            depythonize(&rule).map_err(|cause| PyValueError::new_err(format!("rule of the optimiser: {cause}")))?;
        let mut inner = head::Optimiser::new(rule, learning_rate, shape).map_err(raised)?;
        if let Some(rates) = row_rates {
            inner = inner.with_row_rates(rates).map_err(raised)?;
        }
        Ok(Self { inner })
    }

    #[getter]
    fn steps(&self) -> u64 {
        self.inner.steps()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> PyResult<()> {
        self.inner.set_learning_rate(learning_rate).map_err(raised)
    }

    /// Copies of what it remembers.
    fn moments<'py>(&self, py: Python<'py>) -> [Bound<'py, PyArray2<f32>>; 2] {
        self.inner.moments().map(|moment| moment.to_pyarray(py))
    }

    fn restore(&mut self, steps: u64, first: Bound<'_, PyAny>, second: Bound<'_, PyAny>) -> PyResult<()> {
        let first = read::<f32, Ix2>("first moment", &first)?;
        let second = read::<f32, Ix2>("second moment", &second)?;
        self.inner.restore(steps, first.as_array().to_owned(), second.as_array().to_owned()).map_err(raised)
    }

    /// A step on the whole weight with a gradient at hand.
    fn apply(&mut self, py: Python<'_>, weight: Bound<'_, PyAny>, gradient: Bound<'_, PyAny>) -> PyResult<()> {
        let gradient = read::<f32, Ix2>("gradient", &gradient)?;
        let mut weight = typed::<f32, Ix2>("weight", &weight)?
            .try_readwrite()
            .map_err(|cause| PyValueError::new_err(format!("weight: {cause}; a step writes to it")))?;
        let (mut weight, gradient) = (weight.as_array_mut(), gradient.as_array());
        py.detach(|| self.inner.apply(weight.view_mut(), gradient)).map_err(raised)
    }
}
