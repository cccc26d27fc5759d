//! Flags of `softmargin completions`.

use clap::Args;
use clap_complete::Shell;

const COMPLETIONS_EXAMPLES: &str = "Examples:
  softmargin completions bash > ~/.local/share/bash-completion/completions/softmargin
  softmargin completions zsh > ~/.zfunc/_softmargin
  softmargin completions fish > ~/.config/fish/completions/softmargin.fish";

#[derive(Args, Debug)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsOptions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
