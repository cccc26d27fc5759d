//! A loss by name, resolved by the core, and the description of all presets.

use crate::errors::raised;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pythonize::{depythonize, pythonize};
use serde_json::{Map, Value, json};
use softmargin::LossSpec;
use softmargin::presets::{self, Preset};
use softmargin::request::{LossRequest, Overlay};

/// Resolves a preset by name, with other numbers and other parts.
pub(crate) fn resolve(
    name: &str,
    scale: Option<f64>,
    margin: Option<&[f64]>,
    parts: Option<&Bound<'_, PyAny>>,
) -> PyResult<(&'static Preset, LossSpec)> {
    let spec = parts.map(overlay).transpose()?;
    let request = LossRequest { scale, margin: margin.map(<[f64]>::to_vec), spec, ..LossRequest::named(name) };
    let resolved = request.resolve().map_err(raised)?;
    Ok((resolved.preset, resolved.spec))
}

/// Reads a dictionary of parts; keys may have underscores.
fn overlay(parts: &Bound<'_, PyAny>) -> PyResult<Overlay> {
    let parts: Map<String, Value> =
        depythonize(parts).map_err(|cause| PyTypeError::new_err(format!("parts of the loss: {cause}")))?;
    Overlay::new(&parts).map_err(raised)
}

/// Returns true if a margin depends on class frequency, and the counts are not among the parts.
#[pyfunction]
#[pyo3(signature = (name, scale=None, margin=None, parts=None))]
pub(crate) fn needs_class_counts(
    name: &str,
    scale: Option<f64>,
    margin: Option<Vec<f64>>,
    parts: Option<Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let (_, spec) = resolve(name, scale, margin.as_deref(), parts.as_ref())?;
    Ok(spec.needs_class_counts())
}

/// Returns the description of a preset, or of all presets.
#[pyfunction]
#[pyo3(signature = (name=None))]
pub(crate) fn losses<'py>(py: Python<'py>, name: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    let about = match name {
        Some(name) => about(presets::find(name).map_err(raised)?),
        None => Value::Array(presets::all().iter().map(about).collect()),
    };
    Ok(pythonize(py, &about)?)
}

fn about(preset: &Preset) -> Value {
    let spec = preset.spec();
    json!({
        "name": preset.name,
        "aliases": preset.aliases,
        "summary": preset.summary,
        "equation": preset.equation,
        "gradient": preset.gradient,
        "paper": preset.paper,
        "scale": spec.scale.initial(),
        "margin": preset.default_margin(),
        "margin-names": preset.margin.names(),
        "spec": spec,
    })
}
