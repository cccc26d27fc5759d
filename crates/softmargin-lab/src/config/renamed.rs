//! Names that have changed: one table for flags, keys of files and kinds.
//!
//! A name of the left column is an error everywhere, and the message gives the name of the right column.

use toml::{Table, Value};

/// Old names and new ones. A key of several words is listed by the word that changed: `training.optimiser` by `optimiser`.
pub const RENAMED: &[(&str, &str)] = &[
    ("optimiser", "optimizer"),
    ("normalisation", "normalization"),
    ("deviation", "std"),
    ("rivals", "negatives"),
    ("sub-centres", "sub-centers"),
    ("regulariser", "regularizer"),
    ("amount", "value"),
    ("standardised", "standardized"),
    ("norm-deviation", "norm-std"),
];

/// The new name of a flag (without its dashes), key or kind; `None` if the name is not an old one.
///
/// ```
/// use softmargin_lab::config::current_name;
///
/// assert_eq!(current_name("optimiser"), Some("optimizer"));
/// assert_eq!(current_name("optimizer"), None);
/// ```
#[must_use]
pub fn current_name(old: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(name, _)| *name == old).map(|(_, new)| *new)
}

/// An old name in a file, with its section, and the new one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OldName {
    pub(crate) found: String,
    pub(crate) new: String,
}

/// The first old name among the keys and kinds of a table.
pub(crate) fn old_name(table: &Table) -> Option<OldName> {
    below("", table)
}

fn below(section: &str, table: &Table) -> Option<OldName> {
    let path = |name: &str| if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    table.iter().find_map(|(key, value)| match current_name(key) {
        Some(new) => Some(OldName { found: path(key), new: path(new) }),
        None => inside(&path(key), key, value),
    })
}

fn inside(path: &str, key: &str, value: &Value) -> Option<OldName> {
    match value {
        Value::Table(table) => below(path, table),
        Value::Array(values) => values.iter().find_map(|value| inside(path, key, value)),
        Value::String(kind) if key == "kind" => {
            current_name(kind).map(|new| OldName { found: format!("{path} = {kind:?}"), new: format!("{new:?}") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn no_current_name_is_an_old_one() {
        for key in KEYS {
            let words = key.path.split('.').chain([key.flag.trim_start_matches('-')]);
            assert!(words.into_iter().all(|word| current_name(word).is_none()), "{}", key.path);
        }
        assert!(RENAMED.iter().all(|(_, new)| current_name(new).is_none()));
    }

    #[test]
    fn texts_other_than_kinds_are_not_names() {
        let table: Table = toml::from_str("[data]\nsource = 'optimiser'\n[network]\nkind = 'none'").unwrap();
        assert_eq!(old_name(&table), None);
    }
}
