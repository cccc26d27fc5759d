//! Flags and their help.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use softmargin_lab::{DataSource, DeviceChoice};
use std::path::PathBuf;
use std::str::FromStr;

/// Trains recognisers with softmax and margin losses, and uses them.
#[derive(Debug, Parser)]
#[command(name = "softmargin", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  softmargin train --out digits-run                 the built-in digits
  softmargin train --data photos/ --out photos-run  a folder of images
  softmargin predict digits-run scan.png            what is on an image
  softmargin losses                                 the losses there are
  softmargin losses arcface                         one of them in full

Exit codes: 0 done, 1 the work failed, 2 the request is wrong.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a recogniser, test it, and save it in a run directory
    Train(TrainOptions),
    /// Tell what is on images, with the model of a run directory
    Predict(PredictOptions),
    /// Show the losses of the family, or one of them in full
    Losses(LossesOptions),
}

/// The help of `train`, after the flags.
///
/// A paragraph is one line: clap wraps it to the width of the terminal.
const TRAIN_EXAMPLES: &str = "Examples:
  softmargin train
  softmargin train --loss arcface --scale 32 --margin 0.3 --out arcface-run
  softmargin train --loss combined-margin --margin 1,0.3,0.2
  softmargin train --data fashion-mnist/ --epochs 10 --out fashion-run
  softmargin train --data photos/ --embedding-size 256 --json > result.json

Data: the built-in 'digits' (1,797 images of 8 x 8 pixels); a folder of IDX files in MNIST's layout, plain or \
gzipped; or a folder of PNG and JPEG images with one sub-folder a class. If that has the folders 'train' and 'test', \
they are used as such; otherwise some images of each class are kept for the test, and the output says which.

The run directory has config.toml, model.safetensors, classes.json, metrics.jsonl, report.html and checkpoint/. It \
appears whole when all is done; a run that fails leaves none.";

#[derive(Args, Debug)]
#[command(after_help = TRAIN_EXAMPLES)]
pub(crate) struct TrainOptions {
    /// Images of known classes: 'digits', or a folder
    #[arg(long, value_name = "DATA", default_value = "digits")]
    pub(crate) data: DataSource,
    /// The loss; 'softmargin losses' shows which there are
    #[arg(long, value_name = "NAME", default_value = softmargin_lab::config::DEFAULT_LOSS)]
    pub(crate) loss: String,
    /// What scores are multiplied by; where a learned scale starts [default: the loss's own]
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    pub(crate) scale: Option<f64>,
    /// The margin, in radians where it is an angle; three numbers for combined-margin [default: the loss's own]
    #[arg(long, value_name = "M[,M,M]", value_delimiter = ',', value_parser = number, allow_negative_numbers = true)]
    pub(crate) margin: Option<Vec<f64>>,
    /// Numbers in an embedding [default: 128]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) embedding_size: Option<usize>,
    /// Side to which the images are brought, in pixels [default: by the data]
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) image_size: Option<usize>,
    /// Passes over the training images [default: by the data]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) epochs: Option<usize>,
    /// Images a step [default: by the data]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) batch_size: Option<usize>,
    /// The highest learning rate of the schedule [default: by the recipe]
    #[arg(long, value_name = "RATE", value_parser = number, allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// Fixes every random choice, to the bit
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device())]
    pub(crate) device: DeviceChoice,
    /// The run directory to make; it must not exist [default: the first free of run-1, run-2, ...]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object, with test_accuracy (0 to 1), seconds and out
    #[arg(long)]
    pub(crate) json: bool,
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

const PREDICT_EXAMPLES: &str = "Examples:
  softmargin predict digits-run scan.png
  softmargin predict photos-run inbox/ --top 3
  softmargin predict photos-run a.jpg b.jpg --json

Images are brought to the size, the colours and the direction (light ink on dark ground or the other way) that the \
model was trained with; an image should be framed like those, for the digits one digit that nearly fills it. \
Probabilities are the softmax of the scaled scores: they add up to 1 over the known classes, \
whatever is on the image.";

#[derive(Args, Debug)]
#[command(after_help = PREDICT_EXAMPLES)]
pub(crate) struct PredictOptions {
    /// A run directory, made by 'softmargin train'
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// PNG or JPEG files, or folders of them
    #[arg(value_name = "IMAGES", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// How many classes to show for each image
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) top: usize,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device())]
    pub(crate) device: DeviceChoice,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

const LOSSES_EXAMPLES: &str = "Examples:
  softmargin losses
  softmargin losses arcface
  softmargin losses --json";

#[derive(Args, Debug)]
#[command(after_help = LOSSES_EXAMPLES)]
pub(crate) struct LossesOptions {
    /// A loss to show in full
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
        for name in ["train", "predict", "losses"] {
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
