//! Flags of `softmargin man`.

use clap::Args;
use std::path::PathBuf;

const MAN_EXAMPLES: &str = "Examples:
  softmargin man | man -l -
  softmargin man --out ~/.local/share/man/man1";

#[derive(Args, Debug)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManOptions {
    /// An existing directory for the man pages of all subcommands; prints the page of the command otherwise
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
