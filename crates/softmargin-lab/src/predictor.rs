//! A trained model in use: classes, probabilities, embeddings and an evaluation of samples, in batches.

use crate::config::Config;
use crate::data::{LabeledSamples, Samples, ahead};
use crate::error::Error;
use crate::evaluation::{Evaluation, check_labels};
use crate::model::{Model, input};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use softmargin::ErrorKind;
use softmargin::smooth::arg_max;
use softmargin_burn::{MarginOutput, RowInputs};
use std::fmt;
use std::ops::Range;

/// Samples that are looked at together: enough to keep the cores busy.
const SAMPLES_AT_ONCE: usize = 256;
/// Values that the first layer makes of samples looked at together, 64 MiB: few enough for any memory.
const VALUES_AT_ONCE: usize = 1 << 24;

/// The advice where scores are no numbers.
const DIVERGED: &str = "training has diverged: train again with a smaller --lr; or the file of the model was damaged";

/// A model that is used, not trained.
pub struct Predictor {
    model: Model,
    config: Config,
    device: Device,
    watch: Option<Watch>,
}

/// Is told after each batch how many samples are done, and how many there are.
type Watch = Box<dyn Fn(usize, usize)>;

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predictor").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Predictor {
    /// A model for use, with the configuration that says how samples are prepared for it. It is used as it is: put a model
    /// that was just trained through `valid()` first.
    #[must_use]
    pub fn new(model: Model, config: Config, device: Device) -> Self {
        Self { model, config, device, watch: None }
    }

    /// The same, and after each batch `watch` is told how many samples are done, and how many there are.
    #[must_use]
    pub fn watched(self, watch: impl Fn(usize, usize) + 'static) -> Self {
        Self { watch: Some(Box::new(watch)), ..self }
    }

    /// Accuracy, loss and what became of each class.
    ///
    /// # Errors
    /// When there are no samples, or they are not shaped as the model wants them; when a label is no class of the model;
    /// when a streamed sample cannot be read; when a score is not finite: then training diverged, and the model is no use.
    pub fn evaluate(&self, samples: &LabeledSamples) -> Result<Evaluation, Error> {
        self.evaluate_all(&[samples])
    }

    /// The same of several parts of a data set together.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_all(&self, parts: &[&LabeledSamples]) -> Result<Evaluation, Error> {
        let labels = parts.iter().flat_map(|part| part.labels()).copied().collect::<Vec<u32>>();
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
        Evaluation::of(&predicted, &labels, self.config.data.classes, loss / labels.len() as f64)
    }

    /// The class of the highest score of each sample (N).
    ///
    /// # Errors
    /// When the samples are not shaped as the model wants them, when a streamed one cannot be read, and when a score is
    /// not finite: then training diverged, and the model is no use.
    pub fn classes(&self, samples: &Samples) -> Result<Vec<usize>, Error> {
        let mut classes = Vec::with_capacity(samples.count());
        self.each_batch(&[samples], |inputs| {
            let scores = finite(self.model.head.scores(self.model.embeddings(inputs)))?;
            classes.extend(scores.chunks(self.config.data.classes).map(best));
            Ok(())
        })?;
        Ok(classes)
    }

    /// The probability of each class for each sample (N, C): softmax of the scaled scores, without a margin.
    ///
    /// # Errors
    /// As [`classes`](Self::classes).
    pub fn probabilities(&self, samples: &Samples) -> Result<Vec<Vec<f32>>, Error> {
        let mut probabilities = Vec::with_capacity(samples.count());
        self.each_batch(&[samples], |inputs| {
            let scores = self.model.head.scaled_scores(self.model.embeddings(inputs));
            finite(scores.clone())?;
            let values: Vec<f32> = softmax(scores, 1).into_data().iter::<f32>().collect();
            probabilities.extend(values.chunks(self.config.data.classes).map(<[f32]>::to_vec));
            Ok(())
        })?;
        Ok(probabilities)
    }

    /// The embedding of each sample, row by row (N, D).
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

    /// The configuration that it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn loss_of(&self, inputs: Tensor<4>, labels: &[u32]) -> Result<MarginOutput, Error> {
        let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let shape = [labels.len()];
        let targets = Tensor::<1, Int>::from_data(TensorData::new(labels, shape), &self.device);
        let output = self.model.head.try_forward_batch(self.model.embeddings(inputs), targets, RowInputs::new());
        output.map_err(|error| match error.kind() {
            ErrorKind::Number => {
                Error::failure(error.subject(), error.expected(), error.found(), DIVERGED).with_source(error)
            }
            _ => error.into(),
        })
    }

    /// Hands the samples of all parts to `work`, in order; the next batches are read meanwhile.
    fn each_batch(
        &self,
        parts: &[&Samples],
        mut work: impl FnMut(Tensor<4>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        parts.iter().try_for_each(|samples| self.check_shape(samples.shape()))?;
        let (shape, normalization) = (self.config.input.shape(), self.config.normalization);
        let batches = batches(parts, self.samples_at_once());
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
            work(input(values, rows, shape, &self.device))?;
            done += rows;
            if let Some(watch) = &self.watch {
                watch(done, all);
            }
            Ok(())
        })
    }

    fn check_shape(&self, shape: [usize; 3]) -> Result<(), Error> {
        let wanted = self.config.input.shape();
        if shape == wanted {
            return Ok(());
        }
        let expected = format!("{wanted:?}, as the model was trained with");
        let subject = "channels, height and width of the samples";
        Err(Error::request(subject, expected, format!("{shape:?}"), "prepare them with the preparation of the run"))
    }

    /// Samples that are best looked at together.
    pub(crate) fn samples_at_once(&self) -> usize {
        samples_at_once(self.config.network.first_layer_values())
    }
}

/// The batches of all parts: the number of the part, and the rows.
fn batches(parts: &[&Samples], at_once: usize) -> Vec<(usize, Range<usize>)> {
    let of_part = |(part, samples): (usize, &&Samples)| {
        let count = samples.count();
        (0..count).step_by(at_once).map(move |first| (part, first..count.min(first + at_once))).collect::<Vec<_>>()
    };
    parts.iter().enumerate().flat_map(of_part).collect()
}

fn samples_at_once(layer_values: usize) -> usize {
    (VALUES_AT_ONCE / layer_values.max(1)).clamp(1, SAMPLES_AT_ONCE)
}

/// Values row by row, if all of them are numbers.
fn finite(values: Tensor<2>) -> Result<Vec<f32>, Error> {
    let values: Vec<f32> = values.into_data().iter::<f32>().collect();
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::failure("scores of the model", "finite numbers", value, DIVERGED)),
        None => Ok(values),
    }
}

/// The class of the highest of some finite scores; on ties the one of the lower index.
fn best(scores: &[f32]) -> usize {
    arg_max(scores).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use crate::data::{DataSource, Dataset, LoadOptions};
    use burn::module::Param;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn untrained() -> (Dataset, Model, Config, Device) {
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        let config = Config::resolve(&Request::new(DataSource::Digits), &data).unwrap();
        let device = Device::flex();
        let model = Model::new(&config, &device).unwrap();
        (data, model, config, device)
    }

    #[test]
    fn fewer_samples_are_looked_at_together_where_they_are_large() {
        assert_eq!([0, 1, 12_544, 1 << 20, 1 << 24, usize::MAX].map(samples_at_once), [256, 256, 256, 16, 1, 1]);
    }

    #[test]
    fn the_best_class_is_the_first_of_the_highest() {
        assert_eq!(best(&[-2.0, -1.0, -1.0]), 1);
    }

    #[test]
    fn an_evaluation_is_that_of_the_whole_set_at_once_and_is_watched() {
        let (data, model, config, device) = untrained();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&seen);
        let watch = move |done, all| told.borrow_mut().push((done, all));
        let predictor = Predictor::new(model, config, device.clone()).watched(watch);
        let evaluation = predictor.evaluate(&data.test).unwrap();
        assert_eq!(*seen.borrow(), [(256, 599), (512, 599), (599, 599)]);
        let mut values = Vec::new();
        data.test.samples().batch_f32(&(0..599).collect::<Vec<_>>(), &mut values).unwrap();
        predictor.config().normalization.apply(&mut values);
        let whole = predictor.loss_of(input(values, 599, [1, 8, 8], &device), data.test.labels()).unwrap();
        let loss = f64::from(whole.loss.into_scalar::<f32>());
        assert!((evaluation.loss - loss).abs() < 1e-5 * loss, "{} and {loss}", evaluation.loss);
        let predicted = predictor.classes(data.test.samples()).unwrap();
        let alone = Evaluation::of(&predicted, data.test.labels(), 10, evaluation.loss).unwrap();
        assert_eq!(evaluation, alone);
        assert_eq!(predictor.embeddings(data.test.samples()).unwrap().len(), 599 * 128);
    }

    #[test]
    fn parts_are_evaluated_together() {
        let (data, model, config, device) = untrained();
        let predictor = Predictor::new(model, config, device);
        let [train, test, both] = [vec![&data.train], vec![&data.test], vec![&data.train, &data.test]]
            .map(|parts| predictor.evaluate_all(&parts).unwrap());
        assert_eq!(both.samples, train.samples + test.samples);
        let loss = (train.loss * train.samples as f64 + test.loss * test.samples as f64) / both.samples as f64;
        assert!((both.loss - loss).abs() < 1e-9, "{} and {loss}", both.loss);
        let right = |evaluation: &Evaluation| evaluation.classes.iter().map(|class| class.right).sum::<usize>();
        assert_eq!(right(&both), right(&train) + right(&test));
    }

    #[test]
    fn a_model_whose_scores_are_no_numbers_is_refused() {
        let (data, mut model, config, device) = untrained();
        model.head.weight = Param::from_tensor(Tensor::full([10, 128], f32::NAN, &device));
        let predictor = Predictor::new(model, config, device);
        for error in [
            predictor.classes(data.test.samples()).unwrap_err(),
            predictor.probabilities(data.test.samples()).unwrap_err(),
            predictor.evaluate(&data.test).unwrap_err(),
        ] {
            assert!(error.exit_code() == 1 && error.to_string().contains("--lr"), "{error}");
        }
    }
}
