//! What was taken for what: a picture of the confusion matrix of few classes, and the pairs with most errors.

use super::html::escape;
use crate::evaluation::{Confusion, Evaluation};
use std::fmt::Write;

/// More classes than this are no picture any more.
const PICTURE: usize = 50;
const PAIRS: usize = 15;
/// Pixels: what the cells take together at most, a cell at least and at most, and a cell that has room for its number.
const SIDE: usize = 640;
const CELL: (usize, usize) = (12, 40);
const NUMBERED: usize = 22;
/// Letters of a class name at the edge of the picture; pixels a letter.
const LETTERS: usize = 18;
const LETTER: usize = 8;
/// Names of so many letters stand above a column of their own.
const UPRIGHT: usize = 2;

pub(super) fn section(names: &[String], evaluation: &Evaluation) -> String {
    let picture = if names.len() <= PICTURE { picture(names, evaluation) } else { String::new() };
    format!("<div class=\"beside\">{picture}{}</div>", pairs(names, evaluation))
}

/// Rows are classes, columns what their samples were taken for.
fn picture(names: &[String], evaluation: &Evaluation) -> String {
    let cell = (SIDE / names.len().max(1)).clamp(CELL.0, CELL.1);
    let longest = names.iter().map(|name| short(name).chars().count()).max().unwrap_or_default();
    // A line is higher than a letter is wide.
    let edge = 8 + (LETTER * longest).max(2 * LETTER);
    let side = edge + cell * names.len();
    // Names at the top lean over to the right, past the last column.
    let (width, height) = (side + edge, side + 2);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"#1c2430\">\
         <rect x=\"{edge}\" y=\"{edge}\" width=\"{0}\" height=\"{0}\" fill=\"#f4f6f8\"/>",
        cell * names.len()
    );
    for (index, name) in names.iter().enumerate() {
        label(&mut svg, name, (edge, edge + cell * index + cell / 2), longest);
    }
    for (class, count) in evaluation.classes.iter().enumerate() {
        let right = Confusion { class, predicted: class, count: count.right };
        let errors = evaluation.errors.iter().filter(|error| error.class == class);
        for cell_of in errors.chain(std::iter::once(&right)).filter(|cell| cell.count > 0) {
            draw_cell(&mut svg, names, cell_of, count.support, (edge, cell));
        }
    }
    format!("<div><h3>Classes (rows), and what their samples were taken for (columns)</h3>{svg}</svg></div>")
}

/// The name beside its row and above its column, at this distance from the corner; upright where all names are short.
fn label(svg: &mut String, name: &str, (edge, at): (usize, usize), longest: usize) {
    let (name, end) = (escape(&short(name)), edge - 5);
    let above = match longest {
        0..=UPRIGHT => "text-anchor=\"middle\"".to_owned(),
        _ => format!("transform=\"rotate(-55 {at} {end})\""),
    };
    let _ = write!(
        svg,
        "<text x=\"{end}\" y=\"{at}\" text-anchor=\"end\" dominant-baseline=\"central\">{name}</text>\
         <text x=\"{at}\" y=\"{end}\" {above}>{name}</text>"
    );
}

fn draw_cell(svg: &mut String, names: &[String], cell: &Confusion, support: usize, (edge, side): (usize, usize)) {
    let Confusion { class, predicted, count } = *cell;
    let (x, y) = (edge + side * predicted, edge + side * class);
    let color = if class == predicted { "#2062c9" } else { "#d0342c" };
    // Errors are rare: the root makes a single one visible.
    let strength = 0.08 + 0.62 * (count as f64 / support.max(1) as f64).sqrt();
    let tip = format!("{} taken for {}: {count} of {support}", escape(&names[class]), escape(&names[predicted]));
    let _ = write!(
        svg,
        "<g><title>{tip}</title><rect x=\"{x}\" y=\"{y}\" width=\"{0}\" height=\"{0}\" fill=\"{color}\" \
         fill-opacity=\"{strength:.2}\"/>",
        side - 1
    );
    if side >= NUMBERED {
        let (x, y) = (x + side / 2, y + side / 2);
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" dominant-baseline=\"central\">{count}</text>"
        );
    }
    svg.push_str("</g>");
}

fn short(name: &str) -> String {
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    // Long names often begin alike and differ at their ends.
    let (head, tail) = (LETTERS / 2 - 1, LETTERS / 2);
    let end = name.chars().skip(name.chars().count() - tail);
    name.chars().take(head).chain(['…']).chain(end).collect()
}

/// The pairs with most errors.
fn pairs(names: &[String], evaluation: &Evaluation) -> String {
    let worst = evaluation.worst_confusions();
    if worst.is_empty() {
        return "<div><h3>Errors</h3><p class=\"note\">None.</p></div>".into();
    }
    let mut table = String::from(
        "<table class=\"pairs\"><thead><tr><th>class</th><th>taken for</th><th>samples</th></tr></thead><tbody>",
    );
    for Confusion { class, predicted, count } in worst.iter().take(PAIRS) {
        let (name, other) = (escape(&names[*class]), escape(&names[*predicted]));
        let support = evaluation.classes[*class].support;
        let _ = write!(table, "<tr><td>{name}</td><td>{other}</td><td>{count} of {support}</td></tr>");
    }
    let more = match worst.len().saturating_sub(PAIRS) {
        0 => String::new(),
        more => format!("<p class=\"note\">and {more} more pairs</p>"),
    };
    format!("<div><h3>Taken for another most often</h3>{table}</tbody></table>{more}</div>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class <{class}>")).collect()
    }

    #[test]
    fn a_picture_is_for_few_classes_and_has_a_cell_for_each_pair_that_occurs() {
        let predicted = [0, 1, 1, 0, 1];
        let labels = [0, 1, 0, 0, 0];
        let few = Evaluation::of(&predicted, &labels, 50, 0.0).unwrap();
        let page = section(&names(50), &few);
        assert_eq!(page.matches("<title>").count(), 3, "{page}");
        assert!(page.contains("class &lt;0&gt; taken for class &lt;1&gt;: 2 of 4") && !page.contains("<0>"), "{page}");
        let many = Evaluation::of(&predicted, &labels, 51, 0.0).unwrap();
        let page = section(&names(51), &many);
        assert!(!page.contains("<svg") && page.contains("<td>2 of 4</td>"), "{page}");
    }

    #[test]
    fn long_names_are_cut_at_the_edge_of_the_picture() {
        assert_eq!(short("Ángström"), "Ángström");
        assert_eq!(short(&"é".repeat(30)).chars().count(), LETTERS);
        assert_eq!(short("Armenian-character39"), "Armenian…aracter39");
    }

    #[test]
    fn no_errors_are_said_to_be_none() {
        let right = Evaluation::of(&[0, 1], &[0, 1], 2, 0.0).unwrap();
        assert!(section(&names(2), &right).contains("None."));
    }
}
