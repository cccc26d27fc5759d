//! The training loop: epochs, validation, the best model.

use super::batches::Batches;
use super::learner::{EpochSums, Learner};
use super::state::TrainingState;
use crate::config::{Config, Recipe};
use crate::observer::{Observer, Step};
use crate::panics::panic_to_error;
use crate::run::{EpochRecord, Stopped};
use burn::module::Module;
use burn::tensor::Device;
use softmargin_data::error::Error;
use softmargin_data::{Dataset, LabeledSamples, ahead};
use std::time::Instant;

/// The result of training.
pub(crate) struct FittedModel {
    /// The weights of the best epoch, as the content of `model.safetensors`.
    pub(crate) weights: Vec<u8>,
    /// The state at the end of training.
    pub(crate) state: TrainingState,
    /// The error that ended training after at least one complete epoch, if one did.
    pub(crate) failure: Option<Error>,
}

/// The data that can be saved after an epoch.
pub(crate) struct EpochEnd<'a> {
    /// The state of training.
    pub(crate) state: &'a TrainingState,
    /// The weights of this epoch, if it is the best so far.
    pub(crate) best: Option<&'a [u8]>,
    /// The weights of this epoch.
    pub(crate) last: &'a [u8],
}

/// The training loop of a configuration on a data set.
pub(crate) struct Trainer<'a> {
    batches: Batches<'a>,
    validation: Option<&'a LabeledSamples>,
    learner: Learner<'a>,
    recipe: &'a Recipe,
    weights: Vec<u8>,
    state: TrainingState,
    start: Instant,
}

impl<'a> Trainer<'a> {
    pub(crate) fn new(config: &'a Config, data: &'a Dataset, device: &Device) -> Result<Self, Error> {
        let batches = Batches::new(config, &data.train)?;
        Ok(Self {
            batches,
            validation: data.validation.as_ref(),
            learner: Learner::new(config, batches, device)?,
            recipe: &config.training,
            weights: Vec::new(),
            state: TrainingState::default(),
            start: Instant::now(),
        })
    }

    /// Returns the number of trained parameters.
    pub(crate) fn parameters(&self) -> usize {
        self.learner.parameters()
    }

    /// Trains until the last epoch, the end of the patience, an interrupt, or a failure. `save` is called after each
    /// epoch.
    ///
    /// # Errors
    /// If training fails before the end of the first epoch. A later failure is part of the result: the best model so
    /// far is not lost.
    pub(crate) fn fit(
        mut self,
        observer: &mut dyn Observer,
        save: &mut dyn FnMut(&EpochEnd) -> Result<(), Error>,
    ) -> Result<FittedModel, Error> {
        self.start = Instant::now();
        let failure = panic_to_error("training", || self.run_epochs(observer, save)).err();
        if self.state.epochs.is_empty() {
            let no_step = || Error::failure("training", "at least one step", "an interrupt before it", "");
            return Err(failure.unwrap_or_else(no_step));
        }
        if failure.is_some() {
            self.state.stopped = Some(Stopped::Failed);
        }
        Ok(FittedModel { weights: self.weights, state: self.state, failure })
    }

    fn run_epochs(
        &mut self,
        observer: &mut dyn Observer,
        save: &mut dyn FnMut(&EpochEnd) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut epoch = 0;
        while self.state.stopped.is_none() {
            epoch += 1;
            let sums = self.epoch(epoch, observer)?;
            if sums.images == 0 {
                self.state.stopped = Some(Stopped::Interrupted);
                break;
            }
            let is_best = self.close(epoch, &sums, observer)?;
            self.state.stopped = self.stopped(epoch, sums.interrupted);
            let last = self.learner.model.valid().to_bytes()?;
            save(&EpochEnd { state: &self.state, best: is_best.then_some(&self.weights), last: &last })?;
        }
        Ok(())
    }

    /// Returns why training ends with this epoch, if it does.
    fn stopped(&self, epoch: usize, interrupted: bool) -> Option<Stopped> {
        if interrupted {
            Some(Stopped::Interrupted)
        } else if epoch >= self.recipe.epochs {
            Some(Stopped::Finished)
        } else if self.state.best.is_exhausted(epoch, self.recipe.patience) {
            Some(Stopped::Early)
        } else {
            None
        }
    }

    /// Runs the steps of an epoch, up to an interrupt.
    fn epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<EpochSums, Error> {
        let (batches, learner) = (self.batches, &mut self.learner);
        let order = batches.order(epoch - 1);
        let before = self.state.images;
        let mut sums = EpochSums::new();
        let make = |step| batches.make(epoch - 1, &order, step);
        let done = ahead(batches.steps(), make, |_, batch| {
            if observer.interrupted() {
                sums.interrupted = true;
                // Any error stops the preparation of batches; this one is dropped below.
                return Err(Error::failure("training", "no interrupt", "one", ""));
            }
            learner.learn(batch, &mut sums)?;
            observer.stepped(&Step {
                epoch,
                images: before + sums.images,
                loss: sums.mean_loss(),
                accuracy: sums.accuracy(),
            });
            Ok(())
        });
        if !sums.interrupted {
            done?;
        }
        self.state.images += sums.images;
        Ok(sums)
    }

    /// Validates the model of an epoch, stores it if it is the best so far, and reports. Returns whether it is the
    /// best.
    fn close(&mut self, epoch: usize, sums: &EpochSums, observer: &mut dyn Observer) -> Result<bool, Error> {
        let images_per_second = sums.images as f64 / sums.start.elapsed().as_secs_f64();
        let model = self.learner.snapshot()?;
        let validation = self.validation.map(|samples| self.learner.validate(&model, samples)).transpose()?;
        let is_best = self.state.best.update(epoch, validation);
        if is_best {
            self.weights = model.to_bytes()?;
            self.state.best_loss_state = model.head.state().cloned();
        }
        self.state.steps = self.learner.step as u64;
        let record = EpochRecord {
            epoch,
            loss: sums.mean_loss(),
            accuracy: sums.accuracy(),
            validation_loss: validation.map(|result| result.loss),
            validation_accuracy: validation.map(|result| result.accuracy),
            learning_rate: sums.rate,
            images_per_second,
            seconds: self.start.elapsed().as_secs_f64(),
        };
        self.state.epochs.push(record);
        observer.finished_epoch(&record);
        Ok(is_best)
    }
}
