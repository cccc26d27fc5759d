//! Flags of `softmargin predict`.

use super::{device, whole};
use clap::Args;
use softmargin_lab::DeviceChoice;
use std::path::PathBuf;

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
