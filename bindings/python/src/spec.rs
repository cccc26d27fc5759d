//! A loss by the names that the command has for it.

use crate::errors::raised;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pythonize::{depythonize, pythonize};
use serde_json::{Map, Value, json};
use softmargin::LossSpec;
use softmargin::presets::{self, Preset};

/// The preset of a name with other numbers and other parts.
pub(crate) fn resolve(
    name: &str,
    scale: Option<f64>,
    margin: Option<&[f64]>,
    parts: Option<&Bound<'_, PyAny>>,
) -> PyResult<(&'static Preset, LossSpec)> {
    let preset = presets::find(name).map_err(raised)?;
    let mut spec = preset.spec();
    if let Some(parts) = parts {
        let parts: Map<String, Value> =
            depythonize(parts).map_err(|cause| PyTypeError::new_err(format!("parts of the loss: {cause}")))?;
        let mut merged = serde_json::to_value(spec).map_err(unreadable)?;
        merge(&mut merged, Value::Object(parts));
        spec = serde_json::from_value(merged).map_err(unreadable)?;
    }
    Ok((preset, preset.with_numbers(spec, scale, margin).map_err(raised)?))
}

fn unreadable(cause: serde_json::Error) -> PyErr {
    PyValueError::new_err(format!("parts of the loss: {cause}; softmargin.losses(name)['spec'] shows them all"))
}

/// Puts `upper` over `lower`, table by table; a part of another kind replaces the whole of what is there.
fn merge(lower: &mut Value, upper: Value) {
    let (Value::Object(below), Value::Object(above)) = (&mut *lower, &upper) else {
        *lower = upper;
        return;
    };
    let of = |map: &Map<String, Value>| map.get("kind").cloned();
    if of(above).is_some() && of(above) != of(below) {
        *lower = upper;
        return;
    }
    for (key, value) in above.clone() {
        merge(below.entry(key).or_insert(Value::Null), value);
    }
}

/// What is known of a preset, or of all.
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
