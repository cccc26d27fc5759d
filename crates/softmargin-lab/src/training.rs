//! Training: batches, schedule, optimiser; then one test, and what is left of it all.

use crate::config::{Config, Recipe, Request};
use crate::data::{Dataset, LabelledSamples};
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::generator::{Generator, Purpose};
use crate::model::{Model, Predictor, input};
use crate::observer::{Epoch, Observer, Outline, Step};
use crate::report;
use crate::run_dir::{Checkpoint, Destination, Run};
use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::Serialize;
use softmargin_burn::{MarginOutput, RowInputs};
use std::path::PathBuf;
use std::time::Instant;

/// The result of a training run: what `train --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Share of the test images whose highest score was that of their class.
    pub test_accuracy: f64,
    /// Test images.
    pub test_images: usize,
    /// Mean training loss of the last epoch.
    pub train_loss: f64,
    /// From the reading of the data to the end of the test.
    pub seconds: f64,
    /// Images a second, over the whole training.
    pub images_per_second: f64,
    /// Passes over the training data.
    pub epochs: usize,
    /// The loss by name.
    pub loss: String,
    /// Numbers that were trained.
    pub parameters: usize,
    /// The run directory.
    pub out: PathBuf,
}

/// The last line of `metrics.jsonl`.
#[derive(Serialize)]
struct TestLine<'a> {
    test_accuracy: f64,
    test_images: usize,
    recalls: &'a [Option<f64>],
}

/// The advice where numbers have become too large.
const SMALLER_RATE: &str = "training diverges: use a smaller --lr, or a --scale nearer to the usual";

/// Trains a recogniser, tests it once, and writes the run directory.
///
/// # Errors
/// On a request that cannot be met (exit code 2), data that cannot be read, training that diverges, and a run directory
/// that cannot be written (exit code 1). Then nothing is left behind.
pub fn train(request: &Request, destination: &Destination, observer: &mut dyn Observer) -> Result<Summary, Error> {
    let start = Instant::now();
    request.check()?;
    let device = request.device.open()?;
    let data = Dataset::load(&request.data, &request.load_options())?;
    let config = Config::resolve(request, &data)?;
    let mut trainer = Trainer::new(&config, &data.train, device.clone().autodiff())?;
    let parameters = trainer.model.num_params();
    observer.begins(&outline(&config, &data, parameters));
    let epochs = trainer.run(observer)?;
    observer.tests();
    let (model, checkpoint) = trainer.finish()?;
    let bytes = model.to_bytes()?;
    let predictor = Predictor::new(model, config.clone(), device);
    let predicted = predictor.classes(data.test.samples())?;
    let evaluation = Evaluation::of(&predicted, data.test.labels(), config.classes)?;
    let last = epochs.last().copied();
    let mut summary = Summary {
        test_accuracy: evaluation.accuracy,
        test_images: evaluation.images,
        train_loss: last.map_or(f64::NAN, |epoch| epoch.loss),
        seconds: start.elapsed().as_secs_f64(),
        images_per_second: last.map_or(0.0, |last| (epochs.len() * data.train.len()) as f64 / last.seconds),
        epochs: epochs.len(),
        loss: config.loss.name.clone(),
        parameters,
        out: destination.path().to_path_buf(),
    };
    let report = report::page(&config, &data, &epochs, &evaluation, &summary)?;
    let metrics = metrics(&epochs, &evaluation)?;
    let run = Run { config, classes: data.classes, model: bytes, checkpoint };
    summary.out = destination.write(&run, &metrics, &report)?;
    Ok(summary)
}

fn outline(config: &Config, data: &Dataset, parameters: usize) -> Outline {
    Outline {
        data: data.description.clone(),
        split: data.split.clone(),
        notes: data.notes.clone(),
        loss: config.loss.name.clone(),
        train_images: data.train.len(),
        test_images: data.test.len(),
        classes: config.classes,
        parameters,
        epochs: config.training.epochs,
        images: config.training.epochs * data.train.len(),
    }
}

fn metrics(epochs: &[Epoch], evaluation: &Evaluation) -> Result<Vec<String>, Error> {
    let test =
        TestLine { test_accuracy: evaluation.accuracy, test_images: evaluation.images, recalls: &evaluation.recalls() };
    let lines = epochs.iter().map(serde_json::to_string).chain(std::iter::once(serde_json::to_string(&test)));
    lines
        .collect::<Result<_, _>>()
        .map_err(|cause| Error::failure("metrics.jsonl", "numbers that can be written down", cause, ""))
}

/// The learning rate of a step, as a part of the highest: a line up, then half a cosine down to 0.
fn schedule(step: usize, steps: usize, warm_up: f64) -> f64 {
    let at = (step as f64 + 0.5) / steps as f64;
    if at < warm_up {
        at / warm_up
    } else {
        0.5 * (1.0 + (std::f64::consts::PI * (at - warm_up) / (1.0 - warm_up)).cos())
    }
}

/// Ids of vectors: biases, scales and shifts, which are not decayed.
#[derive(Default)]
struct Vectors(Vec<ParamId>);

impl ModuleVisitor for Vectors {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 1 {
            self.0.push(param.id);
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

fn optimizer(model: &Model, recipe: &Recipe) -> ModuleOptimizer {
    let mut vectors = Vectors::default();
    model.visit(&mut vectors);
    let momentum = MomentumConfig::new().with_momentum(recipe.momentum).with_dampening(0.0).with_nesterov(true);
    let plain = SgdConfig::new().with_momentum(Some(momentum));
    #[expect(clippy::cast_possible_truncation, reason = "the optimiser takes single precision")]
    let decay = WeightDecayConfig::new(recipe.weight_decay as f32);
    let decayed: ModuleOptimizer = plain.clone().with_weight_decay(Some(decay)).build().into();
    decayed.with_group(ParamGroup::from_ids(vectors.0), plain.build(), None)
}

/// The training loop.
struct Trainer<'a> {
    config: &'a Config,
    data: &'a LabelledSamples,
    device: Device,
    model: Model,
    optimizer: ModuleOptimizer,
    step: usize,
    start: Instant,
}

/// Sums over the images of an epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    images: usize,
    loss: f64,
    right: usize,
}

impl<'a> Trainer<'a> {
    fn new(config: &'a Config, data: &'a LabelledSamples, device: Device) -> Result<Self, Error> {
        if data.len() < 2 {
            let advice = "batch normalisation needs two images at least";
            return Err(Error::request("training images", "at least 2", data.len(), advice));
        }
        let model = Model::new(config, &device)?;
        let optimizer = optimizer(&model, &config.training);
        Ok(Self { config, data, device, model, optimizer, step: 0, start: Instant::now() })
    }

    fn steps_per_epoch(&self) -> usize {
        // Every batch has two images at least, whatever the batch size.
        self.data.len().div_ceil(self.config.training.batch_size).min(self.data.len() / 2)
    }

    fn run(&mut self, observer: &mut dyn Observer) -> Result<Vec<Epoch>, Error> {
        (0..self.config.training.epochs).map(|epoch| self.epoch(epoch, observer)).collect()
    }

    fn epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<Epoch, Error> {
        let start = Instant::now();
        let (count, steps) = (self.data.len(), self.steps_per_epoch());
        let order = Generator::new(self.config.training.seed, Purpose::Order, epoch as u64).permutation(count);
        let mut tally = Tally::default();
        let mut rate = 0.0;
        for batch in 0..steps {
            // Batches of even size, so that none is too short for batch normalisation and none is dropped.
            let range = batch * count / steps..(batch + 1) * count / steps;
            let first = epoch * count + range.start;
            rate = self.rate();
            self.learn(&order[range], first, rate, &mut tally)?;
            observer.stepped(&Step {
                epoch: epoch + 1,
                images: epoch * count + tally.images,
                loss: tally.loss / tally.images as f64,
                accuracy: tally.right as f64 / tally.images as f64,
            });
        }
        let report = Epoch {
            epoch: epoch + 1,
            loss: tally.loss / tally.images as f64,
            accuracy: tally.right as f64 / tally.images as f64,
            learning_rate: rate,
            images_per_second: tally.images as f64 / start.elapsed().as_secs_f64(),
            seconds: self.start.elapsed().as_secs_f64(),
        };
        observer.finished_epoch(&report);
        Ok(report)
    }

    fn rate(&self) -> f64 {
        let recipe = &self.config.training;
        recipe.learning_rate * schedule(self.step, self.steps_per_epoch() * recipe.epochs, recipe.warm_up)
    }

    /// One step on some rows; `first` is the number of the first of them among all images drawn since the start.
    fn learn(&mut self, rows: &[usize], first: usize, rate: f64, tally: &mut Tally) -> Result<(), Error> {
        let values = self.batch(rows, first)?;
        let labels: Vec<i64> = rows.iter().map(|&row| i64::from(self.data.labels()[row])).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows.len()]), &self.device);
        let images = input(values, rows.len(), self.config.network.image, &self.device);
        let embeddings = self.model.network.forward(images);
        let output = self.model.head.try_forward_batch(embeddings, targets.clone(), RowInputs::new());
        let MarginOutput { loss, scores } = output.map_err(|error| self.refused(error))?;
        let right = scores.argmax(1).flatten::<1>(0, 1).equal(targets).int().sum().into_scalar::<i64>();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        if !value.is_finite() {
            let subject = format!("the loss of step {}", self.step + 1);
            return Err(Error::failure(subject, "a finite number", value, SMALLER_RATE));
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);
        self.model.head.advance();
        self.step += 1;
        tally.images += rows.len();
        tally.loss += value * rows.len() as f64;
        tally.right += usize::try_from(right).unwrap_or_default();
        Ok(())
    }

    /// What the loss refuses. A number that is none comes from weights that earlier steps have made too large.
    fn refused(&self, error: softmargin::Error) -> Error {
        if error.kind() != softmargin::ErrorKind::Number {
            return error.into();
        }
        let subject = format!("step {}: {}", self.step + 1, error.subject());
        Error::failure(subject, error.expected(), error.found(), SMALLER_RATE).with_source(error)
    }

    /// The inputs of some rows, changed at random and normalised.
    fn batch(&self, rows: &[usize], first: usize) -> Result<Vec<f32>, Error> {
        let recipe = &self.config.training;
        let shape @ [channels, height, width] = self.config.network.image;
        let size = channels * height * width;
        let mut plain = Vec::new();
        self.data.samples().batch_f32(rows, &mut plain)?;
        let mut values = vec![0.0; plain.len()];
        // Each image has a stream of random numbers of its own, so threads change nothing.
        values.par_chunks_mut(size).zip(plain.par_chunks(size)).enumerate().for_each(|(row, (out, image))| {
            let mut stream = Generator::new(recipe.seed, Purpose::Augmentation, (first + row) as u64);
            recipe.augmentation.apply(image, shape, &mut stream, out);
        });
        self.config.normalisation.apply(&mut values);
        Ok(values)
    }

    /// The trained model. What the last step made of it has been in no loss yet.
    fn finish(self) -> Result<(Model, Checkpoint), Error> {
        let model = self.model.valid();
        let mut finite = Finite(true);
        model.visit(&mut finite);
        if !finite.0 {
            let subject = format!("the parameters after the last step, {}", self.step);
            return Err(Error::failure(subject, "finite numbers", "others", SMALLER_RATE));
        }
        let checkpoint = Checkpoint {
            epochs: self.config.training.epochs,
            steps: self.step as u64,
            loss_state: model.head.state().cloned(),
        };
        Ok((model, checkpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::{Finite, schedule};
    use burn::module::{Module, Param};
    use burn::tensor::{Device, Tensor};

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

    #[test]
    fn the_rate_rises_falls_and_ends_near_nothing() {
        let rates: Vec<f64> = (0..100).map(|step| schedule(step, 100, 0.2)).collect();
        let peak = rates.iter().position(|&rate| rate == rates.iter().copied().fold(0.0, f64::max)).unwrap();
        assert_eq!(peak, 20);
        assert!(rates[..20].is_sorted() && rates[20..].iter().rev().is_sorted());
        assert!(rates[0] > 0.0 && rates[99] < 1e-3 && rates.iter().all(|rate| (0.0..=1.0).contains(rate)));
    }
}
