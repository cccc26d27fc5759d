//! The call of cargo by the chores.

use std::process::Command;

/// Returns the cargo that runs this program, so that a chosen toolchain stays chosen.
pub(crate) fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
