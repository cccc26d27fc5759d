//! The configuration of a run, folded away.

use crate::html::escape;

pub(crate) fn section(text: &str) -> String {
    format!("<details><summary>configuration</summary><pre>{}</pre></details>", escape(text))
}
