//! The optimizer of a head's fused step.

use crate::arrays::{read, write};
use crate::errors::raised;
use crate::memory;
use crate::threads::compute;
use ndarray::Ix2;
use numpy::{PyArray2, ToPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pythonize::depythonize;
use softmargin::head::{self, Rule};
use std::sync::{Mutex, MutexGuard};

#[pyclass(frozen, module = "softmargin._core")]
pub(crate) struct Optimizer {
    inner: Mutex<head::Optimizer>,
}

impl Optimizer {
    /// Locks the optimizer; an error if another thread is in a step with it.
    pub(crate) fn take(&self) -> PyResult<MutexGuard<'_, head::Optimizer>> {
        let message = "optimizer: expected one that is not in use, found it in a step of another thread";
        self.inner.try_lock().map_err(|_| PyValueError::new_err(message))
    }
}

#[pymethods]
impl Optimizer {
    /// Makes an optimizer of a rule, a dictionary with its kind and its numbers.
    #[new]
    #[pyo3(signature = (rule, learning_rate, shape, row_rates=None))]
    fn new(
        rule: Bound<'_, PyAny>,
        learning_rate: f64,
        shape: (usize, usize),
        row_rates: Option<Vec<f32>>,
    ) -> PyResult<Self> {
        let rule: Rule =
            depythonize(&rule).map_err(|cause| PyValueError::new_err(format!("rule of the optimizer: {cause}")))?;
        memory::check::<f32>("optimizer", 2, shape)?;
        let mut inner = head::Optimizer::new(rule, learning_rate, shape).map_err(raised)?;
        if let Some(rates) = row_rates {
            inner = inner.with_row_rates(rates).map_err(raised)?;
        }
        Ok(Self { inner: Mutex::new(inner) })
    }

    #[getter]
    fn steps(&self) -> PyResult<u64> {
        Ok(self.take()?.steps())
    }

    fn set_learning_rate(&self, learning_rate: f64) -> PyResult<()> {
        self.take()?.set_learning_rate(learning_rate).map_err(raised)
    }

    /// Returns copies of the two moments.
    fn moments<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyArray2<f32>>; 2]> {
        Ok(self.take()?.moments().map(|moment| moment.to_pyarray(py)))
    }

    fn restore(&self, steps: u64, first: Bound<'_, PyAny>, second: Bound<'_, PyAny>) -> PyResult<()> {
        let first = read::<f32, Ix2>("first moment", &first)?;
        let second = read::<f32, Ix2>("second moment", &second)?;
        self.take()?.restore(steps, first.as_array().to_owned(), second.as_array().to_owned()).map_err(raised)
    }

    /// Steps on the whole weight with a given gradient.
    fn apply(&self, py: Python<'_>, weight: Bound<'_, PyAny>, gradient: Bound<'_, PyAny>) -> PyResult<()> {
        let gradient = read::<f32, Ix2>("gradient", &gradient)?;
        let mut weight = write("weight", &weight)?;
        let (mut weight, gradient, mut optimizer) = (weight.as_array_mut(), gradient.as_array(), self.take()?);
        let optimizer = &mut *optimizer;
        compute(py, || optimizer.apply(weight.view_mut(), gradient)).map_err(raised)
    }
}
