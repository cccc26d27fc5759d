//! Numbers, nouns and names in messages.

use std::borrow::Cow;

/// Formats a number and a noun that agrees with it.
///
/// ```
/// assert_eq!(softmargin_data::wording::counted(1_234, "image"), "1,234 images");
/// ```
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "class") => format!("{} classes", grouped(count)),
        _ => format!("{} {what}s", grouped(count)),
    }
}

/// Formats a number with commas between groups of three digits.
///
/// ```
/// assert_eq!(softmargin_data::wording::grouped(1_234_567), "1,234,567");
/// ```
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

/// Formats a share from 0 to 1 with a number of decimals.
///
/// ```
/// assert_eq!(softmargin_data::wording::percent(0.98765, 1), "98.8 %");
/// ```
#[must_use]
pub fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", 100.0 * share)
}

/// Returns a name of a class or a file as a message shows it, in one line. Control characters and characters that
/// change the direction of writing are escaped: a name must neither break a table nor control the terminal.
///
/// ```
/// assert_eq!(softmargin_data::wording::printable("two\nlines"), r"two\nlines");
/// ```
#[must_use]
pub fn printable(name: &str) -> Cow<'_, str> {
    let unsafe_to_print = |character: char| {
        character.is_control()
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !name.contains(unsafe_to_print) {
        return Cow::Borrowed(name);
    }
    let escaped = |character: char| match unsafe_to_print(character) {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    Cow::Owned(name.chars().map(escaped).collect())
}

/// Formats a number with its ordinal ending: `1st`, `12th`, `22nd`.
pub(crate) fn ordinal(n: usize) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_endings() {
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal),
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]
        );
    }

    #[test]
    fn nouns_agree_with_their_numbers() {
        assert_eq!([counted(1, "class"), counted(2, "class")], ["1 class", "2 classes"]);
        assert_eq!([counted(0, "image"), counted(1, "image")], ["0 images", "1 image"]);
    }

    #[test]
    fn digits_are_grouped_by_threes() {
        assert_eq!([0, 999, 1_000, 123_456, 1_234_567].map(grouped), ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn names_cannot_control_a_terminal() {
        assert_eq!(printable("caf\u{e9} \u{1f600} \u{928}\u{93f}"), "caf\u{e9} \u{1f600} \u{928}\u{93f}");
        assert_eq!(printable("a\tb\n\u{1b}[31m\u{202e}"), r"a\tb\n\u{1b}[31m\u{202e}");
    }
}
