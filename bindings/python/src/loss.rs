//! A loss of scores.

use crate::arrays::{Targets, read, read_optional, with_type_of};
use crate::errors::raised;
use crate::lease::{Lent, lend, take};
use crate::memory;
use crate::spec::resolve;
use crate::threads::compute;
use ndarray::{Ix1, Ix2};
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

/// What may come with a batch of scores beside its targets.
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

    /// The loss of a batch, and its gradients where they are asked for.
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
        with_type_of!(&scores, F => self.run_of::<F>(py, &scores, &target, reduction, gradients, &extras))
    }

    /// Returns the margin values of each row, without scores: for code that computes the loss by other means.
    #[pyo3(signature = (target, norms=None, margins=None, state=None))]
    fn row_margins<'py>(
        &self,
        py: Python<'py>,
        target: Bound<'py, PyAny>,
        norms: Option<Bound<'py, PyAny>>,
        margins: Option<Bound<'py, PyAny>>,
        state: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let target = read::<i64, Ix1>("target", &target)?;
        let norms = read_optional::<f64>("norms", norms.as_ref())?;
        let margins = read_optional::<f64>("margins", margins.as_ref())?;
        let state = read_state(state.as_ref())?;
        let (zero, rows, classes) = (ndarray::arr0(0.0), target.as_array().len(), self.inner.num_classes());
        let scores = zero.broadcast((rows, classes)).expect("a single number takes any shape");
        let of_classes = ndarray::Array1::zeros(classes);
        let mut batch = Batch::new(scores, target.as_array());
        if let Some(norms) = &norms {
            batch = batch.with_embedding_norms(norms.as_array());
        }
        if self.inner.needs_weight_norms() {
            batch = batch.with_weight_norms(of_classes.view());
        }
        if let Some(margins) = &margins {
            batch = batch.with_margins(margins.as_array());
        }
        if let Some(state) = &state {
            batch = batch.with_state(state);
        }
        let values = self.inner.row_margins(&batch).map_err(raised)?;
        let answer = PyDict::new(py);
        answer.set_item("value", PyArray1::from_vec(py, values.value))?;
        answer.set_item("value_slope", PyArray1::from_vec(py, values.value_slope))?;
        answer.set_item("minus", PyArray1::from_vec(py, values.minus))?;
        answer.set_item("minus_slope", PyArray1::from_vec(py, values.minus_slope))?;
        Ok(answer)
    }

    /// The state once a batch has been taken into its averages.
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

/// Hands a batch that borrows from arrays of NumPy to the code that uses it.
fn with_batch<'py, F: Lent, R>(
    scores: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    extras: &Extras<'py>,
    state: Option<&LossState>,
    run: impl FnOnce(Batch<'_, F>) -> R,
) -> PyResult<R> {
    let scores = read::<F, Ix2>("scores", scores)?;
    let targets = Targets::<F>::read(target)?;
    let sample_weights = read_optional::<F>("sample_weights", extras.sample_weights.as_ref())?;
    let margins = read_optional::<F>("margins", extras.margins.as_ref())?;
    let embedding_norms = read_optional::<F>("embedding_norms", extras.embedding_norms.as_ref())?;
    let weight_norms = read_optional::<F>("weight_norms", extras.weight_norms.as_ref())?;
    let mut batch = match targets.view() {
        softmargin::Targets::Hard(labels) => Batch::new(scores.as_array(), labels),
        softmargin::Targets::Soft(distributions) => Batch::soft(scores.as_array(), distributions),
    };
    if let Some(weights) = &sample_weights {
        batch = batch.with_sample_weights(weights.as_array());
    }
    if let Some(margins) = &margins {
        batch = batch.with_margins(margins.as_array());
    }
    if let Some(norms) = &embedding_norms {
        batch = batch.with_embedding_norms(norms.as_array());
    }
    if let Some(norms) = &weight_norms {
        batch = batch.with_weight_norms(norms.as_array());
    }
    if let Some(scale) = extras.scale {
        batch = batch.with_scale(scale);
    }
    if let Some(radius) = extras.radius {
        batch = batch.with_radius(radius);
    }
    if let Some(state) = state {
        batch = batch.with_state(state);
    }
    Ok(run(batch))
}

impl Loss {
    fn run_of<'py, F: Lent>(
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
            answer.set_item("grad_scale", of_loss.scale.widen())?;
            answer.set_item("grad_radius", of_loss.radius.widen())?;
            let norms = |norms: Option<ndarray::Array1<F>>| norms.map(|norms| PyArray1::from_owned_array(py, norms));
            answer.set_item("grad_embedding_norms", norms(of_loss.embedding_norms))?;
            answer.set_item("grad_weight_norms", norms(of_loss.weight_norms))?;
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
        let Some(mut kept) = take::<F>(batch.shape()) else {
            return self.inner.value_and_grad(batch, reduction).map(|(value, gradients)| (value, Some(gradients)));
        };
        let (value, gradients) = self.inner.value_and_grad_into(batch, reduction, kept.view_mut())?;
        Ok((value, Some(Gradients { scores: kept, ..gradients })))
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

/// What value a batch has, into a dictionary.
fn put_value<F: Lent>(answer: &Bound<'_, PyDict>, value: &Value<F>) -> PyResult<()> {
    answer.set_item("value", value.total.widen())?;
    answer.set_item("row_losses", PyArray1::from_array(answer.py(), &value.rows))?;
    answer.set_item("total_weight", value.weight)?;
    answer.set_item("num_valid", value.kept)
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
