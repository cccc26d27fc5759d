//! Tables of TOML: merging, and replacing fields of a value.

use super::keys::rejected;
use serde::Serialize;
use serde::de::DeserializeOwned;
use softmargin_data::error::Error;
use toml::{Table, Value};

/// The keys that decide which other keys their table may have.
const DECIDING: [&str; 2] = ["kind", "name"];

/// Merges `upper` into `lower`, table by table; `upper` wins.
pub(super) fn merge(lower: &mut Table, upper: Table) {
    let another = |key| matches!((lower.get(key), upper.get(key)), (Some(a), Some(b)) if a != b);
    if DECIDING.into_iter().any(another) {
        lower.clear();
    }
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// Replaces some fields of a value by those of a table; a key that the value does not have is an error.
pub(super) fn overlay<T: Serialize + DeserializeOwned>(
    section: &str,
    own: &T,
    asked: Option<&Table>,
) -> Result<T, Error> {
    let mut fields = table(section, own)?;
    merge(&mut fields, asked.cloned().unwrap_or_default());
    Value::Table(fields)
        .try_into()
        .map_err(|cause: toml::de::Error| rejected(section, "keys that have an effect there", cause.message()))
}

/// Converts a value to a table.
pub(super) fn table(section: &str, value: &impl Serialize) -> Result<Table, Error> {
    Table::try_from(value).map_err(|cause| rejected(section, "values that TOML can hold", cause))
}
