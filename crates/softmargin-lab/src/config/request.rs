//! Requests: any part of a configuration, from flags or from a file.

use super::keys;
use super::network_plan::Convolution;
use super::recipe::Schedule;
use super::tables::merge;
use crate::device::DeviceChoice;
use serde::{Deserialize, Serialize};
use softmargin::Loss;
use softmargin::request::{LossRequest, ResolvedLoss};
use softmargin_data::error::Error;
use softmargin_data::{DataSource, HoldOut, LoadOptions, Sizing};
use toml::{Table, Value};

/// A configuration in which anything may be left open: the data determine every `None`.
///
/// ```
/// use softmargin_lab::{DataSource, ConfigRequest};
///
/// let mut request = ConfigRequest::new(DataSource::Digits);
/// request.training.epochs = Some(3);
/// request.check()?;
/// # Ok::<(), softmargin_lab::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConfigRequest {
    /// The version of the layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The samples.
    pub data: DataRequest,
    /// The kind and shape of the samples: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Table>,
    /// Values of the normalization that replace those of the training set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Table>,
    /// The loss.
    pub loss: LossRequest,
    /// The layers.
    pub network: NetworkRequest,
    /// The training.
    pub training: TrainingRequest,
}

/// The source of the samples, and their split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DataRequest {
    /// The data; `digits` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<DataSource>,
    /// The side that images are resized to, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// The samples of each class in the test set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_split: Option<HoldOut>,
    /// The training samples of each class in the validation set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<HoldOut>,
    /// The most bytes that decoded samples may occupy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The number of classes: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

/// Changes to the default layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetworkRequest {
    /// One of [`EncoderPlan::KINDS`](super::EncoderPlan::KINDS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Channels, height and width of the images: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<[usize; 3]>,
    /// The number of values of a sample: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<usize>,
    /// The embedding dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// The convolutions, first to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convolutions: Option<Vec<Convolution>>,
}

/// Changes to the default recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainingRequest {
    /// The number of passes over the training set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// The largest number of samples in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// The highest learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The change of the rate from step to step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The share of the steps during which the rate rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<f64>,
    /// The weight decay of matrices and kernels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The largest norm of the gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_limit: Option<f64>,
    /// The number of epochs without a higher validation accuracy or a lower validation loss after which training stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// The seed of every random choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The device to compute on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceChoice>,
    /// The rule that turns a gradient into a step.
    pub optimizer: OptimizerRequest,
    /// Augmentation settings that replace the recipe's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Table>,
}

/// Changes to the default optimizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OptimizerRequest {
    /// One of [`OptimizerConfig::NAMES`](super::OptimizerConfig::NAMES).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// SGD: the weight of the previous direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// AdamW: the decay of the running mean of the gradient.
    #[serde(rename = "beta-1", skip_serializing_if = "Option::is_none")]
    pub beta_1: Option<f64>,
    /// AdamW: the decay of the running mean of the squared gradient.
    #[serde(rename = "beta-2", skip_serializing_if = "Option::is_none")]
    pub beta_2: Option<f64>,
    /// AdamW: added to the root of the mean squared gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
}

impl ConfigRequest {
    /// Creates a request that chooses only the data.
    #[must_use]
    pub fn new(data: DataSource) -> Self {
        Self { data: DataRequest { source: Some(data), ..DataRequest::default() }, ..Self::default() }
    }

    /// Returns the data; `digits` by default.
    #[must_use]
    pub fn source(&self) -> DataSource {
        self.data.source.clone().unwrap_or(DataSource::Digits)
    }

    /// Returns the options for reading the data.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        let DataRequest { test_split, validation_split, memory, .. } = self.data;
        let sizing = self.data.image_size.map_or(Sizing::Automatic, Sizing::Side);
        LoadOptions { sizing, test_split, validation_split, memory }
    }

    /// Merges this request with that of a file; this one wins.
    ///
    /// Settings of the file that belong to something else are dropped: those of its loss or optimizer if this request
    /// names another, and those of its data, and of the network for them, if this request names other data or another
    /// size.
    ///
    /// # Errors
    /// If the two together are not a request.
    pub fn over(self, file: Self) -> Result<Self, Error> {
        let other_data = matches!((&self.data.source, &file.data.source), (Some(own), Some(other)) if own != other);
        let other_size = self.data.image_size.is_some() && self.data.image_size != file.data.image_size;
        let (own_kind, kind) = (&self.training.optimizer.kind, &file.training.optimizer.kind);
        let other_optimizer = matches!((own_kind, kind), (Some(own), Some(other)) if own != other);
        let (mut merged, own) = (to_table(&file)?, to_table(&self)?);
        if other_data {
            remove(&mut merged, &["data", "input", "normalization", "network"]);
            // Class counts belong to the data.
            merged.get_mut("loss").into_iter().for_each(|loss| remove_everywhere(loss, "class-counts"));
        } else if other_size {
            remove(&mut merged, &["input", "normalization"]);
            below(&mut merged, "network", &["image", "inputs", "convolutions"]);
        }
        if other_optimizer {
            below(&mut merged, "training", &["learning-rate", "weight-decay"]);
        }
        merge(&mut merged, own);
        Value::Table(merged).try_into().map_err(|cause: toml::de::Error| {
            Error::request(
                "the file and the flags together",
                "a configuration",
                cause.message(),
                "see docs/configuration.md",
            )
        })
    }

    /// Returns the preset and the spec of the loss, before the class counts are known.
    pub(super) fn resolved_loss(&self) -> Result<ResolvedLoss, Error> {
        // The parts of one preset under the name of another: one of the two was changed, and the other forgotten.
        self.loss.check_name().map_err(name_flag)?;
        self.loss.resolve().map_err(name_flag)
    }

    /// Returns the name of the preset and the loss, for a training set with these numbers of samples of each class.
    pub(super) fn loss_for(&self, class_counts: &[usize]) -> Result<(&'static str, Loss), Error> {
        let counts: Vec<u64> = class_counts.iter().map(|&count| count as u64).collect();
        let resolved = self.resolved_loss()?.with_class_counts(&counts);
        let name = resolved.preset.name;
        Ok((name, resolved.build(counts.len()).map_err(name_flag)?))
    }
}

fn remove(table: &mut Table, keys: &[&str]) {
    for key in keys {
        table.remove(*key);
    }
}

/// Removes keys of a section.
fn below(table: &mut Table, section: &str, keys: &[&str]) {
    if let Some(Value::Table(section)) = table.get_mut(section) {
        remove(section, keys);
    }
}

fn remove_everywhere(value: &mut Value, key: &str) {
    if let Value::Table(table) = value {
        table.remove(key);
        table.iter_mut().for_each(|(_, below)| remove_everywhere(below, key));
    }
}

/// Puts an error of the core about a parameter under the name of the flag or key that sets it.
fn name_flag(error: softmargin::Error) -> Error {
    if error.subject() == "spec" || error.subject().starts_with("spec.") {
        let key = format!("loss.{}", error.subject());
        return error.about(key).into();
    }
    let key = ["loss", "scale", "margin"].into_iter().find(|name| error.subject().starts_with(name));
    match key {
        Some(name) => error.about(format!("--{name}")).into(),
        None => error.into(),
    }
}

fn to_table(request: &ConfigRequest) -> Result<Table, Error> {
    Table::try_from(request).map_err(|cause| {
        let subject = if matches!(&request.data.source, Some(DataSource::Path(path)) if path.to_str().is_none()) {
            keys::name("data.source")
        } else {
            "the configuration".into()
        };
        Error::request(subject, "values that TOML can hold", cause, "")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use softmargin::presets;
    use softmargin::request::Overlay;

    fn request(text: &str) -> ConfigRequest {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn flags_win_and_the_file_fills_what_they_leave_open() {
        let file =
            request("[training]\nepochs = 5\nseed = 3\n[training.optimizer]\nmomentum = 0.8\n[loss]\nscale = 12.0");
        let flags = request("[training]\nepochs = 7\n[loss]\nmargin = [0.2]");
        let expected = "[training]\nepochs = 7\nseed = 3\n[training.optimizer]\nmomentum = 0.8\n[loss]\nscale = 12.0\nmargin = [0.2]";
        assert_eq!(flags.over(file).unwrap(), request(expected));
    }

    #[test]
    fn what_belongs_to_another_loss_optimizer_or_data_set_goes_with_it() {
        let file = request(
            "[loss]\nname = 'arcface'\nscale = 12.0\n[training.optimizer]\nkind = 'sgd'\nmomentum = 0.8\n[training]\nepochs = 5\nlearning-rate = 0.2\n\
             [data]\nsource = 'a'\nclasses = 3\nimage-size = 16\n[network]\nimage = [1, 16, 16]\nembedding = 32\n[normalization]\nmean = 0.5",
        );
        let flags = request("[loss]\nname = 'normface'\n[training.optimizer]\nkind = 'adamw'\n[data]\nsource = 'b'");
        let expected = "[loss]\nname = 'normface'\n[training.optimizer]\nkind = 'adamw'\n[training]\nepochs = 5\n[data]\nsource = 'b'";
        assert_eq!(flags.over(file.clone()).unwrap(), request(expected));
        let same = request("[loss]\nname = 'arcface'\n[data]\nsource = 'a'");
        assert_eq!(same.over(file.clone()).unwrap(), file);
    }

    #[test]
    fn scale_and_margin_win_over_a_spec() {
        let spec = presets::find("arcface").unwrap().spec_with(Some(20.0), Some(&[0.3])).unwrap();
        let parts = Some(Overlay::new(&spec).unwrap());
        let loss = LossRequest { name: Some("arcface".into()), spec: parts, ..LossRequest::default() };
        let mut asked = ConfigRequest { loss, ..ConfigRequest::default() };
        let resolved = asked.resolved_loss().unwrap();
        assert_eq!((resolved.preset.name, resolved.spec), ("arcface", spec));
        asked.loss.scale = Some(10.0);
        asked.loss.margin = Some(vec![0.1]);
        let expected = presets::find("arcface").unwrap().spec_with(Some(10.0), Some(&[0.1])).unwrap();
        assert_eq!(asked.resolved_loss().unwrap().spec, expected);
    }

    #[test]
    fn a_part_of_a_spec_is_put_over_the_preset() {
        let asked = request("[loss]\nname = 'arcface'\n[loss.spec]\nsub-centers = 2");
        let expected = presets::find("arcface").unwrap().spec().with_sub_centers(2);
        assert_eq!(asked.resolved_loss().unwrap().spec, expected);
    }

    #[test]
    fn the_parts_of_one_loss_under_the_name_of_another_are_rejected() {
        for spec in presets::all() {
            let parts = Overlay::new(&spec.spec()).unwrap();
            let asked = |name: &str| {
                let loss = LossRequest { name: Some(name.into()), spec: Some(parts.clone()), ..LossRequest::default() };
                ConfigRequest { loss, ..ConfigRequest::default() }.resolved_loss().map(|resolved| resolved.spec)
            };
            assert_eq!(asked(spec.name).unwrap(), spec.spec(), "{}", spec.name);
        }
        let file = request("[loss]\nname = 'arcface'\n[loss.spec.margin]\nkind = 'score'\nvalue = { one = 0.35 }");
        let message = file.resolved_loss().unwrap_err().to_string();
        assert!(message.contains("parts of arcface, found those of am-softmax"), "{message}");
    }

    #[test]
    fn another_size_sets_aside_what_was_made_for_the_first() {
        let file = request(
            "[data]\nsource = 'a'\nimage-size = 16\n[input]\nheight = 16\n[network]\nimage = [1, 16, 16]\nembedding = 32",
        );
        let flags = request("[data]\nimage-size = 32");
        let expected = request("[data]\nsource = 'a'\nimage-size = 32\n[network]\nembedding = 32");
        assert_eq!(flags.over(file).unwrap(), expected);
    }

    #[test]
    fn counts_of_classes_belong_to_their_data() {
        let file = request(
            "[data]\nsource = 'a'\n[loss]\nname = 'ldam'\n[loss.spec.margin]\nkind = 'score'\n\
             [loss.spec.margin.value.by-frequency]\nlargest = 0.4\nclass-counts = [1, 2]",
        );
        let merged = request("[data]\nsource = 'b'").over(file).unwrap();
        assert!(merged.resolved_loss().unwrap().needs_class_counts());
        assert!(merged.loss_for(&[3, 4, 5]).is_ok());
    }
}
