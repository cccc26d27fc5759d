//! `cargo xtask`: the project's own chores.

mod arguments;
mod cargo;
mod checks;
mod python;
mod say;
mod structure;

use arguments::{Chore, USAGE};
use say::say;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments::parse(&arguments) {
        Ok(Chore::Test { quick }) => checks::run_all(quick),
        Ok(Chore::Structure) => print_structure(),
        Ok(Chore::Help) => {
            say(USAGE);
            Ok(())
        }
        Err(fault) => {
            say(&format!("{fault}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            say(&fault);
            ExitCode::FAILURE
        }
    }
}

fn print_structure() -> Result<(), String> {
    let structure = structure::check()?;
    let _ = write!(std::io::stdout(), "{}", structure.description);
    match structure.faults.len() {
        0 => Ok(()),
        count => Err(format!("{}\n\nstructure: {count} faults", structure.faults.join("\n"))),
    }
}
