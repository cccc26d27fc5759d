//! Network and head: what is trained, saved, loaded and used.

use crate::config::Config;
use crate::data::Samples;
use crate::error::Error;
use crate::network::{Recogniser, initial_weight};
use crate::run_dir::{MODEL, Run, broken};
use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use burn_store::{ModuleSnapshot, SafetensorsStore};
use softmargin::smooth::arg_max;
use softmargin_burn::{MarginHead, MarginHeadConfig};
use std::path::Path;

/// Images that are looked at together: enough to keep the cores busy.
const IMAGES_AT_ONCE: usize = 256;
/// Values that the first layer makes of images looked at together, 64 MiB: few enough for any memory.
const VALUES_AT_ONCE: usize = 1 << 24;

/// The stream of random numbers that the prototypes are drawn from; no layer of a network has this number.
const PROTOTYPES: u64 = u32::MAX as u64;

/// A network that turns images into embeddings, and a head that turns embeddings into class scores.
#[derive(Module, Debug)]
pub struct Model {
    /// Images to embeddings.
    pub network: Recogniser,
    /// Embeddings to scores and loss.
    pub head: MarginHead,
}

impl Model {
    /// A model as it is before training.
    ///
    /// # Errors
    /// When the loss of the configuration does not fit its number of classes.
    pub fn new(config: &Config, device: &Device) -> Result<Self, Error> {
        let (embedding, seed) = (config.network.embedding, config.training.seed);
        let head = MarginHeadConfig::new(embedding, config.classes).with_loss(config.loss.spec.clone());
        let mut head = head.try_init(device)?;
        head.weight = initial_weight(head.weight.dims(), embedding, seed, PROTOTYPES, device);
        if let Some(state) = head.state().cloned() {
            head.set_state(state.with_seed(seed));
        }
        Ok(Self { network: Recogniser::new(&config.network, seed, device), head })
    }

    /// The model of a run.
    ///
    /// # Errors
    /// When the file of the model is broken or belongs to another configuration.
    pub fn load(run: &Run, device: &Device) -> Result<Self, Error> {
        let mut model = Self::new(&run.config, device)?;
        let mut store = SafetensorsStore::from_bytes(Some(run.model.clone()));
        model
            .load_from(&mut store)
            .map_err(|cause| broken(Path::new(MODEL), "the weights of the model in config.toml", cause))?;
        if let Some(state) = &run.checkpoint.loss_state {
            model.head.set_state(state.clone());
        }
        Ok(model)
    }

    /// The model as the content of a file in the safetensors format.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        // The store writes its metadata in the order of a hash table: with one entry, the same model has the same bytes.
        let mut store = SafetensorsStore::from_bytes(None).clear_metadata().metadata("producer", "softmargin");
        let unwritable = |cause: String| Error::failure(MODEL, "a model that can be written", cause, "");
        self.save_into(&mut store).map_err(|cause| unwritable(cause.to_string()))?;
        store.get_bytes().map_err(|cause| unwritable(cause.to_string()))
    }

    /// Class scores (N, C) of images (N, channels, height, width), unscaled and without a margin.
    pub fn scores(&self, images: Tensor<4>) -> Tensor<2> {
        self.head.scores(self.network.forward(images))
    }
}

/// A model that is used, not trained.
#[derive(Debug)]
pub struct Predictor {
    model: Model,
    config: Config,
    device: Device,
}

impl Predictor {
    /// A model for use, with the configuration that says how images are prepared for it.
    #[must_use]
    pub fn new(model: Model, config: Config, device: Device) -> Self {
        Self { model, config, device }
    }

    /// The class of the highest score of each image (N).
    ///
    /// # Errors
    /// When the images are not shaped as the model wants them, and when a score is not finite: then training diverged,
    /// and the model is no use.
    pub fn classes(&self, images: &Samples) -> Result<Vec<usize>, Error> {
        self.each_batch(images, |input| {
            let scores = finite(self.model.scores(input))?;
            Ok(scores.chunks(self.config.classes).map(best).collect())
        })
    }

    /// The probability of each class for each image (N, C): softmax of the scaled scores, without a margin.
    ///
    /// # Errors
    /// As [`classes`](Self::classes).
    pub fn probabilities(&self, images: &Samples) -> Result<Vec<Vec<f32>>, Error> {
        self.each_batch(images, |input| {
            let scores = self.model.head.scaled_scores(self.model.network.forward(input));
            finite(scores.clone())?;
            let probabilities: Vec<f32> = softmax(scores, 1).into_data().iter::<f32>().collect();
            Ok(probabilities.chunks(self.config.classes).map(<[f32]>::to_vec).collect())
        })
    }

    fn each_batch<T>(
        &self,
        images: &Samples,
        work: impl Fn(Tensor<4>) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let (count, shape) = (images.count(), images.shape());
        if shape != self.config.network.image {
            let expected = format!("{:?}, as the model was trained with", self.config.network.image);
            let advice = "prepare them with the preparation of the run";
            return Err(Error::request(
                "channels, height and width of the images",
                expected,
                format!("{shape:?}"),
                advice,
            ));
        }
        let rows: Vec<usize> = (0..count).collect();
        let mut values = Vec::new();
        let mut results = Vec::with_capacity(count);
        for rows in rows.chunks(images_at_once(self.config.network.first_layer_values())) {
            images.batch_f32(rows, &mut values)?;
            self.config.normalisation.apply(&mut values);
            results.extend(work(input(std::mem::take(&mut values), rows.len(), shape, &self.device))?);
        }
        Ok(results)
    }
}

fn images_at_once(layer_values: usize) -> usize {
    (VALUES_AT_ONCE / layer_values).clamp(1, IMAGES_AT_ONCE)
}

/// Scores (N, C) row by row, if all of them are numbers.
fn finite(scores: Tensor<2>) -> Result<Vec<f32>, Error> {
    let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
    match scores.iter().find(|score| !score.is_finite()) {
        Some(score) => {
            let advice = "training has diverged: train again with a smaller --lr";
            Err(Error::failure("scores of the model", "finite numbers", score, advice))
        }
        None => Ok(scores),
    }
}

/// The class of the highest of some finite scores; on ties the one of the lower index.
fn best(scores: &[f32]) -> usize {
    arg_max(scores).unwrap_or_default()
}

/// Values as a tensor (N, channels, height, width).
pub(crate) fn input(
    values: Vec<f32>,
    count: usize,
    [channels, height, width]: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [count, channels, height, width]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use crate::data::{DataSource, Dataset, LoadOptions};
    use burn::module::Param;

    #[test]
    fn fewer_images_are_looked_at_together_where_they_are_large() {
        assert_eq!([1, 12_544, 1 << 20, 1 << 24, usize::MAX].map(images_at_once), [256, 256, 16, 1, 1]);
    }

    #[test]
    fn the_best_class_is_the_first_of_the_highest() {
        assert_eq!(best(&[-2.0, -1.0, -1.0]), 1);
    }

    #[test]
    fn a_model_whose_scores_are_no_numbers_is_refused() {
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        let config = Config::resolve(&Request::new(DataSource::Digits), &data).unwrap();
        let device = Device::flex();
        let mut model = Model::new(&config, &device).unwrap();
        model.head.weight = Param::from_tensor(Tensor::full([10, 128], f32::NAN, &device));
        let predictor = Predictor::new(model, config, device);
        for error in [
            predictor.classes(data.test.samples()).unwrap_err(),
            predictor.probabilities(data.test.samples()).unwrap_err(),
        ] {
            assert!(error.exit_code() == 1 && error.to_string().contains("--lr"), "{error}");
        }
    }
}
