//! The optimizer of a head's fused step.

use crate::arrays::{read, write};
use crate::errors::raised;
use crate::memory;
use crate::threads::compute;
use ndarray::Ix2;
use numpy::{PyArray1, ToPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::depythonize;
use softmargin::head::{self, Rule, SavedMoments};
use std::sync::{Mutex, MutexGuard};

#[pyclass(frozen, module = "softmargin._core")]
pub(crate) struct Optimizer {
    inner: Mutex<head::Optimizer>,
}

impl Optimizer {
    /// Locks the optimizer; returns an error if another thread is in a step with it.
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

    /// Returns copies of the moments: two matrices for the weight, two arrays for the bias, pairs for scale and radius.
    fn moments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let optimizer = self.take()?;
        let moments = optimizer.moments();
        let answer = PyDict::new(py);
        answer.set_item("weight", moments.weight.map(|moment| moment.to_pyarray(py)))?;
        answer.set_item("bias", moments.bias.map(|moment| PyArray1::from_slice(py, moment)))?;
        answer.set_item("scale", moments.scale)?;
        answer.set_item("radius", moments.radius)?;
        Ok(answer)
    }

    fn restore(
        &self,
        steps: u64,
        weight: [Bound<'_, PyAny>; 2],
        bias: [Vec<f32>; 2],
        scale: [f32; 2],
        radius: [f32; 2],
    ) -> PyResult<()> {
        let [first, second] = weight;
        let first = read::<f32, Ix2>("first moment", &first)?.as_array().to_owned();
        let second = read::<f32, Ix2>("second moment", &second)?.as_array().to_owned();
        let moments = SavedMoments { weight: [first, second], bias, scale, radius };
        self.take()?.restore(steps, moments).map_err(raised)
    }

    /// Steps on the whole weight with a given gradient.
    fn apply(&self, py: Python<'_>, weight: Bound<'_, PyAny>, gradient: Bound<'_, PyAny>) -> PyResult<()> {
        let gradient = read::<f32, Ix2>("gradient", &gradient)?;
        let mut weight = write::<Ix2>("weight", &weight)?;
        let (mut weight, gradient, mut optimizer) = (weight.as_array_mut(), gradient.as_array(), self.take()?);
        let optimizer = &mut *optimizer;
        compute(py, || optimizer.apply(weight.view_mut(), gradient)).map_err(raised)
    }
}
