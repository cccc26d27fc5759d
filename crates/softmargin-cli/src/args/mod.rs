//! Flags and their help: one file a subcommand.

mod common;
mod completions;
mod embed;
mod evaluate;
mod losses;
mod man;
mod predict;
mod train;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
pub(crate) use common::Common;
pub(crate) use completions::CompletionsOptions;
pub(crate) use embed::EmbedOptions;
pub(crate) use evaluate::EvaluateOptions;
pub(crate) use losses::LossesOptions;
pub(crate) use man::ManOptions;
pub(crate) use predict::PredictOptions;
use softmargin_lab::DeviceChoice;
use std::str::FromStr;
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
  softmargin evaluate digits-run                    how good it is, class by class
  softmargin predict digits-run scan.png            what is on an image
  softmargin embed digits-run digits --out d.npy    embeddings for other programs
  softmargin losses                                 the losses there are
  softmargin losses arcface                         one of them in full

Exit codes: 0 done, 1 the work failed, 2 the request is wrong.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a recognizer, test it, and save it in a run directory
    Train(Box<TrainOptions>),
    /// Measure the model of a run directory on samples of known classes
    Evaluate(EvaluateOptions),
    /// Tell the classes of images or embeddings, with the model of a run directory
    Predict(PredictOptions),
    /// Write down the embeddings that the model of a run directory makes
    Embed(EmbedOptions),
    /// Show the losses of the family, or one of them in full
    Losses(LossesOptions),
    /// Print the completions of a shell
    Completions(CompletionsOptions),
    /// Print the man page, or write those of all subcommands
    Man(ManOptions),
}

/// A whole number; clap names the flag, and the ranges are checked with the rest of the request.
fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a whole number, 0 or above, found {text:?}"))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("expected a number such as 0.5, found {text:?}"))
}

/// A device by its name.
fn device() -> impl TypedValueParser<Value = DeviceChoice> {
    PossibleValuesParser::new(DeviceChoice::ALL.map(DeviceChoice::name)).try_map(|name| name.parse::<DeviceChoice>())
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_line_of_help_is_broken_twice() {
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

    /// Whether a line is part of a paragraph.
    fn is_text(line: &str) -> bool {
        line.chars().next().is_some_and(char::is_alphabetic) && !line.ends_with(':')
    }
}
