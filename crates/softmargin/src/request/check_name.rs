//! The check that the name of a preset matches the parts of the loss.

use super::loss_request::LossRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::presets;
use crate::spec::LossSpec;
use serde_json::Value;

impl LossRequest {
    /// Rejects an overlay that turns the named preset into another one. In a saved file this means that only the name
    /// or only the parts were changed. Parts that match no preset are accepted.
    ///
    /// # Errors
    /// If the result is another preset, numbers aside; also as [`resolve`](Self::resolve).
    ///
    /// ```
    /// use softmargin::request::{LossRequest, Overlay};
    /// use softmargin::presets;
    /// let spec = Some(Overlay::new(&presets::AM_SOFTMAX.spec())?);
    /// assert!(LossRequest { spec: spec.clone(), ..LossRequest::named("cosface") }.check_name().is_ok());
    /// let error = LossRequest { spec, ..LossRequest::named("arcface") }.check_name().unwrap_err();
    /// assert!(error.to_string().contains("parts of arcface, found those of am-softmax"));
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn check_name(&self) -> Result<()> {
        let named = self.preset()?;
        let parts = parts(&self.overlaid(named)?)?;
        let mut meant = None;
        for preset in presets::all() {
            if self::parts(&preset.spec())? == parts {
                if preset.name == named.name {
                    return Ok(());
                }
                meant = meant.or(Some(preset));
            }
        }
        let Some(meant) = meant else { return Ok(()) };
        let (expected, found) = (format!("parts of {}", named.name), format!("those of {}", meant.name));
        let advice = format!("for {} remove the spec; for {} change the name", named.name, meant.name);
        Err(Error::new(ErrorKind::Spec, "spec", expected, found, advice))
    }
}

/// Returns the parts of a loss with all numbers hidden, and without the parts that any loss may have.
fn parts(spec: &LossSpec) -> Result<Value> {
    let counted = spec.clone().with_class_counts(&[]);
    let plain = counted.with_class_weights(None).with_ignored_label(None).with_sub_centers(1);
    let parts = serde_json::to_value(plain);
    let mut parts =
        parts.map_err(|cause| Error::new(ErrorKind::Spec, "spec", "values that serialize", cause.to_string(), ""))?;
    hide_numbers(&mut parts);
    Ok(parts)
}

fn hide_numbers(value: &mut Value) {
    match value {
        Value::Object(table) => table.iter_mut().for_each(|(_, value)| hide_numbers(value)),
        Value::Number(_) | Value::Array(_) => *value = Value::Null,
        _ => {}
    }
}
