//! Data for the model of a run: prepared as the model was trained, with the run's numbers of the classes.

use crate::config::{Config, DataConfig};
use crate::data::{DataSource, Dataset, Input, LabelledSamples, LoadOptions, Sizing};
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
    parts: Vec<(Part, LabelledSamples)>,
}

impl RunData {
    /// Reads the run's own data, or other data for its model.
    ///
    /// # Errors
    /// As [`Dataset::load`]; also when the data are no input of the model, and when they have classes that the model does
    /// not know.
    pub fn load(run: &Run, source: Option<&DataSource>) -> Result<Self, Error> {
        let own = source.is_none();
        let options = if own { own_options(&run.config) } else { LoadOptions::default() };
        let options = LoadOptions { sizing: sizing(&run.config.input), ..options };
        let data = Dataset::load(source.unwrap_or(&run.config.data.source), &options)?;
        check_input(&data, &run.config)?;
        let numbers = numbers(&data, &run.classes)?;
        let mut parts = vec![(Part::Train, data.train), (Part::Test, data.test)];
        parts.extend(data.validation.map(|samples| (Part::Validation, samples)));
        let renumbered = |(part, samples): (Part, LabelledSamples)| {
            let labels = samples.labels().iter().map(|&label| numbers[label as usize]).collect();
            Ok((part, LabelledSamples::new(samples.samples().clone(), labels)?))
        };
        let parts = parts.into_iter().map(renumbered).collect::<Result<_, Error>>()?;
        Ok(Self { name: data.name, description: data.description, notes: data.notes, parts })
    }

    /// The samples of a part, by the parts of the data that they belong to; none of them is empty.
    ///
    /// # Errors
    /// When the data have no such part.
    pub fn part(&self, wanted: Part) -> Result<Vec<(Part, &LabelledSamples)>, Error> {
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

/// The run's number of each class of the data.
fn numbers(data: &Dataset, known: &[String]) -> Result<Vec<u32>, Error> {
    const NAMED: usize = 5;
    let known: HashMap<&str, u32> = known.iter().map(String::as_str).zip(0..).collect();
    let numbers: Vec<Option<u32>> = data.classes.iter().map(|name| known.get(name.as_str()).copied()).collect();
    let unknown = data.classes.iter().zip(&numbers).filter(|(_, number)| number.is_none()).map(|(name, _)| name);
    let unknown: Vec<&str> = unknown.map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(numbers.into_iter().flatten().collect());
    }
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let found = format!("others: {}{more}", unknown[..unknown.len().min(NAMED)].join(", "));
    let expected = format!("classes that the model knows, of its {}", known.len());
    let advice = "rename them as in classes.json of the run, or take them out";
    Err(Error::request(format!("the classes of {}", data.name), expected, found, advice))
}
