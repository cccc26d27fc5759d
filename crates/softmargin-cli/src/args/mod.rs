//! The flags and their help: one file per subcommand.

mod common;
mod completions;
mod embed;
mod evaluate;
mod losses;
mod man;
mod predict;
mod train;
mod value_parsers;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
pub(crate) use common::Common;
pub(crate) use completions::CompletionsOptions;
pub(crate) use embed::EmbedOptions;
pub(crate) use evaluate::EvaluateOptions;
pub(crate) use losses::LossesOptions;
pub(crate) use man::ManOptions;
pub(crate) use predict::PredictOptions;
use softmargin_lab::Error;
use softmargin_lab::config::current_name;
pub(crate) use train::TrainOptions;

/// Trains recognizers with softmax and margin losses, and uses them.
#[derive(Debug, Parser)]
#[command(name = "softmargin", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  softmargin train --out digits-run                 the built-in digits
  softmargin train --data photos/ --out photos-run  a folder of images
  softmargin evaluate digits-run                    accuracy, loss and the metrics of each class
  softmargin predict digits-run scan.png            the class of an image
  softmargin embed digits-run digits --out d.npy    embeddings for other programs
  softmargin losses                                 all losses
  softmargin losses arcface                         one loss in detail

Exit codes: 0 done, 1 the work failed, 2 the request is wrong.";

impl Arguments {
    /// Parses the arguments of the process. Ends the process after `--help` and on invalid arguments.
    ///
    /// # Errors
    /// On a flag with an old name; the message gives the new one.
    pub(crate) fn of_process() -> Result<Self, Error> {
        Self::try_parse().map_err(|error| old_flag(&error).unwrap_or_else(|| error.exit()))
    }
}

/// Returns the error for a flag that has a new name.
fn old_flag(error: &clap::Error) -> Option<Error> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let new = current_name(flag.strip_prefix("--")?).filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    Some(Error::request(flag, "a current name", "an old one", format!("use --{new}")))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a recognizer, test it, and save it in a run directory
    Train(Box<TrainOptions>),
    /// Evaluate the model of a run directory on labeled samples
    Evaluate(EvaluateOptions),
    /// Predict the classes of images or embeddings with the model of a run directory
    Predict(PredictOptions),
    /// Write the embeddings of samples by the model of a run directory
    Embed(EmbedOptions),
    /// List the losses, or show one in detail
    Losses(LossesOptions),
    /// Print the completions for a shell
    Completions(CompletionsOptions),
    /// Print the man page, or write the man pages of all subcommands
    Man(ManOptions),
}

#[cfg(test)]
mod tests {
    use super::{Arguments, old_flag};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_flags_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_old_flag_is_rejected_with_the_new_one() {
        for arguments in [["train", "--optimiser", "sgd"].as_slice(), &["train", "--optimiser=sgd"]] {
            let error = Arguments::try_parse_from(["softmargin"].iter().chain(arguments)).unwrap_err();
            let error = old_flag(&error).unwrap();
            assert_eq!(error.to_string(), "--optimiser: expected a current name, found an old one; use --optimizer");
            assert_eq!(error.exit_code(), 2);
        }
        let error = Arguments::try_parse_from(["softmargin", "train", "--optimizr", "sgd"]).unwrap_err();
        assert!(old_flag(&error).is_none(), "clap suggests the most similar flag");
    }

    #[test]
    fn no_line_of_help_is_wrapped_twice() {
        for name in ["train", "evaluate", "predict", "embed", "losses", "completions", "man"] {
            for width in [80, 120] {
                let mut command = Arguments::command().term_width(width);
                let help = command.find_subcommand_mut(name).unwrap().clone().term_width(width);
                let help = help.clone().render_help().to_string();
                let lines: Vec<&str> = help.lines().collect();
                for pair in lines.windows(2).filter(|pair| is_text(pair[0]) && is_text(pair[1])) {
                    let first_word = pair[1].split(' ').next().unwrap_or_default();
                    let whole = pair[0].chars().count() + 1 + first_word.chars().count();
                    assert!(whole > width, "{name} at {width}: {first_word} would fit:\n{help}");
                }
                assert!(lines.iter().all(|line| line.chars().count() <= width), "{name} at {width}:\n{help}");
            }
        }
    }

    /// Returns whether a line is part of a paragraph.
    fn is_text(line: &str) -> bool {
        line.chars().next().is_some_and(char::is_alphabetic) && !line.ends_with(':')
    }
}
