//! The command `train`: trains a model, tests its best epoch once, and writes the run directory.

use super::report_records::{data_facts, ending, epoch_point, evaluation_record};
use super::saved_model::predictor;
use crate::config::{Config, ConfigRequest};
use crate::observer::{Observer, Outline};
use crate::panics::panic_to_error;
use crate::predictor::Evaluation;
use crate::run::{Checkpoint, Destination, EndRecord, FinishedRun, Run, Stopped, lines};
use crate::training::{EpochEnd, FittedModel, Trainer, TrainingState};
use serde::Serialize;
use softmargin_data::Dataset;
use softmargin_data::error::Error;
use softmargin_metrics::ClassCounts;
use softmargin_report::{RunPage, TrainingRecord, run_page};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The result of a training run: the output of `train --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSummary {
    /// The accuracy on the test set; `None` if the test failed.
    pub test_accuracy: Option<f64>,
    /// The mean loss on the test set, with the margin; `None` if the test failed.
    pub test_loss: Option<f64>,
    /// The number of test samples.
    pub test_images: usize,
    /// The accuracy of the saved model on the validation set; `None` without a validation set.
    pub validation_accuracy: Option<f64>,
    /// The mean training loss of the last epoch.
    pub train_loss: f64,
    /// The seconds from reading the data to the end of the test.
    pub seconds: f64,
    /// Training samples per second.
    pub images_per_second: f64,
    /// The number of epochs; the last may have been interrupted.
    pub epochs: usize,
    /// The epoch of the saved model, from 1.
    pub best_epoch: usize,
    /// The reason why training ended.
    pub stopped: Stopped,
    /// The name of the loss.
    pub loss: String,
    /// The number of trained parameters.
    pub parameters: usize,
    /// The run directory.
    pub out: PathBuf,
    /// The parts that the run directory lacks because something failed, each with its cause; empty without a failure.
    pub missing: Vec<String>,
}

/// Trains a model, tests its best epoch once, and writes the run directory.
///
/// # Errors
/// With exit code 2: a request that cannot be met. With exit code 1: data that cannot be read, training that diverges,
/// a run directory that cannot be written. Then nothing is left behind. A failure after the first epoch is not an error
/// but part of the summary ([`TrainSummary::missing`]): the run directory has the best model so far.
pub fn train(
    request: &ConfigRequest,
    destination: &Destination,
    observer: &mut dyn Observer,
) -> Result<TrainSummary, Error> {
    let start = Instant::now();
    request.check()?;
    let device = request.training.device.unwrap_or_default().open()?;
    let data = Dataset::load(&request.source(), &request.load_options())?;
    let config = Config::resolve(request, &data)?;
    let trainer = Trainer::new(&config, &data, &device)?;
    let parameters = trainer.parameters();
    let draft = destination.begin(&config, &data.classes)?;
    observer.begins(&outline(&config, &data, parameters, draft.path(), destination));
    let fingerprint = data.fingerprint();
    let FittedModel { weights, state, failure } = trainer.fit(observer, &mut |end: &EpochEnd| {
        draft.save(end.best, end.last, &checkpoint(end.state, &fingerprint), &lines(&end.state.epochs)?)
    })?;
    let mut missing = Vec::new();
    if let Some(error) = failure {
        missing.push(missing_epochs(&config, &state, &error));
    }
    observer.test_begins();
    let run =
        Run { config, classes: data.classes.clone(), model: weights, checkpoint: checkpoint(&state, &fingerprint) };
    let evaluation = panic_to_error("the test", || {
        predictor(run.config.clone(), run.model.clone(), &run.checkpoint, device)?.evaluate(&data.test)
    });
    let evaluation = evaluation.map_err(|error| missing.push(format!("the result on the test set: {error}"))).ok();
    let result = TrainingResult { run: &run, data: &data, state: &state, evaluation: evaluation.as_ref(), parameters };
    let mut summary = result.summary(start.elapsed().as_secs_f64(), destination.path(), missing);
    let metrics = [lines(&state.epochs)?, lines(&[result.end_record(&summary)])?].concat();
    let FinishedRun { path, faults } = draft.finish(&run, &metrics, &result.page(&summary))?;
    summary.out = path;
    summary.missing.extend(faults.iter().map(ToString::to_string));
    Ok(summary)
}

/// Says which epochs a failure cost, and its cause.
fn missing_epochs(config: &Config, state: &TrainingState, error: &Error) -> String {
    let (done, all) = (state.epochs.len(), config.training.epochs);
    if done < all {
        format!("epochs {} to {all}: {error}", done + 1)
    } else {
        format!("a checkpoint of epoch {done}: {error}")
    }
}

fn outline(config: &Config, data: &Dataset, parameters: usize, draft: &Path, destination: &Destination) -> Outline {
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
        draft: draft.to_path_buf(),
        unfinished: destination.unfinished_runs(),
    }
}

/// Returns the part of the training state that a run directory stores.
fn checkpoint(state: &TrainingState, fingerprint: &str) -> Checkpoint {
    Checkpoint {
        epochs: state.epochs.len(),
        steps: state.steps,
        best_epoch: state.best.epoch(),
        samples: Some(fingerprint.to_owned()),
        stopped: state.stopped,
        loss_state: state.best_loss_state.clone(),
    }
}

/// The results that are known after the test.
struct TrainingResult<'a> {
    run: &'a Run,
    data: &'a Dataset,
    state: &'a TrainingState,
    evaluation: Option<&'a Evaluation>,
    parameters: usize,
}

impl TrainingResult<'_> {
    fn summary(&self, seconds: f64, out: &Path, missing: Vec<String>) -> TrainSummary {
        let Self { run, state, evaluation, .. } = self;
        let last = state.epochs.last();
        TrainSummary {
            test_accuracy: evaluation.map(|evaluation| evaluation.classification.accuracy),
            test_loss: evaluation.map(|evaluation| evaluation.loss),
            test_images: self.data.test.len(),
            validation_accuracy: state.best.result().map(|result| result.accuracy),
            train_loss: last.map_or(f64::NAN, |epoch| epoch.loss),
            seconds,
            images_per_second: last.map_or(0.0, |last| state.images as f64 / last.seconds),
            epochs: state.epochs.len(),
            best_epoch: state.best.epoch(),
            stopped: state.stopped.unwrap_or(Stopped::Finished),
            loss: run.config.loss.name.clone(),
            parameters: self.parameters,
            out: out.to_path_buf(),
            missing,
        }
    }

    fn end_record(&self, summary: &TrainSummary) -> EndRecord {
        let classes = self.evaluation.map_or(&[][..], |evaluation| &evaluation.classification.classes);
        EndRecord {
            test_accuracy: summary.test_accuracy,
            test_loss: summary.test_loss,
            test_images: summary.test_images,
            best_epoch: summary.best_epoch,
            stopped: summary.stopped,
            recalls: classes.iter().map(ClassCounts::recall).collect(),
            missing: summary.missing.clone(),
        }
    }

    /// Returns the content of `report.html`.
    fn page(&self, summary: &TrainSummary) -> String {
        let Self { run, data, state, evaluation, parameters } = self;
        let unwritable = |cause: toml::ser::Error| format!("# {cause}");
        run_page(&RunPage {
            title: format!("{}, {}", data.name, summary.loss),
            data: data_facts(data),
            training: TrainingRecord {
                epochs: state.epochs.iter().map(epoch_point).collect(),
                seconds: summary.seconds,
                best_epoch: summary.best_epoch,
                validation_accuracy: summary.validation_accuracy,
                ending: ending(summary.stopped),
                samples_per_second: summary.images_per_second,
                parameters: *parameters,
            },
            test: evaluation.map(|evaluation| evaluation_record(&data.classes, evaluation)),
            configuration: run.config.to_text(&[]).unwrap_or_else(unwritable),
            missing: summary.missing.clone(),
        })
    }
}
