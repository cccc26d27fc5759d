//! The parts of a loss that differ from those of its preset: a tree of tables, from a file of any format.
//!
//! The tree is a [`serde_json::Value`], to which serde converts TOML tables and Python dictionaries. JSON is not part
//! of the interface. The rules of merging:
//!
//! | below | above | result |
//! |---|---|---|
//! | table | table of the same `kind`, or without one | merged key by key |
//! | table | table of another `kind` | the one above |
//! | margin value, as `{ one = 0.5 }` | another form, as `{ drawn = .. }` | the one above |
//! | anything else | anything | the one above |

use super::renamed::current_name;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::LossSpec;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The parts of a loss that differ from those of its preset: any part of a serialized [`LossSpec`].
///
/// Keys are the names in files, with hyphens; underscores are read as hyphens.
///
/// ```
/// use softmargin::request::Overlay;
/// let overlay: Overlay = toml::from_str("sub_centers = 3")?;
/// assert_eq!(toml::to_string(&overlay)?, "sub-centers = 3\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Overlay(Map<String, Value>);

impl<'de> Deserialize<'de> for Overlay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_keys(Map::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Overlay {
    /// Converts a table of any format, or a whole [`LossSpec`].
    ///
    /// # Errors
    /// If the value does not serialize to a table with strings as keys, or has a key twice: with hyphens and with
    /// underscores.
    pub fn new(parts: &impl Serialize) -> Result<Self> {
        match serde_json::to_value(parts) {
            Ok(Value::Object(parts)) => Self::from_keys(parts),
            Ok(other) => Err(unreadable(format!("{other}, which is not a table"))),
            Err(cause) => Err(unreadable(cause.to_string())),
        }
    }

    /// Returns `spec` with the parts of the overlay, which replace those of `spec`.
    ///
    /// # Errors
    /// If a key or kind is unknown, or a value has the wrong type. For a renamed key or kind, the message has the new
    /// name.
    pub fn apply_to(&self, spec: &LossSpec) -> Result<LossSpec> {
        check_renamed("spec", &self.0)?;
        let mut parts = serde_json::to_value(spec).map_err(|cause| unreadable(cause.to_string()))?;
        merge(&mut parts, Value::Object(self.0.clone()));
        serde_json::from_value(parts).map_err(|cause| unreadable(cause.to_string()))
    }

    fn from_keys(parts: Map<String, Value>) -> Result<Self> {
        with_hyphens("spec", parts).map(Self)
    }
}

fn unreadable(found: String) -> Error {
    Error::new(ErrorKind::Spec, "spec", "parts of the loss", found, "the spec of the preset has all keys")
}

/// Returns the same table with hyphens in all keys, as in files. Python and Rust write underscores.
fn with_hyphens(path: &str, table: Map<String, Value>) -> Result<Map<String, Value>> {
    let mut answer = Map::new();
    for (key, value) in table {
        let hyphenated = key.replace('_', "-");
        let path = format!("{path}.{hyphenated}");
        let value = match value {
            Value::Object(below) => Value::Object(with_hyphens(&path, below)?),
            value => value,
        };
        if answer.insert(hyphenated, value).is_some() {
            let found = "one with hyphens and one with underscores";
            return Err(Error::new(ErrorKind::Spec, path, "one value", found, "give it once, with hyphens"));
        }
    }
    Ok(answer)
}

/// Rejects old names of keys and kinds, with the new ones.
fn check_renamed(path: &str, table: &Map<String, Value>) -> Result<()> {
    for (key, value) in table {
        if let Some(new) = current_name(key) {
            return Err(renamed(path, new, key));
        }
        let path = format!("{path}.{key}");
        match value {
            Value::Object(below) => check_renamed(&path, below)?,
            Value::String(kind) if key == "kind" => {
                current_name(kind).map_or(Ok(()), |new| Err(renamed(&path, new, kind)))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn renamed(path: &str, new: &str, old: &str) -> Error {
    let advice = format!("\"{old}\" was renamed: write \"{new}\"");
    Error::new(ErrorKind::Spec, path, format!("\"{new}\""), format!("\"{old}\""), advice)
}

/// The forms of a [`MarginValue`](crate::MarginValue) that are tables: the form is the only key.
const MARGIN_VALUES: [&str; 5] = ["one", "per-class", "drawn", "from-norm", "by-frequency"];

/// Merges `upper` into `lower`, by the rules at the top of this file.
fn merge(lower: &mut Value, upper: Value) {
    match (lower, upper) {
        (Value::Object(lower), Value::Object(upper)) if !is_another_variant(lower, &upper) => {
            for (key, value) in upper {
                merge(lower.entry(key).or_insert(Value::Null), value);
            }
        }
        (lower, upper) => *lower = upper,
    }
}

/// Returns true if two tables are different variants, so that the parts of one have no meaning in the other.
fn is_another_variant(lower: &Map<String, Value>, upper: &Map<String, Value>) -> bool {
    let form = |table: &Map<String, Value>| MARGIN_VALUES.iter().position(|form| table.contains_key(*form));
    match (upper.get("kind"), form(lower), form(upper)) {
        (Some(kind), ..) => lower.get("kind") != Some(kind),
        (None, Some(lower), Some(upper)) => lower != upper,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::margin_value::{MarginValue, NormMargin};
    use serde_json::json;

    /// Returns the key of a form. The match is exhaustive, so that a new form does not compile before it is added here.
    fn name(value: &MarginValue<f64>) -> Option<&'static str> {
        match value {
            MarginValue::One(_) => Some("one"),
            MarginValue::PerClass(_) => Some("per-class"),
            MarginValue::PerSample => None,
            MarginValue::Drawn { .. } => Some("drawn"),
            MarginValue::FromNorm(_) => Some("from-norm"),
            MarginValue::ByFrequency { .. } => Some("by-frequency"),
        }
    }

    #[test]
    fn every_form_of_margin_value_is_known() {
        let standardized = NormMargin::Standardized { value: 0.4, concentration: 0.3, momentum: 0.1 };
        let values = [
            MarginValue::One(0.1),
            MarginValue::PerClass(vec![0.1]),
            MarginValue::PerSample,
            MarginValue::Drawn { mean: 0.1, std: 0.1 },
            MarginValue::FromNorm(standardized),
            MarginValue::ByFrequency { largest: 0.1, class_counts: None },
        ];
        let tables: Vec<&str> = values.iter().filter_map(name).collect();
        assert_eq!(tables, MARGIN_VALUES);
        for value in values {
            let json = serde_json::to_value(&value).unwrap();
            assert_eq!(json.as_object().map(|table| table.keys().next().unwrap().as_str()), name(&value));
        }
    }

    #[test]
    fn tables_are_merged_and_another_kind_replaces_the_whole() {
        for (lower, upper, merged) in [
            (json!({"a": 1, "b": {"c": 2, "d": 3}}), json!({"b": {"d": 4}}), json!({"a": 1, "b": {"c": 2, "d": 4}})),
            (json!({"kind": "a", "x": 1}), json!({"x": 2}), json!({"kind": "a", "x": 2})),
            (json!({"kind": "a", "x": 1}), json!({"kind": "a", "y": 2}), json!({"kind": "a", "x": 1, "y": 2})),
            (json!({"kind": "a", "x": 1}), json!({"kind": "b", "y": 2}), json!({"kind": "b", "y": 2})),
            (json!({"x": 1}), json!({"kind": "b", "y": 2}), json!({"kind": "b", "y": 2})),
            (json!({"one": 1}), json!({"drawn": {"mean": 1}}), json!({"drawn": {"mean": 1}})),
            (
                json!({"drawn": {"mean": 1, "std": 2}}),
                json!({"drawn": {"std": 3}}),
                json!({"drawn": {"mean": 1, "std": 3}}),
            ),
            (json!("relu"), json!({"kind": "softplus"}), json!({"kind": "softplus"})),
            (json!({"one": 1}), json!("per-sample"), json!("per-sample")),
            (json!([1, 2]), json!([3]), json!([3])),
            (json!({"a": {"b": 1}}), json!({"a": null}), json!({"a": null})),
        ] {
            let mut found = lower.clone();
            merge(&mut found, upper.clone());
            assert_eq!(found, merged, "{upper} over {lower}");
        }
    }
}
