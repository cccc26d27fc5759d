//! Training: batches, schedule, optimizer, the best model; then one test, and what is left of it all.

mod batches;
mod best;
mod clipping;
mod nesterov;
mod optimizer;
mod schedule;
mod trainer;

use crate::config::{Config, Request};
use crate::data::Dataset;
use crate::error::Error;
use crate::evaluation::{ClassCount, Evaluation};
use crate::model::Model;
use crate::observer::{Observer, Outline};
use crate::predictor::Predictor;
use crate::report;
use crate::run_dir::{Destination, Run};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;
use trainer::{Outcome, Trainer};

pub use optimizer::Optimizer;
pub use schedule::Schedule;

/// The result of a training run: what `train --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Share of the test images whose highest score was that of their class.
    pub test_accuracy: f64,
    /// Their mean loss, with the margin.
    pub test_loss: f64,
    /// Test images.
    pub test_images: usize,
    /// Share of the validation images that the best model has right; `None` where there are none.
    pub validation_accuracy: Option<f64>,
    /// Mean training loss of the last epoch.
    pub train_loss: f64,
    /// From the reading of the data to the end of the test.
    pub seconds: f64,
    /// Images a second, over the whole training.
    pub images_per_second: f64,
    /// Passes over the training data; the last of them may have been cut short.
    pub epochs: usize,
    /// The epoch of the model that was kept, from 1.
    pub best_epoch: usize,
    /// Why training ended.
    pub stopped: Stopped,
    /// The loss by name.
    pub loss: String,
    /// Numbers that were trained.
    pub parameters: usize,
    /// The run directory.
    pub out: PathBuf,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// All epochs are done.
    Finished,
    /// The patience with the validation was at an end.
    Early,
    /// Somebody asked for it.
    Interrupted,
}

/// The last line of `metrics.jsonl`.
#[derive(Serialize)]
struct TestLine {
    test_accuracy: f64,
    test_loss: f64,
    test_images: usize,
    best_epoch: usize,
    stopped: Stopped,
    /// Of each class: the share of its test images that were taken for it.
    recalls: Vec<Option<f64>>,
}

/// The advice where numbers have become too large.
const SMALLER_RATE: &str =
    "training diverges: use a smaller --lr, a --gradient-limit such as 1, or a --scale nearer to the usual";

/// Trains a recognizer, tests its best model once, and writes the run directory.
///
/// # Errors
/// On a request that cannot be met (exit code 2), data that cannot be read, training that diverges, and a run directory
/// that cannot be written (exit code 1). Then nothing is left behind.
pub fn train(request: &Request, destination: &Destination, observer: &mut dyn Observer) -> Result<Summary, Error> {
    let start = Instant::now();
    request.check()?;
    let device = request.training.device.unwrap_or_default().open()?;
    let data = Dataset::load(&request.source(), &request.load_options())?;
    let config = Config::resolve(request, &data)?;
    let trainer = Trainer::new(&config, &data, &device)?;
    let parameters = trainer.parameters();
    let draft = destination.begin(&config, &data.classes)?;
    observer.begins(&outline(&config, &data, parameters, draft.path()));
    let outcome = trainer.run(observer, &draft)?;
    observer.tests();
    let Outcome { epochs, model, checkpoint, mark, images, stopped } = outcome;
    let best_epoch = checkpoint.best_epoch;
    let run = Run { config, classes: data.classes.clone(), model, checkpoint };
    let predictor = Predictor::new(Model::load(&run, &device)?, run.config.clone(), device);
    let evaluation = predictor.evaluate(&data.test)?;
    let last = epochs.last().copied();
    let mut summary = Summary {
        test_accuracy: evaluation.accuracy,
        test_loss: evaluation.loss,
        test_images: evaluation.samples,
        validation_accuracy: mark.map(|mark| mark.accuracy),
        train_loss: last.map_or(f64::NAN, |epoch| epoch.loss),
        seconds: start.elapsed().as_secs_f64(),
        images_per_second: last.map_or(0.0, |last| images as f64 / last.seconds),
        epochs: epochs.len(),
        best_epoch,
        stopped,
        loss: run.config.loss.name.clone(),
        parameters,
        out: destination.path().to_path_buf(),
    };
    let report = report::page(&run.config, &data, &epochs, &evaluation, &summary)?;
    let metrics = [lines(&epochs)?, lines(&[test_line(&evaluation, &summary)])?].concat();
    summary.out = draft.finish(&run, &metrics, &report)?;
    Ok(summary)
}

fn outline(config: &Config, data: &Dataset, parameters: usize, workshop: &Path) -> Outline {
    Outline {
        data: data.description.clone(),
        split: data.split.clone(),
        notes: data.notes.clone(),
        loss: config.loss.name.clone(),
        train_images: data.train.len(),
        validation_images: data.validation.as_ref().map_or(0, |samples| samples.len()),
        test_images: data.test.len(),
        classes: config.data.classes,
        parameters,
        epochs: config.training.epochs,
        images: config.training.epochs * data.train.len(),
        workshop: workshop.to_path_buf(),
    }
}

fn test_line(evaluation: &Evaluation, summary: &Summary) -> TestLine {
    TestLine {
        test_accuracy: summary.test_accuracy,
        test_loss: summary.test_loss,
        test_images: summary.test_images,
        best_epoch: summary.best_epoch,
        stopped: summary.stopped,
        recalls: evaluation.classes.iter().map(ClassCount::recall).collect(),
    }
}

/// Lines of `metrics.jsonl`.
fn lines(values: &[impl Serialize]) -> Result<Vec<String>, Error> {
    let lines = values.iter().map(serde_json::to_string).collect::<Result<_, _>>();
    lines.map_err(|cause| Error::failure("metrics.jsonl", "numbers that can be written down", cause, ""))
}
