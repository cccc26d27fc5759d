//! Numbers and nouns in messages.

/// Formats a number and a noun that agrees with it.
pub(crate) fn counted(count: usize, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "class") => format!("{count} classes"),
        _ => format!("{count} {what}s"),
    }
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
}
