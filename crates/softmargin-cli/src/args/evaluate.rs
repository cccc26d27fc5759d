//! Flags of `softmargin evaluate`.

use clap::{Args, ValueEnum};
use softmargin_lab::DataSource;
use softmargin_lab::commands::Part;
use std::path::PathBuf;

const EVALUATE_EXAMPLES: &str = "Examples:
  softmargin evaluate digits-run
  softmargin evaluate photos-run --part validation
  softmargin evaluate photos-run --data new-photos/ --report new-photos.html
  softmargin evaluate photos-run --json | jq .accuracy

Other data must only have classes that the model knows, by their names; some may be missing. The accuracy is the share of \
samples whose highest score is that of their class. The loss is that of training, including its margin, in the state \
after training. The precision of a class is the share of the samples predicted as the class that belong to it; its recall \
is the share of its samples that are predicted as the class.";

#[derive(Args, Debug)]
#[command(after_help = EVALUATE_EXAMPLES)]
pub(crate) struct EvaluateOptions {
    /// A run directory, made by 'softmargin train'
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Labeled samples, as for 'softmargin train' [default: the data of the run]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<DataSource>,
    /// The part of the data [default: test for the data of the run, all for other data]
    #[arg(long, value_name = "PART", value_enum)]
    pub(crate) part: Option<PartName>,
    /// An HTML page to write, with the metrics of each class and the confusion matrix
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// The values of `--part`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PartName {
    /// The test set
    Test,
    /// The validation set
    Validation,
    /// The training set
    Train,
    /// All samples
    All,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Part {
        match name {
            PartName::Test => Part::Test,
            PartName::Validation => Part::Validation,
            PartName::Train => Part::Train,
            PartName::All => Part::All,
        }
    }
}
