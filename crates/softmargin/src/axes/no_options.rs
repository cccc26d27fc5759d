//! Variants without options in files: serde on its own would take any options there, and ignore them.

use serde::{Deserialize, Deserializer};

/// Reads the content of a variant that has no options, and rejects any that are there.
pub(super) fn no_options<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}
