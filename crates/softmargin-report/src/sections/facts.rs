//! Names and values, one below the other.

use crate::html::escape;
use crate::records::Fact;

pub(crate) fn section(facts: &[Fact]) -> String {
    let rows = facts.iter().map(|Fact { name, value }| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value)));
    format!("<dl>{}</dl>", rows.collect::<String>())
}
