//! One step of training: forward, loss, backward, clipping, optimizer.

use super::batches::{Batch, Batches};
use super::best::ValidationResult;
use super::clipping::clip;
use crate::config::Config;
use crate::network::{Model, input_tensor};
use crate::predictor::Predictor;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use softmargin::Reduction;
use softmargin_burn::{MarginTop, RowTensors};
use softmargin_data::LabeledSamples;
use softmargin_data::error::Error;
use std::time::Instant;

/// The advice if values have become too large.
const SMALLER_RATE: &str =
    "training diverges: use a smaller --lr, a --gradient-limit such as 1, or a --scale closer to the default";

/// Sums over the samples of an epoch.
pub(super) struct EpochSums {
    pub(super) start: Instant,
    pub(super) images: usize,
    pub(super) loss: f64,
    pub(super) correct: usize,
    pub(super) rate: f64,
    pub(super) interrupted: bool,
}

impl EpochSums {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), images: 0, loss: 0.0, correct: 0, rate: 0.0, interrupted: false }
    }

    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    pub(super) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }
}

/// The model during training, and its optimizer.
pub(super) struct Learner<'a> {
    config: &'a Config,
    batches: Batches<'a>,
    device: Device,
    /// The device with automatic differentiation.
    recording: Device,
    pub(super) model: Model,
    optimizer: ModuleOptimizer,
    /// Completed steps.
    pub(super) step: usize,
}

impl<'a> Learner<'a> {
    pub(super) fn new(config: &'a Config, batches: Batches<'a>, device: &Device) -> Result<Self, Error> {
        let recording = device.clone().autodiff();
        let model = Model::new(config, &recording)?;
        let optimizer = config.training.optimizer.build(&model, config.training.weight_decay);
        Ok(Self { config, batches, device: device.clone(), recording, model, optimizer, step: 0 })
    }

    /// Returns the number of trained parameters.
    pub(super) fn parameters(&self) -> usize {
        let mut trained = Trained(0);
        self.model.visit(&mut trained);
        trained.0
    }

    fn rate(&self) -> f64 {
        let recipe = &self.config.training;
        let steps = self.batches.steps() * recipe.epochs;
        recipe.learning_rate * recipe.schedule.rate(self.step, steps, recipe.warm_up)
    }

    /// Takes one step, and adds it to the sums of the epoch.
    pub(super) fn learn(&mut self, batch: Batch, sums: &mut EpochSums) -> Result<(), Error> {
        let Batch { rows, values, labels } = batch;
        let images = input_tensor(values, rows.len(), self.config.input.shape(), &self.recording);
        let embeddings = self.model.network.forward(images);
        let output = self.model.head.try_forward_top(embeddings.clone(), labels.clone(), RowTensors::new());
        let MarginTop { loss, top } =
            output.map_err(|error| self.loss_error(error, &rows, embeddings.clone(), labels.clone()))?;
        let correct = top.into_data().iter::<i64>().zip(&labels).filter(|(class, label)| class == *label).count();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        if !value.is_finite() {
            let subject = format!("the loss of step {}", self.step + 1);
            let found = format!("{value} from {}", self.faulty(&rows, embeddings, labels));
            return Err(Error::failure(subject, "a finite number", found, SMALLER_RATE));
        }
        self.update_parameters(&loss, sums);
        sums.images += rows.len();
        sums.loss += value * rows.len() as f64;
        sums.correct += correct;
        Ok(())
    }

    /// Takes a step of the optimizer along the gradient of a loss.
    fn update_parameters(&mut self, loss: &Tensor<1>, sums: &mut EpochSums) {
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        if let Some(limit) = self.config.training.gradient_limit {
            clip(&self.model, &mut gradients, limit);
        }
        sums.rate = self.rate();
        self.model = self.optimizer.step(sums.rate, self.model.clone(), gradients);
        self.model.head.advance();
        self.step += 1;
    }

    /// Converts an error of the loss. A value that is not finite comes from weights that earlier steps made too large.
    fn loss_error(&self, error: softmargin::Error, rows: &[usize], embeddings: Tensor<2>, labels: Vec<i64>) -> Error {
        if error.kind() != softmargin::ErrorKind::Number {
            return error.into();
        }
        let subject = format!("step {}: {}", self.step + 1, error.subject());
        let found = format!("{} from {}", error.found(), self.faulty(rows, embeddings, labels));
        Error::failure(subject, error.expected(), found, SMALLER_RATE).with_source(error)
    }

    /// Returns the names of the samples whose embedding or loss is not finite.
    fn faulty(&self, rows: &[usize], embeddings: Tensor<2>, labels: Vec<i64>) -> String {
        let width = self.config.network.embedding().max(1);
        let values: Vec<f32> = embeddings.clone().into_data().iter::<f32>().collect();
        let mut faulty: Vec<bool> =
            values.chunks(width).map(|row| row.iter().any(|value| !value.is_finite())).collect();
        if !faulty.contains(&true) {
            let each = RowTensors::new().with_reduction(Reduction::None);
            let losses = self.model.head.try_forward_batch(embeddings, labels, each);
            let losses = losses.map_or_else(|_| Vec::new(), |output| output.loss.into_data().iter::<f32>().collect());
            faulty = losses.iter().map(|loss: &f32| !loss.is_finite()).collect();
        }
        let named: Vec<usize> = rows.iter().zip(&faulty).filter(|(_, faulty)| **faulty).map(|(&row, _)| row).collect();
        if named.is_empty() || named.len() == rows.len() {
            return format!("all {} samples of the step: {}", rows.len(), self.batches.names(rows));
        }
        self.batches.names(&named)
    }

    /// Returns the model for inference. The parameters after the last step have not been in a loss yet, so they are
    /// checked here.
    pub(super) fn snapshot(&self) -> Result<Model, Error> {
        let model = self.model.valid();
        let mut finite = Finite(true);
        model.visit(&mut finite);
        if finite.0 {
            return Ok(model);
        }
        let subject = format!("the parameters after step {}", self.step);
        Err(Error::failure(subject, "finite values", "values that are not finite", SMALLER_RATE))
    }

    /// Evaluates a model on the validation set.
    pub(super) fn validate(&self, model: &Model, samples: &LabeledSamples) -> Result<ValidationResult, Error> {
        let predictor = Predictor::new(model.clone(), self.config.clone(), self.device.clone());
        let evaluation = predictor.evaluate(samples)?;
        Ok(ValidationResult { accuracy: evaluation.classification.accuracy, loss: evaluation.loss })
    }
}

/// Counts the trained values; the running means of normalizations are not trained.
struct Trained(usize);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0 += param.val().shape().num_elements();
        }
    }
}

/// Checks whether all parameters are finite.
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
