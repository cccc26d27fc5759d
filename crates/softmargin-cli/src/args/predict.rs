//! Flags of `softmargin predict`.

use super::value_parsers::{number, whole};
use clap::Args;
use std::path::PathBuf;

const PREDICT_EXAMPLES: &str = "Examples:
  softmargin predict digits-run scan.png
  softmargin predict photos-run inbox/ --top 3
  softmargin predict photos-run inbox/ --unknown-below 0.5 --json
  softmargin predict faces-run embeddings.npy
  curl -s https://example.org/a.jpg | softmargin predict photos-run -

Images are converted to the size, the colors and the direction (light ink on dark ground or the other way) of the \
training images; an image should be framed like those: for the digits, one digit that nearly fills it.

Folders are searched with all folders below them.

A .npy file contains embeddings (N, D) for a run that was trained on embeddings; each row is a sample. For a run that \
was trained on images it contains images as bytes or as values from 0 to 1: gray (N, H, W), (N, H, W, 1) or \
(N, 1, H, W), color (N, H, W, 3) or (N, 3, H, W), or one image (H, W, 3) or (H, W, 1). A shape that can mean two of \
these is an error that says how to give each. Names of the rows are read from a file beside x.npy: x.names.json or \
x-names.json; beside test-embeddings.npy it is test-names.json.

Probabilities are the softmax of the scaled scores: they add up to 1 over the known classes, whatever the image shows. \
With --unknown-below, a sample whose best class is lower is reported as unknown. What is compared depends on the loss of \
the run, and the output names it:
  losses on cosines (arcface, am-softmax, normface, ...)   the cosine, from -1 to 1
  losses on inner products (cross-entropy, lse-hinge, ...)  the probability, from 0 to 1
The scale of losses on cosines drives probabilities to 1, also those of unknown samples; the cosine does not saturate. \
Choose the limit on your own samples, known and unknown: --json gives both as 'score' and 'probability' of each class, \
and the compared one as 'unknown_score'.

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
    /// Report a sample as unknown if its best class is lower: by cosine for losses on cosines, else by probability
    #[arg(long, value_name = "LIMIT", value_parser = number, allow_negative_numbers = true)]
    pub(crate) unknown_below: Option<f64>,
}
