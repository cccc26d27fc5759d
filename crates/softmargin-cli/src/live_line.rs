//! The live line of a terminal: a bar between two texts, which stays on one row at any width.

use crate::terminal::{display_width, stderr_width};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::io::Write;

/// The least width of the bar, with the spaces beside it.
const BAR: usize = 10;

pub(crate) struct LiveLine {
    bar: ProgressBar,
    /// The width of the terminal when the line was drawn last; 0 before.
    width: Cell<usize>,
}

impl LiveLine {
    /// Creates the line of a computation of `all` samples; it appears with the first `show`.
    pub(crate) fn new(all: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(all as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.blue/dim} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
        Self { bar, width: Cell::new(0) }
    }

    /// Creates a line that is never drawn.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), width: Cell::new(0) }
    }

    /// Draws the line with the first of the texts that leaves space for the bar; `texts` starts with the longest.
    pub(crate) fn show(&self, done: usize, prefix: &str, texts: &[String]) {
        let width = self.repaired();
        self.bar.set_prefix(prefix.to_owned());
        self.bar.set_message(fitting(prefix, texts, width).to_owned());
        self.bar.set_position(done as u64);
    }

    /// Prints something above the line.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.repaired();
        self.bar.suspend(print);
    }

    /// Leaves the line on the terminal, with a last text and the bar where it is.
    pub(crate) fn leave(&self, texts: &[String]) {
        let width = self.repaired();
        if width == 0 {
            return;
        }
        self.bar.abandon_with_message(fitting(&self.bar.prefix(), texts, width).to_owned());
        // The line fills its row. Without a line break, a terminal that becomes wider would join it with the next one.
        let _ = writeln!(std::io::stderr());
    }

    /// Removes the line from the terminal.
    pub(crate) fn clear(&self) {
        self.repaired();
        self.bar.finish_and_clear();
    }

    /// Clears the rows over which a terminal has wrapped the line since it became narrower, and returns its width.
    fn repaired(&self) -> usize {
        let Some(width) = stderr_width().filter(|_| !self.bar.is_hidden()) else { return 0 };
        let above = rows_above(self.width.replace(width), width);
        if above > 0 {
            let _ = write!(std::io::stderr(), "\x1b[{above}A\r\x1b[J");
        }
        width
    }
}

/// Returns the number of rows that a line of the width `drawn` takes above its last one on a terminal of `width` columns.
fn rows_above(drawn: usize, width: usize) -> usize {
    drawn.div_ceil(width.max(1)).saturating_sub(1)
}

fn fitting<'a>(prefix: &str, texts: &'a [String], width: usize) -> &'a str {
    let fits = |text: &&String| display_width(prefix) + BAR + display_width(text) <= width;
    texts.iter().find(fits).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_that_leaves_a_bar_is_chosen() {
        let texts = ["a".repeat(60), "b".repeat(30), "c".repeat(5)];
        let chosen = |width| fitting("epoch 12/30", &texts, width).chars().next();
        assert_eq!(
            [120, 81, 80, 51, 50, 26, 25].map(chosen),
            ['a', 'a', 'b', 'b', 'c', 'c', '-'].map(|c| (c != '-').then_some(c))
        );
    }

    #[test]
    fn a_narrower_terminal_wraps_the_line() {
        assert_eq!(rows_above(80, 80), 0);
        assert_eq!(rows_above(80, 120), 0);
        assert_eq!(rows_above(120, 80), 1);
        assert_eq!(rows_above(200, 40), 4);
        assert_eq!([rows_above(0, 80), rows_above(80, 0)], [0, 79]);
    }
}
