//! Inference with a trained model, in batches: classes, probabilities, embeddings, evaluation.

use crate::config::Config;
use crate::network::{Model, input_tensor};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use softmargin::ErrorKind;
use softmargin::smooth::arg_max;
use softmargin_burn::{MarginOutput, RowTensors};
use softmargin_data::error::Error;
use softmargin_data::{LabeledSamples, Samples, ahead};
use softmargin_metrics::Classification;
use softmargin_metrics::labels::check_labels;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// The largest batch: enough to keep the cores busy.
const LARGEST_BATCH: usize = 256;
/// The most values that the first layer computes for a batch: 64 MiB.
const BATCH_VALUES: usize = 1 << 24;

/// The advice if scores are not finite.
const DIVERGED: &str = "training has diverged: train again with a smaller --lr; or the file of the model is damaged";

/// The result of a model on labeled samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean of the loss that the model was trained with, including its margin, in the state after training.
    pub loss: f64,
    /// Accuracy and the counts of each class.
    pub classification: Classification,
}

/// The scores of all classes for one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassScores {
    /// (C): the cosines, or the inner products of losses on inner products.
    pub scores: Vec<f32>,
    /// (C): the probabilities.
    pub probabilities: Vec<f32>,
}

/// A trained model for inference.
pub struct Predictor {
    model: Model,
    config: Config,
    device: Device,
    progress: Option<Progress>,
}

/// A callback that is called after each batch with the number of completed samples and of all samples.
pub type Progress = Rc<dyn Fn(usize, usize)>;

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predictor").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Predictor {
    /// Creates a predictor from a model and the configuration that defines the preparation of its samples. Call
    /// `valid()` on a model that was just trained before passing it here.
    #[must_use]
    pub fn new(model: Model, config: Config, device: Device) -> Self {
        Self { model, config, device, progress: None }
    }

    /// Returns the predictor, which calls `progress` after each batch.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// Computes mean loss, accuracy and the metrics of each class.
    ///
    /// # Errors
    /// If there are no samples, or their shape is not the model's; if a label is not a class of the model; if a
    /// streamed sample cannot be read; if a score is not finite, since training has diverged then.
    pub fn evaluate(&self, samples: &LabeledSamples) -> Result<Evaluation, Error> {
        self.evaluate_all(&[samples])
    }

    /// Does the same as [`evaluate`](Self::evaluate), for several parts of a data set together.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_all(&self, parts: &[&LabeledSamples]) -> Result<Evaluation, Error> {
        let labels = parts.iter().flat_map(|part| part.labels()).copied().collect::<Vec<u32>>();
        if labels.is_empty() {
            return Err(Error::request("samples to evaluate", "at least one", "none", "give data with samples"));
        }
        check_labels(&labels, self.config.data.classes)?;
        let samples: Vec<&Samples> = parts.iter().map(|part| part.samples()).collect();
        let mut loss = 0.0;
        let mut predicted = Vec::with_capacity(labels.len());
        self.each_batch(&samples, |inputs| {
            let [rows, ..] = inputs.dims();
            let output = self.loss_of(inputs, &labels[predicted.len()..][..rows])?;
            predicted.extend(finite(output.scores)?.chunks(self.config.data.classes).map(best));
            let mean = output.loss.into_scalar::<f32>();
            if !mean.is_finite() {
                return Err(Error::failure("the loss of the model", "a finite number", mean, DIVERGED));
            }
            loss += f64::from(mean) * rows as f64;
            Ok(())
        })?;
        let classification = Classification::new(&predicted, &labels, self.config.data.classes)?;
        Ok(Evaluation { loss: loss / labels.len() as f64, classification })
    }

    /// Predicts the class of each sample (N): the one with the highest score.
    ///
    /// # Errors
    /// If the shape of the samples is not the model's, a streamed sample cannot be read, or a score is not finite,
    /// since training has diverged then.
    pub fn classes(&self, samples: &Samples) -> Result<Vec<usize>, Error> {
        let mut classes = Vec::with_capacity(samples.count());
        self.each_batch(&[samples], |inputs| {
            let scores = finite(self.model.head.scores(self.model.embeddings(inputs)))?;
            classes.extend(scores.chunks(self.config.data.classes).map(best));
            Ok(())
        })?;
        Ok(classes)
    }

    /// Computes the scores of all classes for each sample (N), and their probabilities: the softmax of the scaled
    /// scores, without the margin.
    ///
    /// # Errors
    /// As [`classes`](Self::classes).
    pub fn class_scores(&self, samples: &Samples) -> Result<Vec<ClassScores>, Error> {
        let mut of_samples = Vec::with_capacity(samples.count());
        self.each_batch(&[samples], |inputs| {
            let scores = self.model.head.scores(self.model.embeddings(inputs));
            let scaled = self.model.head.scale_scores(scores.clone());
            finite(scaled.clone())?;
            let scores = finite(scores)?;
            let probabilities: Vec<f32> = softmax(scaled, 1).into_data().iter::<f32>().collect();
            let rows =
                |values: Vec<f32>| values.chunks(self.config.data.classes).map(<[f32]>::to_vec).collect::<Vec<_>>();
            let rows = rows(scores).into_iter().zip(rows(probabilities));
            of_samples.extend(rows.map(|(scores, probabilities)| ClassScores { scores, probabilities }));
            Ok(())
        })?;
        Ok(of_samples)
    }

    /// Computes the embeddings of the samples (N, D), row by row.
    ///
    /// # Errors
    /// As [`classes`](Self::classes).
    pub fn embeddings(&self, samples: &Samples) -> Result<Vec<f32>, Error> {
        let mut embeddings = Vec::new();
        self.each_batch(&[samples], |inputs| {
            embeddings.extend(finite(self.model.embeddings(inputs))?);
            Ok(())
        })?;
        Ok(embeddings)
    }

    /// Returns the configuration of the run.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn loss_of(&self, inputs: Tensor<4>, labels: &[u32]) -> Result<MarginOutput, Error> {
        let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let output = self.model.head.try_forward_batch(self.model.embeddings(inputs), labels, RowTensors::new());
        output.map_err(|error| match error.kind() {
            ErrorKind::Number => {
                Error::failure(error.subject(), error.expected(), error.found(), DIVERGED).with_source(error)
            }
            _ => error.into(),
        })
    }

    /// Calls `work` with each batch of all parts, in order; the next batches are read in the background.
    fn each_batch(
        &self,
        parts: &[&Samples],
        mut work: impl FnMut(Tensor<4>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        parts.iter().try_for_each(|samples| self.check_shape(samples.shape()))?;
        let (shape, normalization) = (self.config.input.shape(), self.config.normalization);
        let batches = batches(parts, self.batch_size());
        let all = parts.iter().map(|samples| samples.count()).sum();
        let mut done = 0;
        let read = |number: usize| {
            let (part, rows): &(usize, Range<usize>) = &batches[number];
            let mut values = Vec::new();
            parts[*part].batch_f32(&rows.clone().collect::<Vec<_>>(), &mut values)?;
            normalization.apply(&mut values);
            Ok(values)
        };
        ahead(batches.len(), read, |number, values| {
            let rows = batches[number].1.len();
            work(input_tensor(values, rows, shape, &self.device))?;
            done += rows;
            if let Some(progress) = &self.progress {
                progress(done, all);
            }
            Ok(())
        })
    }

    fn check_shape(&self, shape: [usize; 3]) -> Result<(), Error> {
        let wanted = self.config.input.shape();
        if shape == wanted {
            return Ok(());
        }
        let expected = format!("{wanted:?}, the shape that the model was trained on");
        let subject = "channels, height and width of the samples";
        Err(Error::request(
            subject,
            expected,
            format!("{shape:?}"),
            "prepare the samples with the preparation of the run",
        ))
    }

    /// Returns the number of samples in a batch.
    pub(crate) fn batch_size(&self) -> usize {
        batch_size(self.config.network.first_layer_values())
    }
}

/// Returns the batches of all parts: the index of the part, and the rows.
fn batches(parts: &[&Samples], at_once: usize) -> Vec<(usize, Range<usize>)> {
    let of_part = |(part, samples): (usize, &&Samples)| {
        let count = samples.count();
        (0..count).step_by(at_once).map(move |first| (part, first..count.min(first + at_once))).collect::<Vec<_>>()
    };
    parts.iter().enumerate().flat_map(of_part).collect()
}

fn batch_size(layer_values: usize) -> usize {
    (BATCH_VALUES / layer_values.max(1)).clamp(1, LARGEST_BATCH)
}

/// Returns the values row by row, if all of them are finite.
fn finite(values: Tensor<2>) -> Result<Vec<f32>, Error> {
    let values: Vec<f32> = values.into_data().iter::<f32>().collect();
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::failure("scores of the model", "finite numbers", value, DIVERGED)),
        None => Ok(values),
    }
}

/// Returns the class of the highest score, the first on ties; all scores are finite.
fn best(scores: &[f32]) -> usize {
    arg_max(scores).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigRequest;
    use burn::module::Param;
    use softmargin_data::{DataSource, Dataset, LoadOptions};
    use std::cell::RefCell;

    fn untrained() -> (Dataset, Model, Config, Device) {
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        let config = Config::resolve(&ConfigRequest::new(DataSource::Digits), &data).unwrap();
        let device = Device::flex();
        let model = Model::new(&config, &device).unwrap();
        (data, model, config, device)
    }

    #[test]
    fn large_samples_make_small_batches() {
        assert_eq!([0, 1, 12_544, 1 << 20, 1 << 24, usize::MAX].map(batch_size), [256, 256, 256, 16, 1, 1]);
    }

    #[test]
    fn the_best_class_is_the_first_of_the_highest() {
        assert_eq!(best(&[-2.0, -1.0, -1.0]), 1);
    }

    #[test]
    fn an_evaluation_in_batches_is_that_of_the_whole_set_and_reports_progress() {
        let (data, model, config, device) = untrained();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&seen);
        let watch = move |done, all| told.borrow_mut().push((done, all));
        let predictor = Predictor::new(model, config, device.clone()).with_progress(Rc::new(watch));
        let evaluation = predictor.evaluate(&data.test).unwrap();
        assert_eq!(*seen.borrow(), [(256, 599), (512, 599), (599, 599)]);
        let mut values = Vec::new();
        data.test.samples().batch_f32(&(0..599).collect::<Vec<_>>(), &mut values).unwrap();
        predictor.config().normalization.apply(&mut values);
        let whole = predictor.loss_of(input_tensor(values, 599, [1, 8, 8], &device), data.test.labels()).unwrap();
        let loss = f64::from(whole.loss.into_scalar::<f32>());
        assert!((evaluation.loss - loss).abs() < 1e-5 * loss, "{} and {loss}", evaluation.loss);
        let predicted = predictor.classes(data.test.samples()).unwrap();
        let alone = Classification::new(&predicted, data.test.labels(), 10).unwrap();
        assert_eq!(evaluation.classification, alone);
        assert_eq!(predictor.embeddings(data.test.samples()).unwrap().len(), 599 * 128);
    }

    #[test]
    fn parts_are_evaluated_together() {
        let (data, model, config, device) = untrained();
        let predictor = Predictor::new(model, config, device);
        let [train, test, both] = [vec![&data.train], vec![&data.test], vec![&data.train, &data.test]]
            .map(|parts| predictor.evaluate_all(&parts).unwrap());
        let samples = |evaluation: &Evaluation| evaluation.classification.samples;
        assert_eq!(samples(&both), samples(&train) + samples(&test));
        let sum = train.loss * samples(&train) as f64 + test.loss * samples(&test) as f64;
        let loss = sum / samples(&both) as f64;
        assert!((both.loss - loss).abs() < 1e-9, "{} and {loss}", both.loss);
        let wrong = |evaluation: &Evaluation| evaluation.classification.wrong();
        assert_eq!(wrong(&both), wrong(&train) + wrong(&test));
    }

    #[test]
    fn scores_that_are_not_finite_are_an_error() {
        let (data, mut model, config, device) = untrained();
        model.head.weight = Param::from_tensor(Tensor::full([10, 128], f32::NAN, &device));
        let predictor = Predictor::new(model, config, device);
        for error in [
            predictor.classes(data.test.samples()).unwrap_err(),
            predictor.class_scores(data.test.samples()).unwrap_err(),
            predictor.evaluate(&data.test).unwrap_err(),
        ] {
            assert!(error.exit_code() == 1 && error.to_string().contains("--lr"), "{error}");
        }
    }
}
