//! What a user asks for, by flags or in a file: any part of a configuration.

use super::resolve::{overlay, table};
use super::{DEFAULT_LOSS, keys};
use crate::data::{DataSource, HoldOut, LoadOptions, Sizing};
use crate::device::DeviceChoice;
use crate::error::Error;
use crate::network::Convolution;
use crate::training::Schedule;
use serde::{Deserialize, Serialize};
use softmargin::presets::Preset;
use softmargin::{Loss, LossSpec, presets};
use toml::{Table, Value};

/// What a user asks for; what is `None` is chosen by the data.
///
/// ```
/// use softmargin_lab::{DataSource, Request};
///
/// let mut request = Request::new(DataSource::Digits);
/// request.training.epochs = Some(3);
/// request.check()?;
/// # Ok::<(), softmargin_lab::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Request {
    /// The version of the layout that the request is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The samples.
    pub data: DataRequest,
    /// What is known of the inputs: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Table>,
    /// Numbers of the normalization, in place of those of the training data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Table>,
    /// The loss.
    pub loss: LossRequest,
    /// The layers.
    pub network: NetworkRequest,
    /// The training.
    pub training: TrainingRequest,
}

/// Where the samples come from, and how they are parted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DataRequest {
    /// `digits` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<DataSource>,
    /// The side that images are brought to, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Which samples of each class test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_split: Option<HoldOut>,
    /// Which training samples of each class validate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<HoldOut>,
    /// Bytes that decoded images may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How many classes there are: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

/// A preset, and what is to be different from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LossRequest {
    /// The name of a preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its scale, or where a learned one starts; wins over that of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The numbers of its margin; win over the margin of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Vec<f64>>,
    /// Parts of the loss in place of the preset's own, or all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Table>,
}

/// What is to be different from the default layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetworkRequest {
    /// One of [`EncoderPlan::KINDS`](crate::encoder::EncoderPlan::KINDS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Channels, height and width of the images: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<[usize; 3]>,
    /// Values of a sample: the data must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<usize>,
    /// Numbers in an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// The convolutions, first to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convolutions: Option<Vec<Convolution>>,
}

/// What is to be different from the default recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainingRequest {
    /// Passes over the training data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Samples a step, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// The highest learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// How the rate changes from step to step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Share of the steps in which the rate rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<f64>,
    /// Decay of matrices and kernels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The longest gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_limit: Option<f64>,
    /// Epochs without a higher validation accuracy or a lower loss, after which training stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Fixes every random choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Where to compute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceChoice>,
    /// What becomes of a gradient.
    pub optimizer: OptimizerRequest,
    /// Margin values of augmentation in place of the recipe's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Table>,
}

/// What is to be different from the default optimizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OptimizerRequest {
    /// One of [`Optimizer::NAMES`](crate::training::Optimizer::NAMES).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// SGD: what is kept of the last step's direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// AdamW: what is kept of the mean gradient.
    #[serde(rename = "beta-1", skip_serializing_if = "Option::is_none")]
    pub beta_1: Option<f64>,
    /// AdamW: what is kept of the mean squared gradient.
    #[serde(rename = "beta-2", skip_serializing_if = "Option::is_none")]
    pub beta_2: Option<f64>,
    /// AdamW: added to the root of the mean squared gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
}

impl Request {
    /// Everything left open but the data.
    #[must_use]
    pub fn new(data: DataSource) -> Self {
        Self { data: DataRequest { source: Some(data), ..DataRequest::default() }, ..Self::default() }
    }

    /// Where the samples come from.
    #[must_use]
    pub fn source(&self) -> DataSource {
        self.data.source.clone().unwrap_or(DataSource::Digits)
    }

    /// How the data are to be read.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        let DataRequest { test_split, validation_split, memory, .. } = self.data;
        let sizing = self.data.image_size.map_or(Sizing::Automatic, Sizing::Side);
        LoadOptions { sizing, test_split, validation_split, memory }
    }

    /// This request where it says something, and `file` where it does not.
    ///
    /// A part that belongs to something else in the file goes with it: the settings of another loss or optimizer where this
    /// request names one, and what the file says of its data, and of the network for them, where this request names others
    /// or another size.
    ///
    /// # Errors
    /// When the two together are no request.
    pub fn over(self, file: Self) -> Result<Self, Error> {
        let other_data = matches!((&self.data.source, &file.data.source), (Some(own), Some(other)) if own != other);
        let other_size = self.data.image_size.is_some() && self.data.image_size != file.data.image_size;
        let (own_kind, kind) = (&self.training.optimizer.kind, &file.training.optimizer.kind);
        let other_optimizer = matches!((own_kind, kind), (Some(own), Some(other)) if own != other);
        let (mut merged, own) = (to_table(&file)?, to_table(&self)?);
        if other_data {
            remove(&mut merged, &["data", "input", "normalization", "network"]);
            // The counts of classes are those of the data.
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
            Error::request("the file and the flags together", "a request", cause.message(), "see docs/configuration.md")
        })
    }

    pub(super) fn spec(&self) -> Result<(&'static str, LossSpec), Error> {
        let name = self.loss.name.as_deref().unwrap_or(DEFAULT_LOSS);
        let preset = presets::find(name).map_err(name_flag)?;
        let mut spec = preset.spec();
        if let Some(asked) = &self.loss.spec {
            spec = overlay("loss.spec", &spec, Some(asked))?;
            check_name(preset, &spec)?;
        }
        let spec = preset.with_numbers(spec, self.loss.scale, self.loss.margin.as_deref()).map_err(name_flag)?;
        Ok((preset.name, spec))
    }

    /// The loss for training data with so many samples of each class, and the name of its preset.
    pub(super) fn loss_for(&self, class_counts: &[usize]) -> Result<(&'static str, Loss), Error> {
        let (name, mut spec) = self.spec()?;
        if spec.needs_class_counts() {
            let counts: Vec<u64> = class_counts.iter().map(|&count| count as u64).collect();
            spec = spec.with_class_counts(&counts);
        }
        Ok((name, spec.build(class_counts.len()).map_err(name_flag)?))
    }
}

/// Refuses the parts of one preset under the name of another: one of the two was changed, and the other forgotten.
fn check_name(named: &Preset, spec: &LossSpec) -> Result<(), Error> {
    let parts = parts(spec)?;
    let mut meant = None;
    for preset in presets::all() {
        if self::parts(&preset.spec())? == parts {
            meant = meant.or(Some(preset));
            if preset.name == named.name {
                return Ok(());
            }
        }
    }
    let Some(meant) = meant else { return Ok(()) };
    let advice = format!("for {} take [loss.spec] out, for {} name it", named.name, meant.name);
    Err(Error::request("loss.spec", format!("parts of {}", named.name), format!("those of {}", meant.name), advice))
}

/// The parts of a loss, whatever their numbers.
fn parts(spec: &LossSpec) -> Result<Value, Error> {
    fn without_numbers(value: &mut Value) {
        match value {
            Value::Table(table) => table.iter_mut().for_each(|(_, value)| without_numbers(value)),
            Value::Integer(_) | Value::Float(_) | Value::Array(_) => *value = Value::Boolean(true),
            _ => {}
        }
    }
    let counted = spec.clone().with_class_counts(&[]);
    let plain = counted.with_class_weights(None).with_ignored_label(None).with_sub_centers(1);
    let mut parts = Value::Table(table("loss.spec", &plain)?);
    without_numbers(&mut parts);
    Ok(parts)
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

/// The core's name of a parameter, as the flag that sets it.
fn name_flag(error: softmargin::Error) -> Error {
    let key = ["loss", "scale", "margin"].into_iter().find(|name| error.subject().starts_with(name));
    match key {
        Some(name) => error.about(format!("--{name}")).into(),
        None => error.into(),
    }
}

fn to_table(request: &Request) -> Result<Table, Error> {
    Table::try_from(request).map_err(|cause| {
        let subject = if matches!(&request.data.source, Some(DataSource::Path(path)) if path.to_str().is_none()) {
            keys::name("data.source")
        } else {
            "the request".into()
        };
        Error::request(subject, "values that TOML can hold", cause, "")
    })
}

/// The keys that say what the rest of their table belongs to.
const DECIDING: [&str; 2] = ["kind", "name"];

/// Puts `upper` over `lower`, table by table.
pub(super) fn merge(lower: &mut Table, upper: Table) {
    let another = |key| matches!((lower.get(key), upper.get(key)), (Some(a), Some(b)) if a != b);
    if DECIDING.into_iter().any(another) {
        lower.clear();
    }
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
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
        let parts = Some(Table::try_from(&spec).unwrap());
        let loss = LossRequest { name: Some("arcface".into()), spec: parts, ..LossRequest::default() };
        let mut asked = Request { loss, ..Request::default() };
        assert_eq!(asked.spec().unwrap(), ("arcface", spec));
        asked.loss.scale = Some(10.0);
        asked.loss.margin = Some(vec![0.1]);
        let expected = presets::find("arcface").unwrap().spec_with(Some(10.0), Some(&[0.1])).unwrap();
        assert_eq!(asked.spec().unwrap().1, expected);
    }

    #[test]
    fn a_part_of_a_spec_is_put_over_the_preset() {
        let asked = request("[loss]\nname = 'arcface'\n[loss.spec]\nsub-centers = 2");
        let expected = presets::find("arcface").unwrap().spec().with_sub_centers(2);
        assert_eq!(asked.spec().unwrap().1, expected);
    }

    #[test]
    fn the_parts_of_one_loss_under_the_name_of_another_are_refused() {
        for spec in presets::all() {
            let parts = Table::try_from(spec.spec()).unwrap();
            let asked = |name: &str| {
                let loss = LossRequest { name: Some(name.into()), spec: Some(parts.clone()), ..LossRequest::default() };
                Request { loss, ..Request::default() }.spec().map(|(_, spec)| spec)
            };
            assert_eq!(asked(spec.name).unwrap(), spec.spec(), "{}", spec.name);
        }
        let file = request("[loss]\nname = 'arcface'\n[loss.spec.margin]\nkind = 'score'\namount = { one = 0.35 }");
        let message = file.spec().unwrap_err().to_string();
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
        assert!(merged.spec().unwrap().1.needs_class_counts());
        assert!(merged.loss_for(&[3, 4, 5]).is_ok());
    }
}
