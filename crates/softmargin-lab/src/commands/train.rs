//! The command `train`: trains a model, tests its best epoch once, and writes the run directory.

use super::report_records::{data_facts, ending, epoch_point, evaluation_record};
use super::saved_model::predictor;
use crate::config::{Config, ConfigRequest};
use crate::observer::{Observer, Outline};
use crate::predictor::Evaluation;
use crate::run::{Checkpoint, Destination, Draft, Run, Stopped, TestRecord, lines};
use crate::training::{EpochEnd, FittedModel, Trainer, TrainingState};
use burn::tensor::Device;
use serde::Serialize;
use softmargin_data::Dataset;
use softmargin_data::error::Error;
use softmargin_metrics::ClassCounts;
use softmargin_report::{RunPage, TrainingRecord, run_page};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The result of a training run: the output of `train --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSummary {
    /// The accuracy on the test set.
    pub test_accuracy: f64,
    /// The mean loss on the test set, with the margin.
    pub test_loss: f64,
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
}

/// Trains a model, tests its best epoch once, and writes the run directory.
///
/// # Errors
/// With exit code 2: a request that cannot be met. With exit code 1: data that cannot be read, training that diverges,
/// a run directory that cannot be written. From the first finished epoch on, the best model so far is then stored, and
/// the error says where; before, nothing is left behind.
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
    let mut draft = destination.begin(&config, &data.classes)?;
    observer.begins(&outline(&config, &data, parameters, draft.path()));
    let work = Work { start, config: config.clone(), data: &data, device, parameters, out: destination.path() };
    // After a panic only the files of the draft are used, and those are replaced atomically.
    let ended = catch_unwind(AssertUnwindSafe(|| work.run(trainer, &mut draft, observer)));
    ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(|error| draft.rescue(error))
}

/// The inputs of a run, once its draft has begun.
struct Work<'a> {
    start: Instant,
    config: Config,
    data: &'a Dataset,
    device: Device,
    parameters: usize,
    out: &'a Path,
}

impl Work<'_> {
    fn run(self, trainer: Trainer, draft: &mut Draft, observer: &mut dyn Observer) -> Result<TrainSummary, Error> {
        let Self { start, config, data, device, parameters, out } = self;
        let fingerprint = data.fingerprint();
        let FittedModel { weights, state } = trainer.fit(observer, &mut |end: &EpochEnd| {
            draft.save(end.best, end.last, &checkpoint(end.state, &fingerprint), &lines(&end.state.epochs)?)
        })?;
        observer.test_begins();
        let checkpoint = checkpoint(&state, &fingerprint);
        let run = Run { config, classes: data.classes.clone(), model: weights, checkpoint };
        let predictor = predictor(run.config.clone(), run.model.clone(), &run.checkpoint, device)?;
        let evaluation = predictor.evaluate(&data.test)?;
        let result = TrainingResult { run: &run, data, state: &state, evaluation: &evaluation, parameters };
        let mut summary = result.summary(start.elapsed().as_secs_f64(), out);
        let metrics = [lines(&state.epochs)?, lines(&[result.test_record(summary.stopped)])?].concat();
        summary.out = draft.finish(&run, &metrics, &result.page(&summary)?)?;
        Ok(summary)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::failure("training", "no panic", text.unwrap_or("one without a message"), "please report it as a bug")
}

fn outline(config: &Config, data: &Dataset, parameters: usize, draft: &Path) -> Outline {
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
    evaluation: &'a Evaluation,
    parameters: usize,
}

impl TrainingResult<'_> {
    fn summary(&self, seconds: f64, out: &Path) -> TrainSummary {
        let Self { run, state, evaluation, .. } = self;
        let last = state.epochs.last();
        TrainSummary {
            test_accuracy: evaluation.classification.accuracy,
            test_loss: evaluation.loss,
            test_images: evaluation.classification.samples,
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
        }
    }

    fn test_record(&self, stopped: Stopped) -> TestRecord {
        let classification = &self.evaluation.classification;
        TestRecord {
            test_accuracy: classification.accuracy,
            test_loss: self.evaluation.loss,
            test_images: classification.samples,
            best_epoch: self.state.best.epoch(),
            stopped,
            recalls: classification.classes.iter().map(ClassCounts::recall).collect(),
        }
    }

    /// Returns the content of `report.html`.
    fn page(&self, summary: &TrainSummary) -> Result<String, Error> {
        let Self { run, data, state, evaluation, parameters } = self;
        let failed =
            |cause: &dyn std::fmt::Display| Error::failure("report.html", "a page that can be written", cause, "");
        let page = RunPage {
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
            test: evaluation_record(&data.classes, evaluation),
            configuration: run.config.to_text(&[]).map_err(|cause| failed(&cause))?,
        };
        run_page(&page).map_err(|cause| failed(&cause))
    }
}
