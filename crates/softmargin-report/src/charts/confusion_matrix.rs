//! A square matrix of counts, as an SVG picture: blue on the diagonal, red off it.

use crate::html::escape;
use std::fmt::Write;

/// Pixels: the most that all cells take together, the least and the most of a cell, and a cell with space for its
/// number.
const SIDE: usize = 640;
const CELL: (usize, usize) = (12, 40);
const NUMBERED: usize = 22;
/// Letters of a name at the edge of the picture; pixels of a letter.
const LETTERS: usize = 18;
const LETTER: usize = 8;
/// Names of at most this many letters stand upright above their column.
const UPRIGHT: usize = 2;

/// Draws a matrix whose rows and columns have the same `names`; `totals` are the sums of the rows, and `cells` are the
/// entries above 0: row, column, count.
pub(crate) fn picture(names: &[&str], totals: &[usize], cells: &[(usize, usize, usize)]) -> String {
    let side = (SIDE / names.len().max(1)).clamp(CELL.0, CELL.1);
    let longest = names.iter().map(|name| short(name).chars().count()).max().unwrap_or_default();
    // A line is higher than a letter is wide.
    let edge = 8 + (LETTER * longest).max(2 * LETTER);
    let whole = edge + side * names.len();
    // Names at the top lean over to the right, past the last column.
    let (width, height) = (whole + edge, whole + 2);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"#1c2430\">\
         <rect x=\"{edge}\" y=\"{edge}\" width=\"{0}\" height=\"{0}\" fill=\"#f4f6f8\"/>",
        side * names.len()
    );
    for (index, name) in names.iter().enumerate() {
        label(&mut svg, name, (edge, edge + side * index + side / 2), longest);
    }
    for &(row, column, count) in cells {
        let tip = format!("{} predicted as {}: {count} of {}", escape(names[row]), escape(names[column]), totals[row]);
        draw_cell(&mut svg, (row, column, count), totals[row], (edge, side), &tip);
    }
    svg + "</svg>"
}

/// Draws the name beside its row and above its column, at this distance from the corner; upright if all names are
/// short.
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

fn draw_cell(
    svg: &mut String,
    (row, column, count): (usize, usize, usize),
    total: usize,
    (edge, side): (usize, usize),
    tip: &str,
) {
    let (x, y) = (edge + side * column, edge + side * row);
    let color = if row == column { "#2062c9" } else { "#d0342c" };
    // Errors are rare: the root makes a single one visible.
    let strength = 0.08 + 0.62 * (count as f64 / total.max(1) as f64).sqrt();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_at_the_edge_of_the_picture() {
        assert_eq!(short("Ángström"), "Ángström");
        assert_eq!(short(&"é".repeat(30)).chars().count(), LETTERS);
        assert_eq!(short("Armenian-character39"), "Armenian…aracter39");
    }
}
