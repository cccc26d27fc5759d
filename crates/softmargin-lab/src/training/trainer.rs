//! The training loop: steps, epochs, validation, and what is kept of it all.

use super::batches::{Batch, Batches};
use super::best::{Best, Mark};
use super::clipping::clip;
use super::{SMALLER_RATE, Stopped};
use crate::config::{Config, Recipe};
use crate::data::{Dataset, LabeledSamples, ahead};
use crate::error::Error;
use crate::model::{Model, input};
use crate::observer::{Epoch, Observer, Step};
use crate::predictor::Predictor;
use crate::run_dir::{Checkpoint, Draft};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use softmargin::Reduction;
use softmargin_burn::{MarginTop, RowInputs};
use std::time::Instant;

/// What training leaves.
pub(super) struct Outcome {
    /// All epochs.
    pub(super) epochs: Vec<Epoch>,
    /// The best model, as the content of its file.
    pub(super) model: Vec<u8>,
    /// Where training stood.
    pub(super) checkpoint: Checkpoint,
    /// What the best model is judged by, where there are validation samples.
    pub(super) mark: Option<Mark>,
    /// Samples learnt from, all epochs together.
    pub(super) images: usize,
    /// Why it ended.
    pub(super) stopped: Stopped,
}

/// The training loop.
pub(super) struct Trainer<'a> {
    batches: Batches<'a>,
    validation: Option<&'a LabeledSamples>,
    learner: Learner<'a>,
    best: Best,
    model: Vec<u8>,
    checkpoint: Checkpoint,
    epochs: Vec<Epoch>,
    images: usize,
    start: Instant,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(config: &'a Config, data: &'a Dataset, device: &Device) -> Result<Self, Error> {
        let batches = Batches::new(config, &data.train)?;
        Ok(Self {
            batches,
            validation: data.validation.as_ref(),
            learner: Learner::new(config, batches, device)?,
            best: Best::default(),
            model: Vec::new(),
            checkpoint: Checkpoint { samples: Some(data.fingerprint()), ..Checkpoint::default() },
            epochs: Vec::new(),
            images: 0,
            start: Instant::now(),
        })
    }

    /// Numbers that are trained.
    pub(super) fn parameters(&self) -> usize {
        let mut trained = Trained(0);
        self.learner.model.visit(&mut trained);
        trained.0
    }

    /// Trains to the end, or until it is told to stop. After each epoch the draft holds all that there is.
    pub(super) fn run(mut self, observer: &mut dyn Observer, draft: &Draft) -> Result<Outcome, Error> {
        self.start = Instant::now();
        let mut epoch = 0;
        loop {
            epoch += 1;
            let tally = self.epoch(epoch, observer)?;
            let stopped = if tally.images > 0 {
                let is_best = self.close(epoch, &tally, observer)?;
                self.checkpoint.stopped = self.stopped(epoch, tally.interrupted);
                self.save(draft, is_best)?;
                self.checkpoint.stopped
            } else {
                Some(Stopped::Interrupted)
            };
            if let Some(stopped) = stopped {
                return self.outcome(stopped);
            }
        }
    }

    /// Whether and why training ends with this epoch.
    fn stopped(&self, epoch: usize, interrupted: bool) -> Option<Stopped> {
        match self.recipe() {
            _ if interrupted => Some(Stopped::Interrupted),
            recipe if epoch >= recipe.epochs => Some(Stopped::Finished),
            recipe if self.best.is_past(epoch, recipe.patience) => Some(Stopped::Early),
            _ => None,
        }
    }

    fn outcome(self, stopped: Stopped) -> Result<Outcome, Error> {
        if self.epochs.is_empty() {
            return Err(Error::failure("training", "one step at least", "an interrupt before it", ""));
        }
        let Self { epochs, model, mut checkpoint, best, images, .. } = self;
        checkpoint.stopped = Some(stopped);
        Ok(Outcome { epochs, model, checkpoint, mark: best.mark(), images, stopped })
    }

    fn recipe(&self) -> &'a Recipe {
        &self.learner.config.training
    }

    fn epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<Tally, Error> {
        let (batches, learner) = (self.batches, &mut self.learner);
        let order = batches.order(epoch - 1);
        let before = self.images;
        let mut tally = Tally::new();
        let make = |step| batches.make(epoch - 1, &order, step);
        let done = ahead(batches.steps(), make, |_, batch| {
            if observer.interrupted() {
                tally.interrupted = true;
                // Any error ends the making of batches; this one is not looked at.
                return Err(Error::failure("training", "no interrupt", "one", ""));
            }
            learner.learn(batch, &mut tally)?;
            observer.stepped(&Step {
                epoch,
                images: before + tally.images,
                loss: tally.mean_loss(),
                accuracy: tally.accuracy(),
            });
            Ok(())
        });
        if !tally.interrupted {
            done?;
        }
        self.images += tally.images;
        Ok(tally)
    }

    /// Validates the model of an epoch, keeps it if it is the best, and reports. Says whether it is.
    fn close(&mut self, epoch: usize, tally: &Tally, observer: &mut dyn Observer) -> Result<bool, Error> {
        let images_per_second = tally.images as f64 / tally.start.elapsed().as_secs_f64();
        let model = self.learner.snapshot()?;
        let mark = self.validation.map(|samples| self.learner.mark(&model, samples)).transpose()?;
        let is_best = self.best.takes(epoch, mark);
        if is_best {
            self.model = model.to_bytes()?;
            self.checkpoint.loss_state = model.head.state().cloned();
        }
        self.checkpoint.epochs = epoch;
        self.checkpoint.steps = self.learner.step as u64;
        self.checkpoint.best_epoch = self.best.epoch();
        let report = Epoch {
            epoch,
            loss: tally.mean_loss(),
            accuracy: tally.accuracy(),
            validation_loss: mark.map(|mark| mark.loss),
            validation_accuracy: mark.map(|mark| mark.accuracy),
            learning_rate: tally.rate,
            images_per_second,
            seconds: self.start.elapsed().as_secs_f64(),
        };
        self.epochs.push(report);
        observer.finished_epoch(&report);
        Ok(is_best)
    }

    fn save(&self, draft: &Draft, is_best: bool) -> Result<(), Error> {
        let last = self.learner.model.valid().to_bytes()?;
        let best = is_best.then_some(self.model.as_slice());
        draft.save(best, &last, &self.checkpoint, &super::lines(&self.epochs)?)
    }
}

/// Sums over the samples of an epoch.
struct Tally {
    start: Instant,
    images: usize,
    loss: f64,
    right: usize,
    rate: f64,
    interrupted: bool,
}

impl Tally {
    fn new() -> Self {
        Self { start: Instant::now(), images: 0, loss: 0.0, right: 0, rate: 0.0, interrupted: false }
    }

    fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    fn accuracy(&self) -> f64 {
        self.right as f64 / self.images as f64
    }
}

/// The model and what changes it.
struct Learner<'a> {
    config: &'a Config,
    batches: Batches<'a>,
    device: Device,
    /// The device with derivatives.
    recording: Device,
    model: Model,
    optimizer: ModuleOptimizer,
    step: usize,
}

impl<'a> Learner<'a> {
    fn new(config: &'a Config, batches: Batches<'a>, device: &Device) -> Result<Self, Error> {
        let recording = device.clone().autodiff();
        let model = Model::new(config, &recording)?;
        let optimizer = config.training.optimizer.of(&model, config.training.weight_decay);
        Ok(Self { config, batches, device: device.clone(), recording, model, optimizer, step: 0 })
    }

    fn rate(&self) -> f64 {
        let recipe = &self.config.training;
        let steps = self.batches.steps() * recipe.epochs;
        recipe.learning_rate * recipe.schedule.rate(self.step, steps, recipe.warm_up)
    }

    /// One step.
    fn learn(&mut self, batch: Batch, tally: &mut Tally) -> Result<(), Error> {
        let Batch { rows, values, labels } = batch;
        let targets = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows.len()]), &self.recording);
        let images = input(values, rows.len(), self.config.input.shape(), &self.recording);
        let embeddings = self.model.network.forward(images);
        let output = self.model.head.try_forward_top(embeddings.clone(), targets.clone(), RowInputs::new());
        let MarginTop { loss, top } =
            output.map_err(|error| self.refused(error, &rows, embeddings.clone(), targets.clone()))?;
        let right = top.equal(targets.clone()).int().sum().into_scalar::<i64>();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        if !value.is_finite() {
            let subject = format!("the loss of step {}", self.step + 1);
            let found = format!("{value} from {}", self.faulty(&rows, embeddings, targets));
            return Err(Error::failure(subject, "a finite number", found, SMALLER_RATE));
        }
        self.follow(&loss, tally);
        tally.images += rows.len();
        tally.loss += value * rows.len() as f64;
        tally.right += usize::try_from(right).unwrap_or_default();
        Ok(())
    }

    /// Changes the parameters along the gradient of a loss.
    fn follow(&mut self, loss: &Tensor<1>, tally: &mut Tally) {
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        if let Some(limit) = self.config.training.gradient_limit {
            clip(&self.model, &mut gradients, limit);
        }
        tally.rate = self.rate();
        self.model = self.optimizer.step(tally.rate, self.model.clone(), gradients);
        self.model.head.advance();
        self.step += 1;
    }

    /// What the loss refuses. A number that is none comes from weights that earlier steps have made too large.
    fn refused(
        &self,
        error: softmargin::Error,
        rows: &[usize],
        embeddings: Tensor<2>,
        targets: Tensor<1, Int>,
    ) -> Error {
        if error.kind() != softmargin::ErrorKind::Number {
            return error.into();
        }
        let subject = format!("step {}: {}", self.step + 1, error.subject());
        let found = format!("{} from {}", error.found(), self.faulty(rows, embeddings, targets));
        Error::failure(subject, error.expected(), found, SMALLER_RATE).with_source(error)
    }

    /// The names of the samples whose embedding or loss is no finite number.
    fn faulty(&self, rows: &[usize], embeddings: Tensor<2>, targets: Tensor<1, Int>) -> String {
        let width = self.config.network.embedding().max(1);
        let values: Vec<f32> = embeddings.clone().into_data().iter::<f32>().collect();
        let mut faulty: Vec<bool> =
            values.chunks(width).map(|row| row.iter().any(|value| !value.is_finite())).collect();
        if !faulty.contains(&true) {
            let each = RowInputs::new().with_reduction(Reduction::None);
            let losses = self.model.head.try_forward_batch(embeddings, targets, each);
            let losses = losses.map_or_else(|_| Vec::new(), |output| output.loss.into_data().iter::<f32>().collect());
            faulty = losses.iter().map(|loss: &f32| !loss.is_finite()).collect();
        }
        let named: Vec<usize> = rows.iter().zip(&faulty).filter(|(_, faulty)| **faulty).map(|(&row, _)| row).collect();
        if named.is_empty() || named.len() == rows.len() {
            return format!("all {} samples of the step: {}", rows.len(), self.batches.names(rows));
        }
        self.batches.names(&named)
    }

    /// The model as it is used. What the last step made of it has been in no loss yet.
    fn snapshot(&self) -> Result<Model, Error> {
        let model = self.model.valid();
        let mut finite = Finite(true);
        model.visit(&mut finite);
        if finite.0 {
            return Ok(model);
        }
        let subject = format!("the parameters after step {}", self.step);
        Err(Error::failure(subject, "finite numbers", "others", SMALLER_RATE))
    }

    fn mark(&self, model: &Model, samples: &LabeledSamples) -> Result<Mark, Error> {
        let predictor = Predictor::new(model.clone(), self.config.clone(), self.device.clone());
        let evaluation = predictor.evaluate(samples)?;
        Ok(Mark { accuracy: evaluation.accuracy, loss: evaluation.loss })
    }
}

/// Counts the numbers that are trained: the running means of normalizations are not.
struct Trained(usize);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0 += param.val().shape().num_elements();
        }
    }
}

/// Whether all parameters are finite.
struct Finite(bool);

impl ModuleVisitor for Finite {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 = self.0 && param.val().into_data().iter::<f32>().all(f32::is_finite);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_parameter_that_is_no_number_is_found() {
        for (value, expected) in [(1.0, true), (f32::NAN, false), (f32::INFINITY, false)] {
            let tensors: [Tensor<1>; 2] =
                [[0.0, value], [1.0, 2.0]].map(|row| Tensor::from_floats(row, &Device::flex()));
            let mut finite = Finite(true);
            tensors.map(Param::from_tensor).to_vec().visit(&mut finite);
            assert_eq!(finite.0, expected, "{value}");
        }
    }
}
