//! The output of a subcommand, and whether all of the work succeeded.

use crate::args::Common;
use crate::terminal::{stderr_width, stdout_width, wrap};
use serde::Serialize;
use softmargin_lab::Error;
use softmargin_lab::data::wording::printable;
use softmargin_lab::input_files::UnreadableFile;
use std::io::Write;
use std::process::ExitCode;

/// The result of a subcommand.
pub(crate) struct Answer {
    /// For standard output.
    pub(crate) text: String,
    /// True if a part of the work failed and was reported on standard error: the exit code is 1.
    pub(crate) partial: bool,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, partial: false }
    }
}

impl Answer {
    /// Writes the result. A pipe closed by its reader is not a failure.
    pub(crate) fn print(&self) -> Result<ExitCode, Error> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", self.text.trim_end()).and_then(|()| out.flush()) {
            Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::failure("standard output", "a writable output", &cause, "").with_source(cause))
            }
            _ => Ok(if self.partial { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
        }
    }
}

/// Returns a result as one JSON object on one line.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|cause| Error::failure("--json", "a result that JSON can represent", cause, ""))
}

/// The width of the labels `note: `, `error: ` and `data   `: continued lines start below the text.
const LABEL: usize = 7;

/// Writes a line to standard error, wrapped on a terminal. Control characters are escaped: the line may contain any
/// name. A standard error that cannot be written to is ignored: nothing could report it.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", wrap(&printable(line), stderr_width(), LABEL));
}

/// Returns the text of a result for a reader, wrapped if standard output is a terminal.
pub(crate) fn prose(text: &str) -> String {
    wrap(text, stdout_width(), 2)
}

/// Writes notes to standard error, unless `--quiet` is given.
pub(crate) fn note(notes: &[String], common: &Common) {
    if !common.quiet {
        notes.iter().for_each(|note| say(&format!("note: {note}")));
    }
}

/// Reports the files that could not be read, one per line.
pub(crate) fn complain(failures: &[UnreadableFile]) {
    failures.iter().for_each(|failure| say(&format!("error: {}", failure.error)));
}

/// A file that could not be read, in the JSON output.
#[derive(Serialize)]
pub(crate) struct FailedFile {
    file: String,
    error: String,
}

impl FailedFile {
    pub(crate) fn all(failures: &[UnreadableFile]) -> Vec<Self> {
        let one =
            |UnreadableFile { file, error }: &UnreadableFile| Self { file: file.clone(), error: error.to_string() };
        failures.iter().map(one).collect()
    }
}
