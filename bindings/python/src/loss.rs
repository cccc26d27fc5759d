//! A loss of scores.

use crate::arrays::{read, with_type_of};
use crate::errors::raised;
use crate::lease::{Lent, lend, take};
use crate::memory;
use crate::row_arrays::RowArrays;
use crate::spec::resolve;
use crate::threads::compute;
use ndarray::Ix2;
use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::{depythonize, pythonize};
use softmargin::{Batch, Gradients, LossState, Reduction, Value};

/// A loss, and the name of its preset.
#[pyclass(frozen, module = "softmargin._core")]
pub(crate) struct Loss {
    pub(crate) inner: softmargin::Loss,
    name: &'static str,
}

/// The optional inputs of a batch of scores.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Extras<'py> {
    sample_weights: Option<Bound<'py, PyAny>>,
    margins: Option<Bound<'py, PyAny>>,
    embedding_norms: Option<Bound<'py, PyAny>>,
    weight_norms: Option<Bound<'py, PyAny>>,
    scale: Option<f64>,
    radius: Option<f64>,
    state: Option<Bound<'py, PyAny>>,
}

#[pymethods]
impl Loss {
    #[new]
    #[pyo3(signature = (name, num_classes, scale=None, margin=None, parts=None, class_counts=None))]
    fn new(
        name: &str,
        num_classes: usize,
        scale: Option<f64>,
        margin: Option<Vec<f64>>,
        parts: Option<Bound<'_, PyAny>>,
        class_counts: Option<Vec<u64>>,
    ) -> PyResult<Self> {
        let (preset, mut spec) = resolve(name, scale, margin.as_deref(), parts.as_ref())?;
        if let Some(counts) = class_counts {
            if !spec.needs_class_counts() {
                let message = "class_counts: expected none, this loss has no margin by frequency; leave them out";
                return Err(PyValueError::new_err(message));
            }
            spec = spec.with_class_counts(&counts);
        }
        Ok(Self { inner: spec.build(num_classes).map_err(raised)?, name: preset.name })
    }

    #[getter]
    fn name(&self) -> &'static str {
        self.name
    }

    #[getter]
    fn num_classes(&self) -> usize {
        self.inner.num_classes()
    }

    #[getter]
    fn needs_embedding_norms(&self) -> bool {
        self.inner.needs_embedding_norms()
    }

    #[getter]
    fn needs_weight_norms(&self) -> bool {
        self.inner.needs_weight_norms()
    }

    #[getter]
    fn spec<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize(py, self.inner.spec())?)
    }

    fn initial_state<'py>(&self, py: Python<'py>, seed: u64) -> PyResult<Option<Bound<'py, PyAny>>> {
        let state = self.inner.initial_state().map(|state| state.with_seed(seed));
        Ok(state.map(|state| pythonize(py, &state)).transpose()?)
    }

    /// Returns the loss of a batch, and its gradients if they are requested.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        scores: Bound<'py, PyAny>,
        target: Bound<'py, PyAny>,
        reduction: &str,
        gradients: bool,
        extras: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (reduction, extras) = (reduction_of(reduction)?, extras.extract()?);
        with_type_of!(&scores, F => self.evaluate_as::<F>(py, &scores, &target, reduction, gradients, &extras))
    }

    /// Returns the state with a batch added to its averages.
    fn update<'py>(
        &self,
        py: Python<'py>,
        scores: Bound<'py, PyAny>,
        target: Bound<'py, PyAny>,
        extras: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let extras: Extras<'py> = extras.extract()?;
        let mut state = read_state(extras.state.as_ref())?.unwrap_or_default();
        with_type_of!(&scores, F => self.update_of::<F>(py, &scores, &target, &extras, &mut state)?);
        Ok(pythonize(py, &state)?)
    }
}

/// Calls `run` with a batch that borrows NumPy arrays.
fn with_batch<'py, F: Lent, R>(
    scores: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    extras: &Extras<'py>,
    state: Option<&LossState>,
    run: impl FnOnce(Batch<'_, F>) -> R,
) -> PyResult<R> {
    let scores = read::<F, Ix2>("scores", scores)?;
    let Extras { sample_weights, margins, embedding_norms, weight_norms, scale, radius, .. } = extras;
    let vectors = [sample_weights, margins, embedding_norms, weight_norms].map(Option::as_ref);
    let rows = RowArrays::read(target, vectors)?;
    let mut batch = Batch::new(scores.as_array(), rows.inputs(state));
    if let Some(scale) = *scale {
        batch = batch.with_scale(scale);
    }
    if let Some(radius) = *radius {
        batch = batch.with_radius(radius);
    }
    Ok(run(batch))
}

impl Loss {
    fn evaluate_as<'py, F: Lent>(
        &self,
        py: Python<'py>,
        scores: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        reduction: Reduction,
        gradients: bool,
        extras: &Extras<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let state = read_state(extras.state.as_ref())?;
        if gradients {
            memory::check::<F>("gradient", 1, read::<F, Ix2>("scores", scores)?.as_array().dim())?;
        }
        let outcome = with_batch::<F, _>(scores, target, extras, state.as_ref(), |batch| {
            compute(py, || self.compute(&batch, reduction, gradients))
        })?;
        py.check_signals()?;
        let (value, of_loss) = outcome.map_err(raised)?;
        let answer = PyDict::new(py);
        put_value(&answer, &value)?;
        if let Some(of_loss) = of_loss {
            answer.set_item("grad_scores", lend(py, of_loss.scores)?)?;
            let of_rows = of_loss.rows;
            answer.set_item("grad_scale", of_rows.scale.widen())?;
            answer.set_item("grad_radius", of_rows.radius.widen())?;
            let norms = |norms: Option<ndarray::Array1<F>>| norms.map(|norms| PyArray1::from_owned_array(py, norms));
            answer.set_item("grad_embedding_norms", norms(of_rows.embedding_norms))?;
            answer.set_item("grad_weight_norms", norms(of_rows.weight_norms))?;
        }
        Ok(answer)
    }

    fn compute<F: Lent>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        gradients: bool,
    ) -> softmargin::Result<(Value<F>, Option<Gradients<F>>)> {
        if !gradients {
            return Ok((self.inner.value(batch, reduction)?, None));
        }
        let Some(mut scores) = take::<F>(batch.shape()) else {
            return self.inner.value_and_grad(batch, reduction).map(|(value, gradients)| (value, Some(gradients)));
        };
        let (value, rows) = self.inner.value_and_grad_into(batch, reduction, scores.view_mut())?;
        Ok((value, Some(Gradients { scores, rows })))
    }

    fn update_of<'py, F: Lent>(
        &self,
        py: Python<'py>,
        scores: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        extras: &Extras<'py>,
        state: &mut LossState,
    ) -> PyResult<()> {
        with_batch::<F, _>(scores, target, extras, None, |batch| compute(py, || self.inner.update(state, &batch)))?
            .map_err(raised)
    }
}

/// Adds the value of a batch to a dictionary.
fn put_value<F: Lent>(answer: &Bound<'_, PyDict>, value: &Value<F>) -> PyResult<()> {
    answer.set_item("value", value.total.widen())?;
    answer.set_item("row_losses", PyArray1::from_array(answer.py(), &value.rows))?;
    answer.set_item("total_weight", value.weight)?;
    answer.set_item("num_valid", value.valid_rows)
}

pub(crate) fn read_state(state: Option<&Bound<'_, PyAny>>) -> PyResult<Option<LossState>> {
    let read = |state| depythonize(state).map_err(|cause| PyValueError::new_err(format!("state: {cause}")));
    state.map(read).transpose()
}

pub(crate) fn reduction_of(name: &str) -> PyResult<Reduction> {
    match name {
        "none" => Ok(Reduction::None),
        "sum" => Ok(Reduction::Sum),
        "mean" => Ok(Reduction::Mean),
        "mean-or-nan" => Ok(Reduction::MeanOrNan),
        _ => {
            let expected = "\"none\", \"sum\", \"mean\" or \"mean-or-nan\"";
            Err(PyValueError::new_err(format!("reduction: expected {expected}, found \"{name}\"")))
        }
    }
}
