//! `cargo xtask test` runs every check of the project, in the order in which they fail fastest.

mod dependence;
mod python;

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// One check: what it is called, and the arguments of `cargo`.
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

// One profile everywhere, so that the framework is built once; documentation and lints share its metadata.
const CHECKS: [Check; 5] = [
    Check { name: "format", arguments: &["fmt", "--all", "--check"], environment: &[] },
    Check {
        name: "lints",
        arguments: &["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"],
        environment: &[],
    },
    Check {
        name: "documentation",
        arguments: &["doc", "--release", "--workspace", "--no-deps"],
        environment: &[("RUSTDOCFLAGS", "--deny warnings")],
    },
    Check { name: "tests", arguments: &["test", "--release", "--workspace"], environment: &[] },
    Check {
        name: "benches, once each",
        arguments: &["bench", "--profile", "release", "--package", "softmargin", "--", "--test"],
        environment: &[],
    },
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("test") => test(),
        _ => {
            say(
                "usage: cargo xtask test    direction of dependence, format, lints, documentation, tests, benches, Python",
            );
            ExitCode::from(2)
        }
    }
}

fn test() -> ExitCode {
    let start = Instant::now();
    if let Err(fault) = dependence::check() {
        say(&format!("direction of dependence: {fault}"));
        return ExitCode::FAILURE;
    }
    for check in &CHECKS {
        say(&format!("== {}: cargo {}", check.name, check.arguments.join(" ")));
        if !cargo(check) {
            say(&format!("{} failed", check.name));
            return ExitCode::FAILURE;
        }
    }
    say("== Python: the package, installed and tested");
    if let Err(fault) = python::test() {
        say(&format!("Python failed: {fault}"));
        return ExitCode::FAILURE;
    }
    say(&format!("all checks passed in {:.0} s", start.elapsed().as_secs_f64()));
    ExitCode::SUCCESS
}

/// The cargo that runs this, so that a chosen toolchain stays chosen.
pub(crate) fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn cargo(check: &Check) -> bool {
    let status = cargo_command().args(check.arguments).envs(check.environment.iter().copied()).status();
    status.is_ok_and(|status| status.success())
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
