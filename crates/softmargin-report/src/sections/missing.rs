//! The parts that a run lacks because something failed.

use crate::html::escape;

/// Lists the parts that are missing, each with its cause; nothing if the run is complete.
pub(crate) fn section(missing: &[String]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let items: String = missing.iter().map(|part| format!("<li>{}</li>", escape(part))).collect();
    format!("<p><strong>This run is not complete.</strong> It lacks:</p><ul>{items}</ul>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_listed_and_a_complete_run_has_no_list() {
        assert_eq!(section(&[]), "");
        let text = section(&["the test: a<b".into(), "epoch 3".into()]);
        assert!(text.contains("<li>the test: a&lt;b</li><li>epoch 3</li>"), "{text}");
    }
}
