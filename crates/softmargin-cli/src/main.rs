//! The command `softmargin`.
//!
//! The result goes to standard output, as text or, with `--json`, as one JSON object. Everything else, such as progress
//! and errors, goes to standard error. Exit codes: 0; 1 if the work failed; 2 if the request is wrong.

mod answer;
mod args;
mod completions;
mod embed;
mod evaluate;
mod ignored_signals;
mod interrupt;
mod live_line;
mod losses;
mod man;
mod pace;
mod predict;
mod progress;
mod terminal;
mod train;
mod waiting;

use answer::{Answer, say};
use args::{Arguments, Command};
use softmargin_lab::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Arguments::of_process().and_then(|arguments| run(&arguments)) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(Arguments { command, common }: &Arguments) -> Result<ExitCode, Error> {
    common.apply()?;
    let answer: Answer = match command {
        Command::Train(options) => train::run(options, common)?,
        Command::Evaluate(options) => evaluate::run(options, common)?.into(),
        Command::Predict(options) => predict::run(options, common)?,
        Command::Embed(options) => embed::run(options, common)?,
        Command::Losses(options) => losses::run(options, common)?.into(),
        Command::Completions(options) => completions::run(options, common)?.into(),
        Command::Man(options) => man::run(options, common)?.into(),
    };
    answer.print()
}
