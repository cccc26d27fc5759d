//! Flags of `softmargin train`.

use super::{device, number, whole};
use clap::Args;
use softmargin_lab::{DataSource, DeviceChoice};
use std::path::PathBuf;

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
