//! Flags of `softmargin predict`.

use super::value_parsers::{number, whole};
use clap::Args;
use std::path::PathBuf;

const PREDICT_EXAMPLES: &str = "Examples:
  softmargin predict digits-run scan.png
  softmargin predict photos-run inbox/ --top 3
  softmargin predict photos-run inbox/ --unknown-below 0.8 --json
  softmargin predict faces-run embeddings.npy
  curl -s https://example.org/a.jpg | softmargin predict photos-run -

Images are converted to the size, the colors and the direction (light ink on dark ground or the other way) of the \
training images; an image should be framed like those: for the digits, one digit that nearly fills it.

A .npy file contains embeddings (N, D) for a run that was trained on embeddings; for one that was trained on images it \
contains images (N, H, W) or (N, H, W, 3), as bytes or as values from 0 to 1. Each row is a sample.

Probabilities are the softmax of the scaled scores: they add up to 1 over the known classes, whatever the image shows. \
With --unknown-below, a sample whose highest probability is lower is reported as unknown. The probability depends on the \
scale of the loss: with a loss on cosines a scale of 30 makes it close to 1 or spread out, a small scale keeps it low for \
all samples. Choose the threshold on your own samples, known and unknown.

A file that cannot be read is reported on standard error, the others are predicted, and the exit code is 1.";

#[derive(Args, Debug)]
#[command(after_help = PREDICT_EXAMPLES)]
pub(crate) struct PredictOptions {
    /// A run directory, made by 'softmargin train'
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// PNG, JPEG or .npy files, folders of them, or - for a file on standard input
    #[arg(value_name = "INPUTS", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Number of classes to show for each sample
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) top: usize,
    /// Report a sample as unknown if its highest probability is lower, from 0 to 1
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true)]
    pub(crate) unknown_below: Option<f64>,
}
