//! Data for the model of a run: prepared as the model was trained, with the run's numbers of the classes.

use crate::config::{Config, DataConfig};
use crate::data::{DataSource, Dataset, Input, LabeledSamples, LoadOptions, Sizing};
use crate::error::Error;
use crate::run_dir::Run;
use serde::Serialize;
use std::collections::HashMap;

/// Which samples of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Those held out for the test.
    Test,
    /// Those held out to choose the best model by.
    Validation,
    /// Those that a model is trained with.
    Train,
    /// All of them.
    All,
}

impl Part {
    /// Its name.
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

/// A data set for the model of a run. Labels are the run's.
#[derive(Debug)]
pub struct RunData {
    /// `digits`, or the name of the folder.
    pub name: String,
    /// What the data are, in a sentence.
    pub description: String,
    /// What the reader should know of them.
    pub notes: Vec<String>,
    /// The names of the classes: those of the run, and after them those that only these data have.
    pub classes: Vec<String>,
    /// Whether these are the run's own data, by whatever path.
    pub own: bool,
    /// Whether they are, and no longer as they were when it was trained.
    changed: bool,
    parts: Vec<(Part, LabeledSamples)>,
}

impl RunData {
    /// Reads the run's own data, or other data for its model.
    ///
    /// # Errors
    /// As [`Dataset::load`]; also when the data are no input of the model, and when they have classes that the model does
    /// not know and these are refused.
    pub fn load(run: &Run, source: Option<&DataSource>, new_classes: NewClasses) -> Result<Self, Error> {
        let own = source.is_none_or(|source| is_same(source, &run.config.data.source));
        let options = if own { own_options(&run.config) } else { LoadOptions::default() };
        let options = LoadOptions { sizing: sizing(&run.config.input), ..options };
        let data = Dataset::load(source.unwrap_or(&run.config.data.source), &options).map_err(|error| {
            let path = "the path is the one in the run's config.toml; give another with --data";
            if source.is_none() { error.with_advice(path) } else { error }
        })?;
        check_input(&data, &run.config)?;
        let changed = own && run.checkpoint.samples.as_ref().is_some_and(|samples| *samples != data.fingerprint());
        let (numbers, classes) = numbers(&data, &run.classes, new_classes)?;
        let mut parts = vec![(Part::Train, data.train), (Part::Test, data.test)];
        parts.extend(data.validation.map(|samples| (Part::Validation, samples)));
        let renumbered = |(part, samples): (Part, LabeledSamples)| {
            let labels = samples.labels().iter().map(|&label| numbers[label as usize]).collect();
            Ok((part, LabeledSamples::new(samples.samples().clone(), labels)?))
        };
        let parts = parts.into_iter().map(renumbered).collect::<Result<_, Error>>()?;
        Ok(Self { name: data.name, description: data.description, notes: data.notes, classes, own, changed, parts })
    }

    /// The samples of a part, by the parts of the data that they belong to; none of them is empty.
    ///
    /// # Errors
    /// When the data have no such part; when they are the run's own and have changed, so that a rule would now put samples
    /// into a part that were in another.
    pub fn part(&self, wanted: Part) -> Result<Vec<(Part, &LabeledSamples)>, Error> {
        if self.changed && wanted != Part::All {
            let expected = "the samples that the run was made with";
            let found = "others: what trained then could test now";
            let advice = "bring them back, measure --part all, or give samples kept apart with --data";
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
            let expected = format!("{} with a part for {}", self.name, wanted.name());
            return Err(Error::request("--part", expected, "none", "choose another part"));
        }
        Ok(parts)
    }
}

/// Whether two paths lead to the same data.
fn is_same(one: &DataSource, other: &DataSource) -> bool {
    match (one, other) {
        (DataSource::Path(one), DataSource::Path(other)) => {
            one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        }
        _ => one == other,
    }
}

/// How the run's own data were split.
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
        Input::Embeddings { size } => format!("embeddings of {size} numbers"),
    };
    if data.input.shape() == config.input.shape() && words(&data.input) == words(&config.input) {
        return Ok(());
    }
    let expected = format!("{}, as the model was trained with", words(&config.input));
    Err(Error::request(&data.name, expected, words(&data.input), "give data of the same kind"))
}

/// What becomes of classes that the model does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewClasses {
    /// They are refused: the model cannot be right about them.
    Refused,
    /// They are numbered after those that it knows.
    Added,
}

/// The number of each class of the data, and the names of all that are numbered.
fn numbers(data: &Dataset, known: &[String], new_classes: NewClasses) -> Result<(Vec<u32>, Vec<String>), Error> {
    const NAMED: usize = 5;
    let mut all = known.to_vec();
    let mut places: HashMap<String, u32> = known.iter().cloned().zip(0..).collect();
    let mut unknown: Vec<&str> = Vec::new();
    let mut numbers = Vec::with_capacity(data.classes.len());
    for name in &data.classes {
        let next = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let number = *places.entry(name.clone()).or_insert(next);
        if number == next {
            unknown.push(name);
            all.push(name.clone());
        }
        numbers.push(number);
    }
    if unknown.is_empty() || new_classes == NewClasses::Added {
        return Ok((numbers, all));
    }
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let found = format!("others: {}{more}", unknown[..unknown.len().min(NAMED)].join(", "));
    let expected = format!("classes that the model knows, of its {}", known.len());
    let advice = "rename them as in classes.json of the run, or take them out";
    Err(Error::request(format!("the classes of {}", data.name), expected, found, advice))
}
