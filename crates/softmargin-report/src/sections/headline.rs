//! The result of the page in large type.

use crate::html::percent;

/// Shows a share from 0 to 1 and its name.
pub(crate) fn section(share: f64, name: &str) -> String {
    format!("<p class=\"figure\">{}<small> {name}</small></p>", percent(share, 2))
}
