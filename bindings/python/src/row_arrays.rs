//! The inputs of the rows of a batch, as arrays that are read while a kernel runs.

use crate::arrays::{Number, Targets, read_optional};
use ndarray::Ix1;
use numpy::PyReadonlyArray;
use pyo3::prelude::*;
use softmargin::{LossState, RowInputs};

type Vector<'py, F> = Option<PyReadonlyArray<'py, F, Ix1>>;

/// Targets, and the optional values per row and per class.
pub(crate) struct RowArrays<'py, F: Number> {
    targets: Targets<'py, F>,
    sample_weights: Vector<'py, F>,
    margins: Vector<'py, F>,
    embedding_norms: Vector<'py, F>,
    weight_norms: Vector<'py, F>,
}

impl<'py, F: Number> RowArrays<'py, F> {
    /// Reads targets, sample weights, margins, embedding norms and weight norms.
    pub(crate) fn read(
        target: &Bound<'py, PyAny>,
        [sample_weights, margins, embedding_norms, weight_norms]: [Option<&Bound<'py, PyAny>>; 4],
    ) -> PyResult<Self> {
        Ok(Self {
            targets: Targets::read(target)?,
            sample_weights: read_optional("sample_weights", sample_weights)?,
            margins: read_optional("margins", margins)?,
            embedding_norms: read_optional("embedding_norms", embedding_norms)?,
            weight_norms: read_optional("weight_norms", weight_norms)?,
        })
    }

    /// Returns the inputs as the core takes them.
    pub(crate) fn inputs<'a>(&'a self, state: Option<&'a LossState>) -> RowInputs<'a, F> {
        let mut inputs = RowInputs::with_targets(self.targets.view());
        if let Some(weights) = &self.sample_weights {
            inputs = inputs.with_sample_weights(weights.as_array());
        }
        if let Some(margins) = &self.margins {
            inputs = inputs.with_margins(margins.as_array());
        }
        if let Some(norms) = &self.embedding_norms {
            inputs = inputs.with_embedding_norms(norms.as_array());
        }
        if let Some(norms) = &self.weight_norms {
            inputs = inputs.with_weight_norms(norms.as_array());
        }
        match state {
            Some(state) => inputs.with_state(state),
            None => inputs,
        }
    }
}
