//! What a subcommand prints, and whether all of the work was done.

use crate::args::Common;
use serde::Serialize;
use softmargin_lab::Error;
use softmargin_lab::inputs::Failure;
use std::io::Write;
use std::process::ExitCode;

/// The result of a subcommand.
pub(crate) struct Answer {
    /// For standard output.
    pub(crate) text: String,
    /// Whether a part of the work failed, and was said on standard error: the exit code is 1.
    pub(crate) partial: bool,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, partial: false }
    }
}

impl Answer {
    /// Writes the result. A reader that has seen enough and closed the pipe is no failure.
    pub(crate) fn print(&self) -> Result<ExitCode, Error> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", self.text.trim_end()).and_then(|()| out.flush()) {
            Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::failure("standard output", "a place to write the result", &cause, "").with_source(cause))
            }
            _ => Ok(if self.partial { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
        }
    }
}

/// A result as one JSON object on one line.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|cause| Error::failure("--json", "a result that JSON can hold", cause, ""))
}

/// A line on standard error. There is nobody to tell of a standard error that cannot be written to.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What the user should know, unless it is not wanted.
pub(crate) fn note(notes: &[String], common: &Common) {
    if !common.quiet {
        notes.iter().for_each(|note| say(&format!("note: {note}")));
    }
}

/// What could not be read, a line each.
pub(crate) fn complain(failures: &[Failure]) {
    failures.iter().for_each(|failure| say(&format!("error: {}", failure.error)));
}

/// A source that could not be read, as `--json` prints it.
#[derive(Serialize)]
pub(crate) struct FailedFile {
    file: String,
    error: String,
}

impl FailedFile {
    pub(crate) fn all(failures: &[Failure]) -> Vec<Self> {
        let one = |Failure { file, error }: &Failure| Self { file: file.clone(), error: error.to_string() };
        failures.iter().map(one).collect()
    }
}
