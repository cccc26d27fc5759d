//! Variants without options in files. By default, serde accepts any options there and ignores them.

use serde::{Deserialize, Deserializer};

/// Deserializes a variant without options, and rejects any options.
pub(super) fn no_options<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}
