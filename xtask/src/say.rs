//! Output for the user.

use std::io::Write;

/// Prints a line to standard error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
