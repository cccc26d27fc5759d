//! The command `softmargin`.
//!
//! Standard output has the result: for people, or one JSON object with `--json`. Everything else, progress and errors
//! too, goes to standard error. Exit codes: 0, 1 where the work failed, 2 where the request is wrong.

mod args;
mod losses;
mod predict;
mod progress;
mod train;

use args::{Arguments, Command};
use clap::Parser;
use softmargin_lab::Error;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Train(options) => train::run(&options),
        Command::Predict(options) => predict::run(&options),
        Command::Losses(options) => losses::run(&options),
    };
    match result.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Writes the result. A reader that has seen enough and closed the pipe is no failure.
fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failure("standard output", "a place to write the result", &cause, "").with_source(cause))
        }
        _ => Ok(()),
    }
}

/// A result as one JSON object on one line.
fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|cause| Error::failure("--json", "a result that JSON can hold", cause, ""))
}
