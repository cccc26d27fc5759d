//! Flags of `softmargin losses`.

use clap::Args;

const LOSSES_EXAMPLES: &str = "Examples:
  softmargin losses
  softmargin losses arcface
  softmargin losses --json";

#[derive(Args, Debug)]
#[command(after_help = LOSSES_EXAMPLES)]
pub(crate) struct LossesOptions {
    /// A loss to show in detail
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}
