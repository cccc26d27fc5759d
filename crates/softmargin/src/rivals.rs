//! What becomes of the scores of the classes that are not the target, before they are compared with it.

use serde::{Deserialize, Serialize};

/// How the scores `j != y` are modified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Rivals {
    /// They are compared as they are.
    #[default]
    #[serde(deserialize_with = "crate::spec::no_options")]
    Plain,
}
