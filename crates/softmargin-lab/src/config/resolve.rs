//! From a request and the data to a complete configuration: one rule for each gap.

use super::keys::{self, rejected};
use super::network_plan::{ConvolutionalPlan, EncoderPlan};
use super::recipe::{OptimizerConfig, Recipe};
use super::request::{ConfigRequest, NetworkRequest, TrainingRequest};
use super::resolved::{Config, DataConfig, FORMAT, NamedLoss};
use super::tables::{overlay, table};
use softmargin_data::augmentation::Augmentation;
use softmargin_data::error::Error;
use softmargin_data::{DataSource, Dataset, HoldOut, Input, Normalization, SIDES};
use std::fmt;
use toml::{Table, Value};

/// The default embedding dimension: enough for any loss of the family up to thousands of classes.
const EMBEDDING: usize = 128;

impl ConfigRequest {
    /// Checks everything that can be checked without the data.
    ///
    /// # Errors
    /// With exit code 2: a path that is not UTF-8, an unknown loss, a scale or a margin that the loss does not take, a
    /// value out of range. The message names the flag, or the key if there is no flag.
    pub fn check(&self) -> Result<(), Error> {
        match &self.data.source {
            // The configuration of the run contains the path, and a TOML file is UTF-8.
            Some(DataSource::Path(path)) if path.to_str().is_none() => {
                let advice = "rename the folder, or link to it";
                return Err(Error::request("--data", "a path in UTF-8", path.display(), advice));
            }
            _ => {}
        }
        if let Some(side) = self.data.image_size.filter(|side| !SIDES.contains(side)) {
            let expected = format!("a whole number from {} to {}", SIDES.start(), SIDES.end());
            return Err(rejected("data.image-size", expected, side));
        }
        if self.data.test_split == Some(HoldOut::None) {
            return Err(rejected("data.test-split", "every:N or last:N", "none, which leaves no test set"));
        }
        // A spec of its own may have a value for each class: it is checked when the classes are known. What depends on
        // the number of classes is checked for two of them here, and again then.
        self.resolved_loss()?;
        if self.loss.spec.is_none() {
            self.loss_for(&[1, 1])?;
        }
        // Any plan with the requested embedding dimension, and any number of samples.
        let embedding = self.network.embedding.unwrap_or(EMBEDDING);
        EncoderPlan::Projection { inputs: 1, embedding }.check()?;
        self.training.resolve(1000, 1, true)?.check()?;
        Ok(())
    }
}

impl Config {
    /// Closes the gaps of a request.
    ///
    /// # Errors
    /// If the request does not fit the data, and as [`ConfigRequest::check`]; if the training data cannot be read.
    pub fn resolve(request: &ConfigRequest, data: &Dataset) -> Result<Self, Error> {
        let classes = data.classes.len();
        check_test(data)?;
        if let Some(asked) = request.data.classes.filter(|&asked| asked != classes) {
            return Err(other_data("data.classes", classes, asked));
        }
        check_input(request.input.as_ref(), data.input)?;
        let (name, loss) = request.loss_for(&data.train.class_counts(classes))?;
        let network = request.network.resolve(data.input)?;
        // Before any arithmetic on its sizes.
        network.check()?;
        let is_images = matches!(data.input, Input::Images(_));
        let training = request.training.resolve(data.train.len(), network.first_layer_values(), is_images)?;
        check_patience(&training, data)?;
        let normalization = Normalization::of(data.train.samples())?;
        let asked = &request.data;
        let config = Self {
            format: FORMAT,
            data: DataConfig {
                source: request.source(),
                image_size: asked.image_size,
                test_split: asked.test_split,
                validation_split: asked.validation_split,
                memory: asked.memory,
                classes,
            },
            input: data.input,
            normalization: overlay("normalization", &normalization, request.normalization.as_ref())?,
            loss: NamedLoss { name: name.into(), spec: loss.spec().clone() },
            network,
            training,
        };
        config.check()?;
        Ok(config)
    }
}

impl NetworkRequest {
    fn resolve(&self, input: Input) -> Result<EncoderPlan, Error> {
        let shape = input.shape();
        let (inputs, embedding) = (shape.iter().product(), self.embedding.unwrap_or(EMBEDDING));
        let by_data = match input {
            Input::Images(_) => EncoderPlan::KINDS[0],
            Input::Embeddings { .. } if self.embedding.is_some() => EncoderPlan::KINDS[1],
            Input::Embeddings { .. } => EncoderPlan::KINDS[2],
        };
        let own = match self.kind.as_deref().unwrap_or(by_data) {
            "convolutional" => EncoderPlan::Convolutional(ConvolutionalPlan::for_images(shape, embedding)),
            "projection" => EncoderPlan::Projection { inputs, embedding },
            "none" => EncoderPlan::None { inputs },
            other => return Err(rejected("network.kind", one_of(&EncoderPlan::KINDS), other)),
        };
        overlay("network", &own, Some(&table("network", self)?))
    }
}

impl TrainingRequest {
    /// Returns the recipe for this number of training samples, of each of which the first layer computes `layer_values`
    /// values.
    ///
    /// Small training sets get more epochs: `2100 / sqrt(samples)`, from 10 to 100. More epochs mean stronger
    /// augmentation. A batch is a tenth of the samples, from 8 to 64, and smaller (but at least 8) if the first layer
    /// would compute more than 2^26 values of it (256 MiB; its gradient takes as much again).
    fn resolve(&self, samples: usize, layer_values: usize, is_images: bool) -> Result<Recipe, Error> {
        // An epoch of a handful of samples still takes a few steps.
        const STEPS_AT_LEAST: usize = 10;
        const LAYER_VALUES_AT_MOST: usize = 1 << 26;
        let optimizer = self.optimizer()?;
        let (learning_rate, weight_decay) = match optimizer {
            OptimizerConfig::Sgd { .. } => (0.1, 5e-4),
            OptimizerConfig::Adamw { .. } => (2e-3, 0.05),
        };
        let by_samples = (2100.0 / (samples.max(1) as f64).sqrt()).round().clamp(10.0, 100.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 10 to 100")]
        let epochs = self.epochs.unwrap_or(by_samples as usize);
        let batch_size = (samples / STEPS_AT_LEAST).min(64).min(LAYER_VALUES_AT_MOST / layer_values).max(8);
        Ok(Recipe {
            epochs,
            batch_size: self.batch_size.unwrap_or(batch_size),
            learning_rate: self.learning_rate.unwrap_or(learning_rate),
            schedule: self.schedule.unwrap_or_default(),
            warm_up: self.warm_up.unwrap_or(0.2),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            gradient_limit: self.gradient_limit,
            patience: self.patience,
            seed: self.seed.unwrap_or(0),
            device: self.device.unwrap_or_default(),
            optimizer,
            augmentation: self.augmentation(epochs, is_images)?,
        })
    }

    fn optimizer(&self) -> Result<OptimizerConfig, Error> {
        let own = match self.optimizer.kind.as_deref().unwrap_or(OptimizerConfig::NAMES[0]) {
            "sgd" => OptimizerConfig::Sgd { momentum: 0.9 },
            "adamw" => OptimizerConfig::Adamw { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 },
            other => return Err(rejected("training.optimizer.kind", one_of(&OptimizerConfig::NAMES), other)),
        };
        overlay("training.optimizer", &own, Some(&table("training.optimizer", &self.optimizer)?))
    }

    fn augmentation(&self, epochs: usize, is_images: bool) -> Result<Option<Augmentation>, Error> {
        const FULL_CHANGES_FROM: f64 = 60.0;
        if is_images {
            let own = Augmentation::with_strength((epochs as f64 / FULL_CHANGES_FROM).min(1.0));
            return overlay("training.augmentation", &own, self.augmentation.as_ref()).map(Some);
        }
        match self.augmentation {
            Some(_) => Err(rejected("training.augmentation", "no such section for embeddings", "one")),
            None => Ok(None),
        }
    }
}

fn check_input(asked: Option<&Table>, input: Input) -> Result<(), Error> {
    let own = table("input", &input)?;
    let differs = |(key, value): &(&String, &Value)| own.get(*key) != Some(*value);
    match asked.into_iter().flatten().find(differs) {
        Some((key, value)) => {
            let known = own.get(key).map_or_else(|| "no such key".into(), ToString::to_string);
            Err(other_data(&format!("input.{key}"), known, value))
        }
        None => Ok(()),
    }
}

/// Checks that there is a test set: a result needs one.
fn check_test(data: &Dataset) -> Result<(), Error> {
    if data.test.is_empty() {
        let advice = "hold some out with --test-split every:5, or add a test set to the data";
        return Err(Error::request(keys::name("data.test-split"), "a test set", "no samples", advice));
    }
    Ok(())
}

fn check_patience(recipe: &Recipe, data: &Dataset) -> Result<(), Error> {
    if recipe.patience.is_some() && data.validation.is_none() {
        let advice = "hold some out with --validation-split every:10, or omit the patience";
        return Err(Error::request(keys::name("training.patience"), "a validation set", "none", advice));
    }
    Ok(())
}

fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}

fn other_data(key: &str, own: impl fmt::Display, asked: impl fmt::Display) -> Error {
    Error::request(key, format!("{own}, as in the data"), asked, "omit it, or use the data that it was written for")
}

#[cfg(test)]
mod tests {
    use super::*;
    use softmargin::presets;
    use softmargin_data::LoadOptions;

    fn recipe(samples: usize, layer_values: usize) -> Recipe {
        TrainingRequest::default().resolve(samples, layer_values, true).unwrap()
    }

    fn request(text: &str) -> ConfigRequest {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_batch_is_smaller_where_images_are_large() {
        let batch = |samples, side| {
            recipe(samples, ConvolutionalPlan::for_images([3, side, side], EMBEDDING).first_layer_values()).batch_size
        };
        assert_eq!((batch(30, 8), batch(300, 8), batch(60_000, 28), batch(60_000, 512)), (8, 30, 64, 64));
        assert_eq!((batch(60_000, 1024), batch(60_000, 4096)), (16, 8));
        let chosen = TrainingRequest { batch_size: Some(99), ..TrainingRequest::default() };
        assert_eq!(chosen.resolve(1000, usize::MAX, true).unwrap().batch_size, 99);
    }

    #[test]
    fn a_configuration_as_text_resolves_to_itself() {
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        let mut requests: Vec<ConfigRequest> =
            presets::all().iter().map(|preset| request(&format!("[loss]\nname = '{}'", preset.name))).collect();
        requests.extend(
            [
                "[training]\nlearning-rate = 0.30000000000000004\ngradient-limit = 1e-7\npatience = 3\nseed = 7\nschedule = 'one-cycle'",
                "[training.optimizer]\nkind = 'adamw'\nbeta-2 = 0.99",
                "[training.augmentation]\nrotation = 3\n[normalization]\nmean = 0.1",
                "[network]\nkind = 'projection'\nembedding = 7",
                "[network]\nkind = 'none'",
                "[data]\nvalidation-split = 'last:3'\nimage-size = 8",
            ]
            .map(request),
        );
        for request in requests {
            request.check().unwrap();
            let data = Dataset::load(&request.source(), &request.load_options()).unwrap_or_else(|_| data.clone());
            let config = Config::resolve(&request, &data).unwrap();
            let text = config.to_text(&["a remark".into()]).unwrap();
            let again: ConfigRequest = toml::from_str(&text).unwrap();
            assert_eq!(Config::resolve(&again, &data).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn every_key_of_a_configuration_has_its_meaning_above_it() {
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        for asked in [
            "",
            "[training]\ngradient-limit = 1.0\npatience = 3\n[training.optimizer]\nkind = 'adamw'\n[network]\nkind = 'projection'",
        ] {
            let config = Config::resolve(&request(asked), &data).unwrap();
            let text = config.to_text(&[]).unwrap();
            assert!(keys::unknown(&toml::from_str(&text).unwrap()).is_none(), "{text}");
            let spec = text.lines().position(|line| line.starts_with("[loss.spec")).unwrap();
            for (line, next) in text.lines().zip(text.lines().skip(1)).take(spec) {
                assert!(!next.contains(" = ") || line.starts_with("# ") || next.starts_with('#'), "{next}:\n{text}");
            }
        }
    }

    #[test]
    fn what_has_no_effect_or_does_not_fit_is_rejected_by_its_name() {
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        for (asked, named) in [
            ("[data]\nclasses = 9", "data.classes: expected 10"),
            ("[input]\nheight = 9", "input.height: expected 8"),
            ("[input]\nkind = 'embeddings'", "input.kind"),
            (
                "[network]\nkind = 'none'\nembedding = 5",
                "network: expected keys that have an effect there, found unknown field `embedding`",
            ),
            ("[network]\nkind = 'recurrent'", "network.kind: expected one of convolutional"),
            ("[network]\nimage = [1, 9, 8]", "network"),
            ("[network]\nembedding = 0", "--embedding-size: expected"),
            (
                "[[network.convolutions]]\nchannels = 4\nstride = 3\npool = false\nskip = false",
                "network.convolutions.stride: expected",
            ),
            ("[training.optimizer]\nkind = 'adamw'\nmomentum = 0.5", "training.optimizer"),
            ("[training.optimizer]\nkind = 'lion'", "--optimizer: expected one of sgd, adamw"),
            ("[training.optimizer]\nmomentum = 1.0", "training.optimizer.momentum: expected"),
            ("[training.augmentation]\nrotation = -1", "training.augmentation"),
            ("[training.augmentation]\nrotation = 'much'", "training.augmentation"),
            ("[training]\nwarm-up = 1.0", "--warm-up: expected"),
            ("[training]\ngradient-limit = 0.0", "--gradient-limit: expected"),
            ("[training]\npatience = 0", "--patience: expected"),
            ("[training]\nepochs = 0", "--epochs: expected"),
            ("[training]\nlearning-rate = inf", "--lr: expected"),
            ("[normalization]\nstd = 0.0", "normalization.std: expected"),
            ("[loss]\nmargin = [1.0, 2.0]", "--margin: expected"),
            ("[loss]\nname = 'arcfaec'", "--loss: expected"),
        ] {
            let error = Config::resolve(&request(asked), &data).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().starts_with(named), "{asked}: {error}");
        }
        let none = Dataset { validation: None, ..data };
        let error = Config::resolve(&request("[training]\npatience = 2"), &none).unwrap_err();
        assert!(error.to_string().contains("--validation-split"), "{error}");
    }

    #[test]
    fn an_image_size_out_of_range_is_rejected_before_anything_else() {
        for side in [0, 7, 513, usize::MAX] {
            let mut request = request("[loss]\nname = 'unknown'");
            request.data.image_size = Some(side);
            let error = request.check().unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().starts_with("--image-size: expected"), "{error}");
        }
    }

    #[test]
    fn embeddings_have_a_head_alone_or_a_projection() {
        let input = Input::Embeddings { size: 5 };
        let resolve = |asked: &str| request(asked).network.resolve(input);
        assert_eq!(resolve("").unwrap(), EncoderPlan::None { inputs: 5 });
        assert_eq!(resolve("[network]\nembedding = 3").unwrap(), EncoderPlan::Projection { inputs: 5, embedding: 3 });
        assert!(request("[training.augmentation]\nshift = 0.1").training.resolve(9, 5, false).is_err());
        assert_eq!(TrainingRequest::default().resolve(9, 5, false).unwrap().augmentation, None);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf8_is_rejected_before_any_work() {
        use std::os::unix::ffi::OsStringExt;
        let data = DataSource::from(std::ffi::OsString::from_vec(vec![b'a', 0xff]));
        let error = ConfigRequest::new(data.clone()).check().unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().starts_with("--data: expected"), "{error}");
        let error = ConfigRequest::new(data).over(ConfigRequest::default()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().starts_with("--data: expected"), "{error}");
    }
}
