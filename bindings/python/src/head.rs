//! A head: embeddings, prototypes and targets to a loss and its gradients.

use crate::arrays::{Number, read, read_optional, with_type_of, write};
use crate::errors::raised;
use crate::lease::{Lent, lend, take};
use crate::loss::{Loss, read_state, reduction_of};
use crate::memory;
use crate::optimizer::Optimizer;
use crate::row_arrays::RowArrays;
use crate::threads::compute;
use ndarray::{ArrayView1, ArrayView2, Ix1, Ix2};
use numpy::{PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::pythonize;
use softmargin::head::{
    self, HeadBatch, HeadGradients, HeadOptions, HeadParameters, HeadParametersMut, HeadValue, LearnedGradients,
};
use softmargin::{LossState, Reduction};

#[pyclass(frozen, module = "softmargin._core")]
pub(crate) struct Head {
    inner: head::Head,
}

/// The classes that take part in a step.
#[pyclass(frozen, module = "softmargin._core")]
pub(crate) struct SampledClasses {
    inner: head::SampledClasses,
}

#[pymethods]
impl SampledClasses {
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let classes = self.inner.classes().iter().map(|&class| i64::try_from(class).unwrap_or(i64::MAX));
        PyArray1::from_iter(py, classes)
    }
}

/// The optional inputs of a batch of embeddings.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Extras<'py> {
    bias: Option<Bound<'py, PyAny>>,
    sample_weights: Option<Bound<'py, PyAny>>,
    margins: Option<Bound<'py, PyAny>>,
    scale: Option<f64>,
    radius: Option<f64>,
    state: Option<Bound<'py, PyAny>>,
    sampled: Option<Bound<'py, SampledClasses>>,
}

#[pymethods]
impl Head {
    #[new]
    fn new(loss: &Loss, mode: &str, memory: u64, precision: &str, statistics: bool) -> PyResult<Self> {
        let (mode, precision) = (serde_name("mode", mode)?, serde_name("precision", precision)?);
        let options = HeadOptions { mode, memory, precision, statistics };
        Ok(Self { inner: head::Head::with_options(loss.inner.clone(), options).map_err(raised)? })
    }

    #[getter]
    fn num_prototypes(&self) -> usize {
        self.inner.num_prototypes()
    }

    fn release_memory(&self) {
        self.inner.release_memory();
    }

    fn sample(&self, target: Bound<'_, PyAny>, share: f64, seed: u64, step: u64) -> PyResult<SampledClasses> {
        let target = read::<i64, Ix1>("target", &target)?;
        Ok(SampledClasses { inner: self.inner.sample(target.as_array(), share, seed, step).map_err(raised)? })
    }

    /// Returns the loss of a batch, and its gradients if they are requested.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the Python call")]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        embeddings: Bound<'py, PyAny>,
        weight: Bound<'py, PyAny>,
        target: Bound<'py, PyAny>,
        reduction: &str,
        gradients: bool,
        extras: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (reduction, extras) = (reduction_of(reduction)?, extras.extract()?);
        with_type_of!(&embeddings, F => self.evaluate_as::<F>(py, &embeddings, &weight, &target, reduction, gradients, &extras))
    }

    /// Does a training step: changes weight and bias in place, and returns scale and radius with the result.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the Python call")]
    fn step<'py>(
        &self,
        py: Python<'py>,
        embeddings: Bound<'py, PyAny>,
        weight: Bound<'py, PyAny>,
        target: Bound<'py, PyAny>,
        optimizer: &Optimizer,
        reduction: &str,
        extras: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (reduction, extras): (_, Extras<'py>) = (reduction_of(reduction)?, extras.extract()?);
        let state = read_state(extras.state.as_ref())?;
        let mut weight = write::<Ix2>("weight", &weight)?;
        let mut bias = extras.bias.as_ref().map(|bias| write::<Ix1>("bias", bias)).transpose()?;
        let (mut scale, mut radius) = (extras.scale, extras.radius);
        let mut optimizer = optimizer.take()?;
        let optimizer = &mut *optimizer;
        let mut parameters = HeadParametersMut::new(weight.as_array_mut());
        if let Some(bias) = &mut bias {
            parameters = parameters.with_bias(bias.as_array_mut());
        }
        if let Some(scale) = &mut scale {
            parameters = parameters.with_scale(scale);
        }
        if let Some(radius) = &mut radius {
            parameters = parameters.with_radius(radius);
        }
        let outcome = with_batch::<f32, _>(&embeddings, &target, &extras, state.as_ref(), |batch| {
            compute(py, || self.inner.step(&batch, parameters, optimizer, reduction))
        })?;
        let (value, gradients) = outcome.map_err(raised)?;
        let answer = PyDict::new(py);
        put_value(&answer, &value)?;
        answer.set_item("grad_embeddings", PyArray2::from_owned_array(py, gradients.embeddings))?;
        put_learned(&answer, gradients.learned)?;
        answer.set_item("scale", scale)?;
        answer.set_item("radius", radius)?;
        Ok(answer)
    }

    /// Returns the scores of all classes, without margin and scale.
    #[pyo3(signature = (embeddings, weight, bias=None))]
    fn scores<'py>(
        &self,
        embeddings: Bound<'py, PyAny>,
        weight: Bound<'py, PyAny>,
        bias: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        with_type_of!(&embeddings, F => self.scores_of::<F>(&embeddings, &weight, bias.as_ref()))
    }

    /// Returns the state with a batch added to its averages.
    fn update<'py>(
        &self,
        py: Python<'py>,
        embeddings: Bound<'py, PyAny>,
        weight: Bound<'py, PyAny>,
        target: Bound<'py, PyAny>,
        extras: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let extras: Extras<'py> = extras.extract()?;
        let mut state = read_state(extras.state.as_ref())?.unwrap_or_default();
        with_type_of!(&embeddings, F => self.update_of::<F>(py, &embeddings, &weight, &target, &extras, &mut state)?);
        Ok(pythonize(py, &state)?)
    }
}

/// Calls `run` with a batch that borrows NumPy arrays.
fn with_batch<'py, F: Number, R>(
    embeddings: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    extras: &Extras<'py>,
    state: Option<&LossState>,
    run: impl FnOnce(HeadBatch<'_, F>) -> R,
) -> PyResult<R> {
    let embeddings = read::<F, Ix2>("embeddings", embeddings)?;
    let rows = RowArrays::read(target, [extras.sample_weights.as_ref(), extras.margins.as_ref(), None, None])?;
    let mut batch = HeadBatch::new(embeddings.as_array(), rows.inputs(state));
    if let Some(sampled) = &extras.sampled {
        batch = batch.with_sampled_classes(&sampled.get().inner);
    }
    Ok(run(batch))
}

/// Returns the parameters of a head over NumPy arrays.
fn parameters<'a, F: Number>(
    weight: ArrayView2<'a, F>,
    bias: Option<ArrayView1<'a, F>>,
    extras: &Extras<'_>,
) -> HeadParameters<'a, F> {
    let mut parameters = HeadParameters::new(weight);
    if let Some(bias) = bias {
        parameters = parameters.with_bias(bias);
    }
    if let Some(scale) = extras.scale {
        parameters = parameters.with_scale(scale);
    }
    if let Some(radius) = extras.radius {
        parameters = parameters.with_radius(radius);
    }
    parameters
}

impl Head {
    #[expect(clippy::too_many_arguments, reason = "the arguments of the Python call")]
    fn evaluate_as<'py, F: Lent>(
        &self,
        py: Python<'py>,
        embeddings: &Bound<'py, PyAny>,
        weight: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        reduction: Reduction,
        gradients: bool,
        extras: &Extras<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let state = read_state(extras.state.as_ref())?;
        let weight = read::<F, Ix2>("weight", weight)?;
        let weight = weight.as_array();
        let bias = read_optional::<F>("bias", extras.bias.as_ref())?;
        let parameters = parameters(weight, bias.as_ref().map(|bias| bias.as_array()), extras);
        if gradients {
            memory::check::<F>("gradients", 1, weight.dim())?;
        }
        let outcome = with_batch::<F, _>(embeddings, target, extras, state.as_ref(), |batch| {
            compute(py, || self.compute(&batch, parameters, reduction, gradients))
        })?;
        py.check_signals()?;
        let (value, gradients) = outcome.map_err(raised)?;
        let answer = PyDict::new(py);
        put_value(&answer, &value)?;
        if let Some(gradients) = gradients {
            let HeadGradients { embeddings, weight, learned } = gradients;
            answer.set_item("grad_embeddings", PyArray2::from_owned_array(py, embeddings))?;
            answer.set_item("grad_weight", lend(py, weight)?)?;
            put_learned(&answer, learned)?;
        }
        Ok(answer)
    }

    fn compute<F: Lent>(
        &self,
        batch: &HeadBatch<'_, F>,
        parameters: HeadParameters<'_, F>,
        reduction: Reduction,
        gradients: bool,
    ) -> softmargin::Result<(HeadValue<F>, Option<HeadGradients<F>>)> {
        if !gradients {
            return Ok((self.inner.value(batch, parameters, reduction)?, None));
        }
        let shape = (self.inner.num_prototypes(), batch.shape().1);
        let Some(mut weight) = take::<F>(shape) else {
            return self.inner.value_and_grad(batch, parameters, reduction).map(|(value, all)| (value, Some(all)));
        };
        let mut embeddings = ndarray::Array2::zeros(batch.shape());
        let (value, learned) =
            self.inner.value_and_grad_into(batch, parameters, reduction, embeddings.view_mut(), weight.view_mut())?;
        Ok((value, Some(HeadGradients { embeddings, weight, learned })))
    }

    fn scores_of<'py, F: Lent>(
        &self,
        embeddings: &Bound<'py, PyAny>,
        weight: &Bound<'py, PyAny>,
        bias: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = embeddings.py();
        let embeddings = read::<F, Ix2>("embeddings", embeddings)?;
        let weight = read::<F, Ix2>("weight", weight)?;
        let bias = read_optional::<F>("bias", bias)?;
        let (embeddings, weight) = (embeddings.as_array(), weight.as_array());
        let bias = bias.as_ref().map(|bias| bias.as_array());
        memory::check::<F>("scores", 1, (embeddings.nrows(), weight.nrows()))?;
        let spec = self.inner.loss().spec();
        let scores = compute(py, || {
            let scores = spec.geometry.scores(embeddings, weight, bias)?.scores;
            if spec.sub_centers == 1 {
                return Ok(scores);
            }
            softmargin::sub_centers::pool(scores.view(), spec.sub_centers).map(|pooled| pooled.scores)
        });
        Ok(PyArray2::from_owned_array(py, scores.map_err(raised)?).into_any())
    }

    fn update_of<'py, F: Lent>(
        &self,
        py: Python<'py>,
        embeddings: &Bound<'py, PyAny>,
        weight: &Bound<'py, PyAny>,
        target: &Bound<'py, PyAny>,
        extras: &Extras<'py>,
        state: &mut LossState,
    ) -> PyResult<()> {
        let weight = read::<F, Ix2>("weight", weight)?;
        let bias = read_optional::<F>("bias", extras.bias.as_ref())?;
        let parameters = parameters(weight.as_array(), bias.as_ref().map(|bias| bias.as_array()), extras);
        with_batch::<F, _>(embeddings, target, extras, None, |batch| {
            compute(py, || self.inner.update(state, &batch, parameters))
        })?
        .map_err(raised)
    }
}

/// Adds the value of a batch and the statistics of its rows to a dictionary.
fn put_value<F: Number>(answer: &Bound<'_, PyDict>, value: &HeadValue<F>) -> PyResult<()> {
    let py = answer.py();
    answer.set_item("value", value.total.widen())?;
    answer.set_item("row_losses", PyArray1::from_array(py, &value.rows))?;
    answer.set_item("total_weight", value.weight)?;
    answer.set_item("num_valid", value.valid_rows)?;
    answer.set_item("target_scores", PyArray1::from_array(py, &value.statistics.target_score))?;
    answer.set_item("predictions", PyArray1::from_array(py, &value.statistics.top))?;
    let distribution = value.statistics.distribution.as_ref();
    answer.set_item("log_sum_exp", distribution.map(|found| PyArray1::from_array(py, &found.log_sum_exp)))?;
    answer.set_item("entropy", distribution.map(|found| PyArray1::from_array(py, &found.entropy)))
}

/// Adds the gradients with respect to bias, scale and radius to a dictionary.
fn put_learned<F: Lent>(answer: &Bound<'_, PyDict>, gradients: LearnedGradients<F>) -> PyResult<()> {
    answer.set_item("grad_bias", PyArray1::from_owned_array(answer.py(), gradients.bias))?;
    answer.set_item("grad_scale", gradients.scale.widen())?;
    answer.set_item("grad_radius", gradients.radius.widen())
}

/// Returns the option with a name, as in files.
fn serde_name<T: serde::de::DeserializeOwned>(what: &str, name: &str) -> PyResult<T> {
    serde_json::from_value(name.into()).map_err(|cause| PyValueError::new_err(format!("{what}: {cause}")))
}
