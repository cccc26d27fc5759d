//! Names that have changed: one table for flags, keys of files and kinds.
//!
//! A name of the left column is an error everywhere, and the message gives the name of the right column.

pub use softmargin::request::{RENAMED, current_name};
use toml::{Table, Value};

/// An old name in a file, with its section, and the new one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OldName {
    pub(crate) found: String,
    pub(crate) new: String,
}

/// Returns the first old name among the keys and kinds of a table.
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
