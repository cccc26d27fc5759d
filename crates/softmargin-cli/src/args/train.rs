//! Flags of `softmargin train`.

use super::value_parsers::{number, whole};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use softmargin_lab::config::{
    DataRequest, LossRequest, NetworkRequest, OptimizerConfig, OptimizerRequest, Schedule, TrainingRequest,
};
use softmargin_lab::data::HoldOut;
use softmargin_lab::{ConfigRequest, DataSource, DeviceChoice};
use std::path::PathBuf;

/// The help of `train`, after the flags.
///
/// A paragraph is one line: clap wraps it to the width of the terminal.
const TRAIN_EXAMPLES: &str = "Examples:
  softmargin train
  softmargin train --loss arcface --scale 32 --margin 0.3 --out arcface-run
  softmargin train --loss combined-margin --margin 1,0.3,0.2
  softmargin train --data fashion-mnist/ --epochs 10 --out fashion-run
  softmargin train --data photos/ --test-split last:4 --patience 10
  softmargin train --data embeddings/ --loss am-softmax --optimizer adamw
  softmargin train --config run-1/config.toml --seed 1 --out run-1-again
  softmargin train --data photos/ --embedding-size 256 --json > result.json

Data: the built-in 'digits' (1,797 images of 8 x 8 pixels); a folder of IDX files in MNIST's layout, plain or \
gzipped; a folder of PNG and JPEG images with one sub-folder per class; or a folder with embeddings.npy and labels.npy. \
If a folder has the parts 'train' and 'test', they are used as such; otherwise some samples of each class become the test \
set, and the output lists the rule. Some training samples of each class become the validation set, which chooses the \
best epoch; the test set is used once, at the end.

Embeddings: only a head is trained on them; with --embedding-size, a linear projection and a head.

Configuration: --config takes a TOML file with any part of the keys in docs/configuration.md, such as the config.toml of \
a run, which makes a bitwise identical model again. Flags win over the file.

Ctrl-C: the first ends training, and the best model so far is tested and saved; a second one ends the process at once.

The run directory has config.toml, model.safetensors, classes.json, metrics.jsonl, report.html and checkpoint/. It \
appears complete at the end; a run that fails leaves none. Until then it grows in a hidden folder beside its place, \
which remains after a power failure, at most one epoch old.";

#[derive(Args, Debug)]
#[command(after_help = TRAIN_EXAMPLES)]
pub(crate) struct TrainOptions {
    /// Labeled samples: 'digits', or a folder [default: digits]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<DataSource>,
    /// A TOML file with any part of a configuration, such as the config.toml of a run
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The loss; 'softmargin losses' lists them [default: am-softmax]
    #[arg(long, value_name = "NAME")]
    pub(crate) loss: Option<String>,
    /// Factor of the scores; initial value of a learned scale [default: by the loss]
    #[arg(long, value_name = "S", value_parser = number, allow_negative_numbers = true)]
    pub(crate) scale: Option<f64>,
    /// The margin, in radians if it is an angle; three values for combined-margin [default: by the loss]
    #[arg(long, value_name = "M[,M,M]", value_delimiter = ',', value_parser = number, allow_negative_numbers = true)]
    pub(crate) margin: Option<Vec<f64>>,
    /// Embedding dimension [default: 128; for data of embeddings their own, without a projection]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) embedding_size: Option<usize>,
    /// Side to which images are resized, in pixels [default: by the data]
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) image_size: Option<usize>,
    /// The test set of data without one, per class: 'every:N', 'last:N' [default: every:5]
    #[arg(long, value_name = "RULE")]
    pub(crate) test_split: Option<HoldOut>,
    /// The validation set, per class of the training set: 'every:N', 'last:N', 'none' [default: every:10]
    #[arg(long, value_name = "RULE")]
    pub(crate) validation_split: Option<HoldOut>,
    /// Passes over the training set [default: by the data]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) epochs: Option<usize>,
    /// The most samples in a step [default: by the data]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) batch_size: Option<usize>,
    /// The optimizer: sgd with Nesterov momentum, or adamw [default: sgd]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(OptimizerConfig::NAMES), hide_possible_values = true)]
    pub(crate) optimizer: Option<String>,
    /// The highest learning rate of the schedule [default: 0.1; 0.002 with adamw]
    #[arg(long, value_name = "RATE", value_parser = number, allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// The learning rate schedule: cosine, one-cycle or constant [default: cosine]
    #[arg(long, value_name = "NAME", value_parser = schedule(), hide_possible_values = true)]
    pub(crate) schedule: Option<Schedule>,
    /// Share of the steps during which the rate rises to its highest value [default: 0.2]
    #[arg(long, value_name = "SHARE", value_parser = number, allow_negative_numbers = true)]
    pub(crate) warm_up: Option<f64>,
    /// Weight decay of matrices and kernels; biases, scales and shifts have none [default: 0.0005; 0.05 with adamw]
    #[arg(long, value_name = "D", value_parser = number, allow_negative_numbers = true)]
    pub(crate) weight_decay: Option<f64>,
    /// Largest norm of the gradient of all parameters together; longer gradients are clipped [default: none]
    #[arg(long, value_name = "NORM", value_parser = number, allow_negative_numbers = true)]
    pub(crate) gradient_limit: Option<f64>,
    /// Epochs without a higher validation accuracy or a lower validation loss after which training stops [default:
    /// none]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) patience: Option<usize>,
    /// Seed of every random choice [default: 0]
    #[arg(long, value_name = "N", value_parser = whole::<u64>, allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// The run directory to make; it must not exist [default: the first unused of run-1, run-2, ...]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Parses the name of a schedule.
fn schedule() -> impl TypedValueParser<Value = Schedule> {
    PossibleValuesParser::new(Schedule::ALL.map(Schedule::name)).try_map(|name| {
        let known = Schedule::ALL.into_iter().find(|schedule| schedule.name() == name);
        known.ok_or("not a schedule")
    })
}

impl TrainOptions {
    /// Returns the flags as a request.
    pub(crate) fn request(&self, device: Option<DeviceChoice>) -> ConfigRequest {
        ConfigRequest {
            data: DataRequest {
                source: self.data.clone(),
                image_size: self.image_size,
                test_split: self.test_split,
                validation_split: self.validation_split,
                ..DataRequest::default()
            },
            loss: LossRequest {
                name: self.loss.clone(),
                scale: self.scale,
                margin: self.margin.clone(),
                ..LossRequest::default()
            },
            network: NetworkRequest { embedding: self.embedding_size, ..NetworkRequest::default() },
            training: TrainingRequest {
                epochs: self.epochs,
                batch_size: self.batch_size,
                learning_rate: self.lr,
                schedule: self.schedule,
                warm_up: self.warm_up,
                weight_decay: self.weight_decay,
                gradient_limit: self.gradient_limit,
                patience: self.patience,
                seed: self.seed,
                device,
                optimizer: OptimizerRequest { kind: self.optimizer.clone(), ..OptimizerRequest::default() },
                ..TrainingRequest::default()
            },
            ..ConfigRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::args::Arguments;
    use clap::CommandFactory;
    use softmargin_lab::config::KEYS;

    #[test]
    fn every_flag_of_a_key_is_a_flag() {
        let mut command = Arguments::command();
        command.build();
        let train = command.find_subcommand("train").unwrap();
        let flags: Vec<String> =
            train.get_arguments().filter_map(|flag| flag.get_long().map(|name| format!("--{name}"))).collect();
        for key in KEYS.iter().filter(|key| !key.flag.is_empty()) {
            assert!(flags.iter().any(|flag| flag == key.flag), "{} of {}", key.flag, key.path);
        }
        let of_keys = |flag: &&String| !KEYS.iter().any(|key| key.flag == **flag);
        let others: Vec<&String> = flags.iter().filter(of_keys).collect();
        let known = ["--config", "--out", "--json", "--threads", "--quiet", "--help", "--version"];
        assert!(others.iter().all(|flag| known.contains(&flag.as_str())), "{others:?} have no key");
    }
}
