//! What a user asks of a training run, and the whole configuration that it resolves to.
//!
//! A [`Request`] leaves open whatever its user did not choose. [`Config::resolve`] looks at the data, closes every
//! opening by one rule each, and checks everything before any work begins. The result is written to `config.toml`.

use crate::augmentation::Augmentation;
use crate::data::{DataSource, Dataset, Input, LoadOptions, Normalisation, SIDES, Sizing};
use crate::device::DeviceChoice;
use crate::error::Error;
use crate::network::Plan;
use serde::{Deserialize, Serialize};
use softmargin::{Loss, LossSpec, presets};

/// The version of the layout of a run directory.
pub const FORMAT: u32 = 1;

/// The loss that is used when none is named.
pub const DEFAULT_LOSS: &str = "am-softmax";

/// What a user asks for; what is `None` is chosen by the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where the images come from.
    pub data: DataSource,
    /// The side that images are brought to, in pixels.
    pub image_size: Option<usize>,
    /// The name of a preset.
    pub loss: String,
    /// Its scale, or where a learned one starts.
    pub scale: Option<f64>,
    /// The numbers of its margin.
    pub margin: Option<Vec<f64>>,
    /// Numbers in an embedding.
    pub embedding_size: Option<usize>,
    /// Passes over the training data.
    pub epochs: Option<usize>,
    /// Images a step.
    pub batch_size: Option<usize>,
    /// The highest learning rate of the schedule.
    pub learning_rate: Option<f64>,
    /// Fixes every random choice.
    pub seed: u64,
    /// Where to compute.
    pub device: DeviceChoice,
}

impl Request {
    /// Everything left open.
    #[must_use]
    pub fn new(data: DataSource) -> Self {
        Self {
            data,
            image_size: None,
            loss: DEFAULT_LOSS.into(),
            scale: None,
            margin: None,
            embedding_size: None,
            epochs: None,
            batch_size: None,
            learning_rate: None,
            seed: 0,
            device: DeviceChoice::Cpu,
        }
    }

    /// How the data are to be read.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions { sizing: self.image_size.map_or(Sizing::Automatic, Sizing::Side), ..LoadOptions::default() }
    }

    /// Checks whatever can be checked without the data.
    ///
    /// # Errors
    /// On a path that is not UTF-8, an unknown loss, a scale or a margin that it does not take, and numbers out of range;
    /// all with exit code 2. The message names the flag.
    pub fn check(&self) -> Result<(), Error> {
        // Two classes: what depends on their number is checked again when the data are known.
        self.check_data()?;
        self.build_loss(&[1, 1])?;
        in_range("--embedding-size", self.embedding_size, 1, MAX_EMBEDDING, "64 to 512 is usual")?;
        in_range("--epochs", self.epochs, 1, MAX_EPOCHS, "leave it out, and the data decide")?;
        in_range(
            "--batch-size",
            self.batch_size,
            2,
            MAX_BATCH,
            "batch normalisation needs two images; 64 to 256 is usual",
        )?;
        if let Some(rate) = self.learning_rate
            && !(rate.is_finite() && rate > 0.0)
        {
            return Err(Error::request(
                "--lr",
                "a finite number above 0",
                rate,
                "leave it out, and the recipe decides",
            ));
        }
        Ok(())
    }

    fn check_data(&self) -> Result<(), Error> {
        in_range("--image-size", self.image_size, *SIDES.start(), *SIDES.end(), "leave it out, and the data decide")?;
        match &self.data {
            // The configuration of the run names it, and a TOML file is UTF-8.
            DataSource::Path(path) if path.to_str().is_none() => {
                Err(Error::request("--data", "a path in UTF-8", path.display(), "rename the folder, or link to it"))
            }
            _ => Ok(()),
        }
    }

    /// The loss, for training data with so many samples of each class.
    fn spec(&self, class_counts: &[usize]) -> Result<LossSpec, Error> {
        let preset = presets::find(&self.loss).map_err(name_flag)?;
        let spec = preset.spec_with(self.scale, self.margin.as_deref()).map_err(name_flag)?;
        let counts: Vec<u64> = class_counts.iter().map(|&count| count as u64).collect();
        Ok(spec.with_class_counts(&counts))
    }

    fn build_loss(&self, class_counts: &[usize]) -> Result<Loss, Error> {
        self.spec(class_counts)?.build(class_counts.len()).map_err(name_flag)
    }
}

/// Numbers in an embedding where nothing is said: enough for any loss of the family up to thousands of classes.
const EMBEDDING: usize = 128;

/// The largest values that are no slip of the keyboard.
pub(crate) const MAX_EMBEDDING: usize = 1 << 16;
pub(crate) const MAX_EPOCHS: usize = 1_000_000;
pub(crate) const MAX_BATCH: usize = 1 << 20;

fn in_range(flag: &str, value: Option<usize>, least: usize, most: usize, advice: &str) -> Result<(), Error> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(Error::request(flag, format!("a whole number from {least} to {most}"), value, advice))
        }
        _ => Ok(()),
    }
}

/// The core's name of a parameter, as the flag that sets it.
fn name_flag(error: softmargin::Error) -> Error {
    let flag = ["loss", "scale", "margin"].into_iter().find(|name| error.subject().starts_with(name));
    match flag {
        Some(name) => error.about(format!("--{name}")).into(),
        None => error.into(),
    }
}

/// Everything that a run was made with: `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The version of the run directory's layout.
    pub format: u32,
    /// Where the images came from.
    pub data: DataSource,
    /// How many classes they have.
    pub classes: usize,
    /// What the model gets to see.
    pub input: Input,
    /// What is taken from an input's values, and what they are divided by.
    pub normalisation: Normalisation,
    /// The loss.
    pub loss: NamedLoss,
    /// The layers of the network.
    pub network: Plan,
    /// How it was trained.
    pub training: Recipe,
}

/// A loss and the name of its preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamedLoss {
    /// The preset.
    pub name: String,
    /// The loss in full.
    pub spec: LossSpec,
}

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training data.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Share of the steps in which the rate rises to it; over the rest it falls to 0 along half a cosine.
    pub warm_up: f64,
    /// Nesterov's momentum.
    pub momentum: f64,
    /// Decay of matrices and kernels; biases, scales and shifts have none.
    pub weight_decay: f64,
    /// Small random changes to the training images.
    pub augmentation: Augmentation,
    /// Fixes every random choice.
    pub seed: u64,
    /// Where it was computed.
    pub device: DeviceChoice,
}

impl Config {
    /// Closes what a request that [`Request::check`] has let pass leaves open.
    ///
    /// # Errors
    /// When the loss cannot be made for the number of classes, or the training data cannot be read.
    pub fn resolve(request: &Request, data: &Dataset) -> Result<Self, Error> {
        let classes = data.classes.len();
        let class_counts = data.train.class_counts(classes);
        request.build_loss(&class_counts)?;
        let preset = presets::find(&request.loss).map_err(name_flag)?;
        let embedding = request.embedding_size.unwrap_or(EMBEDDING);
        let network = Plan::for_images(data.input.shape(), embedding);
        Ok(Self {
            format: FORMAT,
            data: request.data.clone(),
            classes,
            input: data.input,
            normalisation: Normalisation::of(data.train.samples())?,
            loss: NamedLoss { name: preset.name.into(), spec: request.spec(&class_counts)? },
            training: Recipe::for_data(request, data.train.len(), network.first_layer_values()),
            network,
        })
    }
}

impl Recipe {
    /// What a request leaves open of the training, for so many training images, of each of which the first layer makes
    /// so many values.
    ///
    /// Few images are passed more often: about `2100 sqrt(images)` in all, between 10 and 100 passes. The more often an
    /// image is passed, the more it is changed. A batch is a tenth of the images, from 8 to 64, and fewer where the first
    /// layer would make more than 2^26 values of it (256 MiB; its gradient takes as much again), but not below 8.
    fn for_data(request: &Request, images: usize, layer_values: usize) -> Self {
        const FULL_CHANGES_FROM: f64 = 60.0;
        // A pass over a handful of images takes a few steps all the same.
        const STEPS_AT_LEAST: usize = 10;
        const LAYER_VALUES_AT_MOST: usize = 1 << 26;
        let by_images = (2100.0 / (images.max(1) as f64).sqrt()).round().clamp(10.0, 100.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 10 to 100")]
        let epochs = request.epochs.unwrap_or(by_images as usize);
        let batch_size = (images / STEPS_AT_LEAST).min(64).min(LAYER_VALUES_AT_MOST / layer_values).max(8);
        Self {
            epochs,
            batch_size: request.batch_size.unwrap_or(batch_size),
            learning_rate: request.learning_rate.unwrap_or(0.1),
            warm_up: 0.2,
            momentum: 0.9,
            weight_decay: 5e-4,
            augmentation: Augmentation::with_strength((epochs as f64 / FULL_CHANGES_FROM).min(1.0)),
            seed: request.seed,
            device: request.device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_smaller_where_images_are_large() {
        let request = Request::new(DataSource::Digits);
        let batch = |images, side| {
            let values = Plan::for_images([3, side, side], EMBEDDING).first_layer_values();
            Recipe::for_data(&request, images, values).batch_size
        };
        assert_eq!((batch(30, 8), batch(300, 8), batch(60_000, 28), batch(60_000, 512)), (8, 30, 64, 64));
        assert_eq!((batch(60_000, 1024), batch(60_000, 4096)), (16, 8));
        let chosen = Request { batch_size: Some(99), ..request };
        assert_eq!(Recipe::for_data(&chosen, 1000, usize::MAX).batch_size, 99);
    }

    #[test]
    fn an_image_size_out_of_range_is_refused_before_anything_else() {
        for side in [0, 7, 513, usize::MAX] {
            let request =
                Request { image_size: Some(side), loss: "unknown".into(), ..Request::new(DataSource::Digits) };
            let error = request.check().unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().starts_with("--image-size: expected"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf8_is_refused_before_any_work() {
        use std::os::unix::ffi::OsStringExt;
        let data = DataSource::from(std::ffi::OsString::from_vec(vec![b'a', 0xff]));
        let error = Request::new(data).check().unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().starts_with("--data: expected"), "{error}");
    }
}
