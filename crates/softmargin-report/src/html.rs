//! The frame of a page, and text that is safe inside it.

use std::fmt::Write;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;\
color:#1c2430;background:#fff}h1{font-weight:600;margin:0}h2{font-weight:600;margin:2rem 0 .5rem}\
h3{font-weight:600;font-size:1rem;margin:1.5rem 0 .3rem}.figure{font-size:3rem;line-height:1.2;margin:.5rem 0 1rem}\
.figure small{font-size:1rem;color:#5b6675}.beside{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;align-items:flex-start}\
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}\
th,td{padding:.15rem .6rem;text-align:right}th{font-weight:600;color:#5b6675}tr>:first-child,.pairs tr>:nth-child(2){text-align:left}\
tbody tr:nth-child(odd){background:#f4f6f8}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}\
dt{color:#5b6675}dd{margin:0;overflow-wrap:anywhere}pre{background:#f4f6f8;padding:1rem;overflow:auto}\
details{margin:2rem 0}summary{cursor:pointer}p.note{color:#5b6675;font-size:.85rem;margin:.3rem 0}\
svg{max-width:100%;height:auto}";

/// Returns a whole page; the title is plain text, the parts are HTML.
pub(crate) fn document(title: &str, parts: &[String]) -> String {
    let title = escape(title);
    let mut page = format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n");
    let _ = writeln!(page, "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>");
    let _ = writeln!(page, "<h1>{title}</h1>");
    for part in parts {
        let _ = writeln!(page, "{part}");
    }
    page + "</html>\n"
}

/// Formats a share from 0 to 1.
pub(crate) fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", 100.0 * share)
}

/// Converts plain text to HTML: names of classes and files may contain any character.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escape("<b>&\""), "&lt;b&gt;&amp;&quot;");
    }
}
