//! A data set matched to a run: prepared as the training data were, with the class indices of the run.

use crate::config::{Config, DataConfig};
use crate::run::Run;
use serde::Serialize;
use softmargin_data::error::Error;
use softmargin_data::{DataSource, Dataset, Input, LabeledSamples, LoadOptions, Sizing};
use std::collections::HashMap;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The test set.
    Test,
    /// The validation set.
    Validation,
    /// The training set.
    Train,
    /// All samples.
    All,
}

impl Part {
    /// Returns the name, as `--part` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Validation => "validation",
            Self::Train => "train",
            Self::All => "all",
        }
    }
}

/// A data set for the model of a run; its labels are class indices of the run.
#[derive(Debug)]
pub struct MatchedDataset {
    /// `digits`, or the name of the folder.
    pub name: String,
    /// A description of the data, in a sentence.
    pub description: String,
    /// Remarks on the data.
    pub notes: Vec<String>,
    /// The names of the classes: those of the run, then those that only these data have.
    pub classes: Vec<String>,
    /// True if these are the data of the run, reached by any path.
    pub own: bool,
    /// True if they are the data of the run and have changed since training.
    changed: bool,
    parts: Vec<(Part, LabeledSamples)>,
}

impl MatchedDataset {
    /// Reads the data of the run, or other data for its model.
    ///
    /// # Errors
    /// As [`Dataset::load`]; also if the samples have another kind or shape than those of the run, or classes that the
    /// model does not know while `new_classes` rejects them.
    pub fn load(run: &Run, source: Option<&DataSource>, new_classes: NewClasses) -> Result<Self, Error> {
        let own = source.is_none_or(|source| is_same(source, &run.config.data.source));
        let options = if own { own_options(&run.config) } else { LoadOptions::default() };
        let options = LoadOptions { sizing: sizing(&run.config.input), ..options };
        let data = Dataset::load(source.unwrap_or(&run.config.data.source), &options).map_err(|error| {
            let path = "this is the path in config.toml of the run; give another with --data";
            if source.is_none() { error.with_advice(path) } else { error }
        })?;
        check_input(&data, &run.config)?;
        let changed = own && run.checkpoint.samples.as_ref().is_some_and(|samples| *samples != data.fingerprint());
        let (indices, classes) = class_indices(&data, &run.classes, new_classes)?;
        let mut parts = vec![(Part::Train, data.train), (Part::Test, data.test)];
        parts.extend(data.validation.map(|samples| (Part::Validation, samples)));
        let relabeled = |(part, samples): (Part, LabeledSamples)| {
            let labels = samples.labels().iter().map(|&label| indices[label as usize]).collect();
            Ok((part, LabeledSamples::new(samples.samples().clone(), labels)?))
        };
        let parts = parts.into_iter().map(relabeled).collect::<Result<_, Error>>()?;
        Ok(Self { name: data.name, description: data.description, notes: data.notes, classes, own, changed, parts })
    }

    /// Returns the samples of a part, grouped by the parts of the data; no group is empty.
    ///
    /// # Errors
    /// If the data have no such part; if they are those of the run and have changed, since the split may then put
    /// training samples into the test set.
    pub fn part(&self, wanted: Part) -> Result<Vec<(Part, &LabeledSamples)>, Error> {
        if self.changed && wanted != Part::All {
            let expected = "the samples of the training run";
            let found = "other samples: the split may now put training samples into the test set";
            let advice = "restore them, evaluate --part all, or give separate samples with --data";
            return Err(Error::request(
                format!("the {} part of {}", wanted.name(), self.name),
                expected,
                found,
                advice,
            ));
        }
        let is_wanted = |part: Part| wanted == Part::All || part == wanted;
        let parts = self.parts.iter().filter(|(part, samples)| is_wanted(*part) && !samples.is_empty());
        let parts: Vec<_> = parts.map(|(part, samples)| (*part, samples)).collect();
        if parts.is_empty() {
            let expected = format!("a part of {}", self.name);
            let found = format!("{}, which has no samples", wanted.name());
            return Err(Error::request("--part", expected, found, "choose another part"));
        }
        Ok(parts)
    }
}

/// Returns whether two paths lead to the same data.
fn is_same(one: &DataSource, other: &DataSource) -> bool {
    match (one, other) {
        (DataSource::Path(one), DataSource::Path(other)) => {
            one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        }
        _ => one == other,
    }
}

/// Returns the split of the data of the run.
fn own_options(config: &Config) -> LoadOptions {
    let DataConfig { test_split, validation_split, memory, .. } = config.data;
    LoadOptions { test_split, validation_split, memory, ..LoadOptions::default() }
}

fn sizing(input: &Input) -> Sizing {
    match input {
        Input::Images(preparation) => Sizing::Prepared(*preparation),
        Input::Embeddings { .. } => Sizing::Automatic,
    }
}

fn check_input(data: &Dataset, config: &Config) -> Result<(), Error> {
    let words = |input: &Input| match input {
        Input::Images(preparation) => format!("images of {:?}", preparation.shape()),
        Input::Embeddings { size } => format!("embeddings of dimension {size}"),
    };
    if data.input.shape() == config.input.shape() && words(&data.input) == words(&config.input) {
        return Ok(());
    }
    let expected = format!("{}, as in training", words(&config.input));
    Err(Error::request(&data.name, expected, words(&data.input), "give data of the same kind and shape"))
}

/// The treatment of classes that the model does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewClasses {
    /// They are an error: the model cannot predict them.
    Rejected,
    /// They get the indices after the known classes.
    Added,
}

/// Returns the index of each class of the data, and the names of all indices.
fn class_indices(data: &Dataset, known: &[String], new_classes: NewClasses) -> Result<(Vec<u32>, Vec<String>), Error> {
    let mut all = known.to_vec();
    let mut places: HashMap<String, u32> = known.iter().cloned().zip(0..).collect();
    let mut unknown: Vec<&str> = Vec::new();
    let mut indices = Vec::with_capacity(data.classes.len());
    for name in &data.classes {
        let next = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let index = *places.entry(name.clone()).or_insert(next);
        if index == next {
            unknown.push(name);
            all.push(name.clone());
        }
        indices.push(index);
    }
    if unknown.is_empty() || new_classes == NewClasses::Added {
        return Ok((indices, all));
    }
    Err(unknown_classes(&data.name, &unknown, known.len()))
}

fn unknown_classes(data: &str, unknown: &[&str], known: usize) -> Error {
    const NAMED: usize = 5;
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let found = format!("unknown ones: {}{more}", unknown[..unknown.len().min(NAMED)].join(", "));
    let expected = format!("only the {known} classes of the model");
    let advice = "rename them as in classes.json of the run, or remove them";
    Error::request(format!("the classes of {data}"), expected, found, advice)
}
