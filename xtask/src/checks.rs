//! `cargo xtask test`: every check of the project, in the order in which they fail fastest.

use crate::cargo::cargo_command;
use crate::say::say;
use crate::{python, structure};
use std::time::Instant;

/// One check: its name, and the arguments and environment of `cargo`.
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

// One profile everywhere, so that the framework is built once; documentation and lints share its metadata.
const CHECKS: [Check; 6] = [
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
    // A workspace of its own, which the checks above do not see; without the fuzzer, which is C++.
    Check {
        name: "fuzz targets",
        arguments: &[
            "check",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--no-default-features",
            "--target-dir",
            "target",
        ],
        environment: &[],
    },
    Check { name: "tests", arguments: &["test", "--release", "--workspace"], environment: &[] },
    Check {
        name: "benches, once each",
        arguments: &["bench", "--profile", "release", "--package", "softmargin", "--", "--test"],
        environment: &[],
    },
];

/// Runs the checks until one fails; `quick` leaves out the Python package.
///
/// # Errors
/// If a check fails; the message says which one.
pub(crate) fn run_all(quick: bool) -> Result<(), String> {
    let start = Instant::now();
    say("== structure: the direction of dependence");
    let faults = structure::check()?.faults;
    if !faults.is_empty() {
        return Err(format!("structure failed:\n{}", faults.join("\n")));
    }
    for check in &CHECKS {
        say(&format!("== {}: cargo {}", check.name, check.arguments.join(" ")));
        if !run(check) {
            return Err(format!("{} failed", check.name));
        }
    }
    if quick {
        say(&format!("all checks but those of Python passed in {:.0} s", start.elapsed().as_secs_f64()));
        return Ok(());
    }
    say("== Python: the package, installed and tested");
    python::test().map_err(|fault| format!("Python failed: {fault}"))?;
    say(&format!("all checks passed in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

fn run(check: &Check) -> bool {
    let status = cargo_command().args(check.arguments).envs(check.environment.iter().copied()).status();
    status.is_ok_and(|status| status.success())
}
