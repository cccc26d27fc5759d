//! Flags of `softmargin evaluate`.

use clap::{Args, ValueEnum};
use softmargin_lab::DataSource;
use softmargin_lab::run_data::Part;
use std::path::PathBuf;

const EVALUATE_EXAMPLES: &str = "Examples:
  softmargin evaluate digits-run
  softmargin evaluate photos-run --part validation
  softmargin evaluate photos-run --data new-photos/ --report new-photos.html
  softmargin evaluate photos-run --json | jq .accuracy

Other data must have classes that the model knows, by their names; they need not have all of them. Accuracy is the share \
of the samples whose highest score was that of their class. The loss is the one that the run was trained with, margin \
and all, in the state that training left it in. Precision of a class: of the samples taken for it, the share that are; \
recall: of its samples, the share that were taken for it.";

#[derive(Args, Debug)]
#[command(after_help = EVALUATE_EXAMPLES)]
pub(crate) struct EvaluateOptions {
    /// A run directory, made by 'softmargin train'
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Samples of known classes, as for 'softmargin train' [default: the data of the run]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<DataSource>,
    /// Which samples of them [default: test of the run's own data, all of other data]
    #[arg(long, value_name = "PART", value_enum)]
    pub(crate) part: Option<PartName>,
    /// A page to write, with the classes and what was taken for what
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// A part of a data set, as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PartName {
    /// The samples held out for the test
    Test,
    /// The samples that the best model was chosen by
    Validation,
    /// The samples that the model was trained with
    Train,
    /// All of them
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
