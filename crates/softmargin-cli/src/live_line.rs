//! The live line of a terminal: a bar between two texts, which stays on one row at any width.

use crate::terminal::{display_width, stderr_width};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::cell::Cell;
use std::io::{Result, Write, stderr};

/// The least width of the bar, with the spaces beside it.
const BAR: usize = 8;
/// Free columns at the end of the row. The terminal echoes `^C` there: in a full row it would start a new one.
const FREE: usize = 3;
/// The most times that the line is drawn in a second.
const DRAWN_PER_SECOND: u8 = 20;

pub(crate) struct LiveLine {
    bar: ProgressBar,
    /// The width in which the line was drawn last; 0 before.
    width: Cell<usize>,
}

impl LiveLine {
    /// Creates the line of a computation of `all` samples; it appears with the first `show`.
    pub(crate) fn new(all: usize) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(all as u64),
            ProgressDrawTarget::term_like_with_hz(Box::new(Row), DRAWN_PER_SECOND),
        );
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
        let _ = writeln!(stderr());
    }

    /// Removes the line from the terminal.
    pub(crate) fn clear(&self) {
        self.repaired();
        self.bar.finish_and_clear();
    }

    /// Clears the rows over which a terminal has wrapped the line since it became narrower, and returns its width.
    fn repaired(&self) -> usize {
        let Some(terminal) = stderr_width().filter(|_| !self.bar.is_hidden()) else { return 0 };
        let width = usable(terminal);
        let above = rows_above(self.width.replace(width), terminal);
        if above > 0 {
            let _ = write!(stderr(), "\x1b[{above}A\r\x1b[J");
        }
        width
    }
}

/// Returns the number of rows that a line of the width `drawn` takes above its last one on a terminal of `width`
/// columns.
fn rows_above(drawn: usize, width: usize) -> usize {
    drawn.div_ceil(width.max(1)).saturating_sub(1)
}

/// Returns the columns of the line on a terminal of `width` columns.
fn usable(width: usize) -> usize {
    width.saturating_sub(FREE).max(1)
}

/// The row of the line on standard error.
#[derive(Debug)]
struct Row;

impl TermLike for Row {
    fn width(&self) -> u16 {
        u16::try_from(usable(stderr_width().unwrap_or_default())).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> Result<()> {
        move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> Result<()> {
        move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> Result<()> {
        move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> Result<()> {
        move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> Result<()> {
        writeln!(stderr(), "{text}")
    }

    fn write_str(&self, text: &str) -> Result<()> {
        stderr().write_all(text.as_bytes())
    }

    fn clear_line(&self) -> Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> Result<()> {
        stderr().flush()
    }
}

/// Moves the cursor; a terminal would take 0 as 1.
fn move_cursor(n: usize, direction: char) -> Result<()> {
    if n == 0 { Ok(()) } else { write!(stderr(), "\x1b[{n}{direction}") }
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
            [120, 79, 78, 49, 48, 24, 23].map(chosen),
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
        assert_eq!([usable(80), usable(2), usable(0)], [77, 1, 1]);
    }
}
