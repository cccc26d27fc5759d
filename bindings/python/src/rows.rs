//! The rows of a batch, for devices that sweep over the scores themselves: the core's `rows` over arrays.

use crate::arrays::read;
use crate::errors::raised;
use crate::loss::{Loss, read_state, reduction_of};
use crate::row_arrays::RowArrays;
use ndarray::{ArrayView1, Ix1, Ix2};
use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::pythonize;
use softmargin::Real;
use softmargin::rows::{
    Accumulators, ExpSums, Exponentials, GateSums, Learned, NegativeTransform, Present, RowOutcome, SweepKind,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The plan of a batch, and the outcomes of its rows so far.
#[pyclass(frozen, module = "softmargin._core")]
pub(crate) struct RowPlan {
    found: Mutex<Found>,
}

struct Found {
    plan: softmargin::rows::RowPlan,
    outcomes: Vec<RowOutcome>,
}

/// Returns the plan of a batch; values of rows are `float64`.
#[pyfunction]
#[pyo3(signature = (loss, target, *, sample_weights=None, margins=None, embedding_norms=None, state=None, scale=None, radius=None))]
#[expect(clippy::too_many_arguments, reason = "the arguments of the Python call")]
pub(crate) fn plan_rows(
    loss: &Loss,
    target: Bound<'_, PyAny>,
    sample_weights: Option<Bound<'_, PyAny>>,
    margins: Option<Bound<'_, PyAny>>,
    embedding_norms: Option<Bound<'_, PyAny>>,
    state: Option<Bound<'_, PyAny>>,
    scale: Option<f64>,
    radius: Option<f64>,
) -> PyResult<RowPlan> {
    let state = read_state(state.as_ref())?;
    let rows =
        RowArrays::<f64>::read(&target, [sample_weights.as_ref(), margins.as_ref(), embedding_norms.as_ref(), None])?;
    let mut learned = Learned::default();
    (learned.scale, learned.radius) = (scale, radius);
    let plan = loss.inner.plan(&rows.inputs(state.as_ref()), learned).map_err(raised)?;
    let outcomes = vec![RowOutcome::default(); plan.count()];
    Ok(RowPlan { found: Mutex::new(Found { plan, outcomes }) })
}

/// Returns the state with a batch added to its averages, given the score of each row's target (N).
#[pyfunction]
#[pyo3(signature = (loss, state, target, target_scores, *, sample_weights=None, margins=None, embedding_norms=None))]
#[expect(clippy::too_many_arguments, reason = "the arguments of the Python call")]
pub(crate) fn update_rows<'py>(
    loss: &Loss,
    py: Python<'py>,
    state: Bound<'py, PyAny>,
    target: Bound<'py, PyAny>,
    target_scores: Bound<'py, PyAny>,
    sample_weights: Option<Bound<'py, PyAny>>,
    margins: Option<Bound<'py, PyAny>>,
    embedding_norms: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut state = read_state(Some(&state))?.unwrap_or_default();
    let rows =
        RowArrays::<f64>::read(&target, [sample_weights.as_ref(), margins.as_ref(), embedding_norms.as_ref(), None])?;
    let scores = read::<f64, Ix1>("target_scores", &target_scores)?;
    loss.inner.update_rows(&mut state, &rows.inputs(None), &scores.as_array().to_vec()).map_err(raised)?;
    Ok(pythonize(py, &state)?)
}

/// Returns the kind of a sweep over the negatives, and its gate: of the gaps, or of the scores against zero.
#[pyfunction]
pub(crate) fn sweep_of(loss: &Loss) -> (&'static str, Option<&'static str>) {
    let gate_name = |gate| match gate {
        softmargin::Gate::Relu => "relu",
        softmargin::Gate::Softplus => "softplus",
        softmargin::Gate::Identity => "identity",
    };
    match SweepKind::of(loss.inner.spec().comparison) {
        SweepKind::Exponentials => ("exponentials", None),
        SweepKind::Largest => ("largest", None),
        SweepKind::Gated { gate, against_zero: false } => ("gaps", Some(gate_name(gate))),
        SweepKind::Gated { gate, against_zero: true } => ("against-zero", Some(gate_name(gate))),
    }
}

#[pymethods]
impl RowPlan {
    /// Returns the weights of the rows (N).
    #[getter]
    fn weights<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_iter(py, self.found().plan.weights())
    }

    /// Returns the classes of the targets (N); 0 for ignored rows and soft targets.
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.found().plan.classes().map(|class| i64::try_from(class).unwrap_or(i64::MAX)))
    }

    /// Returns the scale of the scores, temperature included.
    #[getter]
    fn scale(&self) -> f64 {
        self.found().plan.scale()
    }

    /// Sets the norms of the targets' prototypes (N).
    fn set_target_norms(&self, norms: Bound<'_, PyAny>) -> PyResult<()> {
        let norms = read::<f64, Ix1>("norms", &norms)?;
        let norms = norms.as_array();
        let mut found = self.found();
        check_rows("norms", found.plan.count(), norms.len())?;
        found.plan.set_target_norms(norms.iter().copied());
        Ok(())
    }

    /// Returns the factor of each row's loss in the loss of the batch (N).
    fn row_factors<'py>(&self, py: Python<'py>, reduction: &str) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let (reduction, found) = (reduction_of(reduction)?, self.found());
        let factors = (0..found.plan.count()).map(|row| found.plan.row_factor(row, reduction));
        Ok(PyArray1::from_vec(py, factors.collect()))
    }

    /// Returns the shifts of the targets from row `first` on, given their scores, and the transform of the negatives.
    fn targets<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        scores: Bound<'py, PyAny>,
        single: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scores = read::<f64, Ix1>("scores", &scores)?;
        if single {
            self.targets_of::<f32>(py, first, scores.as_array())
        } else {
            self.targets_of::<f64>(py, first, scores.as_array())
        }
    }

    /// Finds the outcomes of the rows from `first` on; see `softmargin.torch._composed.sweep` for the accumulators
    /// (n, k). Returns the factors of the derivatives with respect to the scores, row weights not applied.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the Python call")]
    fn outcomes<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        scores: Bound<'py, PyAny>,
        single: bool,
        accumulators: Bound<'py, PyAny>,
        alone: Vec<bool>,
        correct: Vec<bool>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scores = read::<f64, Ix1>("scores", &scores)?;
        let accumulators = read::<f64, Ix2>("accumulators", &accumulators)?;
        let (scores, accumulators) = (scores.as_array(), accumulators.as_array());
        let mut found = self.found();
        check_rows("scores", found.plan.count().saturating_sub(first), scores.len())?;
        for (name, length) in
            [("accumulators", accumulators.nrows()), ("alone", alone.len()), ("correct", correct.len())]
        {
            check_rows(name, scores.len(), length)?;
        }
        let Found { plan, outcomes } = &mut *found;
        let kind = SweepKind::of(plan.loss().spec().comparison);
        for (index, &score) in scores.iter().enumerate() {
            let row = first + index;
            let sums = if alone[index] { None } else { Some(accumulators_of(kind, accumulators.row(index))?) };
            outcomes[row] = if single {
                plan.outcome(row, &plan.target::<f32>(row, score), sums.as_ref(), correct[index])
            } else {
                plan.outcome(row, &plan.target::<f64>(row, score), sums.as_ref(), correct[index])
            };
        }
        let column = |of: fn(&RowOutcome) -> f64| {
            PyArray1::from_iter(py, outcomes[first..first + scores.len()].iter().map(of).collect::<Vec<_>>())
        };
        let answer = PyDict::new(py);
        answer.set_item("target", column(|outcome| outcome.target))?;
        answer.set_item("negatives", column(|outcome| outcome.negatives))?;
        answer.set_item("share", column(|outcome| outcome.share))?;
        Ok(answer)
    }

    /// Sets the outcomes of soft targets: losses (n), and their derivatives with respect to the scale (n).
    fn soft_outcomes(&self, first: usize, losses: Bound<'_, PyAny>, scale: Bound<'_, PyAny>) -> PyResult<()> {
        let (losses, scale) = (read::<f64, Ix1>("losses", &losses)?, read::<f64, Ix1>("scale", &scale)?);
        let (losses, scale) = (losses.as_array(), scale.as_array());
        let mut found = self.found();
        check_rows("losses", found.plan.count().saturating_sub(first), losses.len())?;
        check_rows("scale", losses.len(), scale.len())?;
        for ((outcome, &loss), &scale) in found.outcomes[first..].iter_mut().zip(losses).zip(scale) {
            *outcome = RowOutcome::of_soft_target(loss, scale);
        }
        Ok(())
    }

    /// Returns the loss of the batch, and its derivatives with respect to everything but the scores, row by row.
    fn totals<'py>(&self, py: Python<'py>, reduction: &str) -> PyResult<Bound<'py, PyDict>> {
        let found = self.found();
        let totals = found.plan.totals(&found.outcomes, reduction_of(reduction)?);
        let answer = PyDict::new(py);
        answer.set_item("total", totals.total)?;
        answer.set_item("rows", PyArray1::from_vec(py, totals.rows))?;
        answer.set_item("scale", PyArray1::from_vec(py, totals.scale_of_rows))?;
        answer.set_item("radius", PyArray1::from_vec(py, totals.radius_of_rows))?;
        let optional = |values: Option<Vec<f64>>| values.map(|values| PyArray1::from_vec(py, values));
        answer.set_item("embedding_norms", optional(totals.embedding_norms))?;
        answer.set_item("target_norms", optional(totals.target_norms))?;
        Ok(answer)
    }
}

impl RowPlan {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn targets_of<'py, F: Real>(
        &self,
        py: Python<'py>,
        first: usize,
        scores: ArrayView1<'_, f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let found = self.found();
        check_rows("scores", found.plan.count().saturating_sub(first), scores.len())?;
        let targets: Vec<_> =
            scores.iter().enumerate().map(|(index, &score)| found.plan.target::<F>(first + index, score)).collect();
        let answer = PyDict::new(py);
        answer.set_item("shift", PyArray1::from_iter(py, targets.iter().map(|target| target.shift())))?;
        let (mut name, mut parameter) = (None, 0.0);
        let mut above = vec![f64::INFINITY; targets.len()];
        for (target, above) in targets.iter().zip(&mut above) {
            match target.negatives {
                Some(NegativeTransform::Misclassified { above: threshold, factor }) => {
                    (name, parameter, *above) = (Some("misclassified"), factor.widen(), threshold.widen());
                }
                Some(NegativeTransform::Curricular { above: threshold, mean }) => {
                    (name, parameter, *above) = (Some("curricular"), mean.widen(), threshold.widen());
                }
                Some(NegativeTransform::DividedAngle { by }) => {
                    (name, parameter) = (Some("divided-angle"), by.widen());
                }
                None => {}
            }
        }
        answer.set_item("transform", name)?;
        answer.set_item("parameter", parameter)?;
        answer.set_item("above", PyArray1::from_vec(py, above))?;
        Ok(answer)
    }
}

/// Returns the accumulators of a row from the columns of a sweep.
fn accumulators_of(kind: SweepKind, columns: ArrayView1<'_, f64>) -> PyResult<Accumulators> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of classes")]
    let count = |value: f64| value as usize;
    match (kind, columns.to_vec()[..].as_ref()) {
        (SweepKind::Exponentials, &[reference, exp, weighted, above_reference, present]) => {
            let present = Present { above_reference, count: count(present) };
            Ok(Accumulators::Exponentials(Exponentials { reference, sums: ExpSums { exp, weighted }, present }))
        }
        (SweepKind::Gated { .. }, &[value, slope, weighted]) => {
            Ok(Accumulators::Gated(GateSums { value, derivative: slope, weighted }))
        }
        (SweepKind::Largest, &[largest]) => Ok(Accumulators::Largest(largest)),
        (kind, other) => {
            let message = format!("accumulators: expected those of {kind:?}, found {} columns", other.len());
            Err(PyValueError::new_err(message))
        }
    }
}

fn check_rows(name: &str, expected: usize, found: usize) -> PyResult<()> {
    let fits = if name == "scores" || name == "losses" { found <= expected } else { found == expected };
    if fits {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("{name}: expected {expected} rows, found {found}")))
}
