//! Layout of text on a terminal: paragraphs wrapped between words, and columns aligned by display width.

use std::io::IsTerminal;
use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::UnicodeWidthStr;

/// The width of a terminal that does not tell its size.
const USUAL_WIDTH: usize = 80;
/// On narrower terminals, continued lines are not indented.
const INDENTED_FROM: usize = 40;

/// Returns the width of the terminal of standard error; `None` for a file or a pipe.
pub(crate) fn stderr_width() -> Option<usize> {
    let stream = std::io::stderr();
    stream.is_terminal().then(|| columns(terminal_size_of(&stream).map(|(width, _)| width)))
}

/// Returns the width of the terminal of standard output; `None` for a file or a pipe.
pub(crate) fn stdout_width() -> Option<usize> {
    let stream = std::io::stdout();
    stream.is_terminal().then(|| columns(terminal_size_of(&stream).map(|(width, _)| width)))
}

fn columns(width: Option<Width>) -> usize {
    width.map_or(USUAL_WIDTH, |Width(columns)| columns.into())
}

/// Wraps each line of a text between words; continued lines are indented. Without a width, for a file or a pipe, the
/// text stays as it is. Words longer than a line, such as paths, stay whole: the terminal continues them, and they can
/// be copied.
pub(crate) fn wrap(text: &str, width: Option<usize>, indent: usize) -> String {
    let Some(width) = width else { return text.into() };
    let indent = " ".repeat(if width < INDENTED_FROM { 0 } else { indent });
    let options = Options::new(width)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let lines = text.split('\n').map(|line| match display_width(line) > width {
        true => textwrap::fill(line, &options),
        false => line.into(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the number of columns of a text: East Asian characters and emoji take two, combining marks none.
pub(crate) fn display_width(text: &str) -> usize {
    text.width()
}

/// Fills a text with spaces up to a display width.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(display_width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str =
        "note   3 files neither PNG nor JPEG left out, the first photos/Thumbs.db; give --loss cross-entropy";

    #[test]
    fn lines_break_between_words_at_every_width() {
        for width in [20, 40, 80, 120] {
            let wrapped = wrap(NOTE, Some(width), 7);
            assert!(wrapped.lines().all(|line| display_width(line) <= width), "{width}:\n{wrapped}");
            let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
            assert_eq!(words(&wrapped), words(NOTE), "{width}: words stay whole");
        }
        assert!(wrap(NOTE, Some(40), 7).lines().skip(1).all(|line| line.starts_with("       ")));
        assert_eq!(wrap(NOTE, None, 7), NOTE, "a pipe gets one line");
    }

    #[test]
    fn wide_characters_count_twice_when_lines_break() {
        let wrapped = wrap("\u{732b}\u{732b}\u{732b} \u{72ac}\u{72ac}\u{72ac} \u{9ce5}", Some(13), 0);
        assert_eq!(wrapped, "\u{732b}\u{732b}\u{732b} \u{72ac}\u{72ac}\u{72ac}\n\u{9ce5}");
    }

    #[test]
    fn a_path_is_not_broken() {
        let path = "/a/very/long/path/to/a-folder/of/images/that/is/longer/than/a/line/of/the/terminal";
        assert!(wrap(&format!("note   written to {path} now"), Some(40), 7).lines().any(|line| line.trim() == path));
    }

    #[test]
    fn columns_are_aligned_by_display_width() {
        let telugu = "\u{c15}\u{c4d}";
        let names = ["cat", "\u{732b}", telugu, "e\u{301}", "\u{1f600}"];
        assert!(names.map(|name| display_width(&padded(name, 8))).iter().all(|&width| width == 8));
        assert_eq!(padded("longer than that", 3), "longer than that");
    }
}
