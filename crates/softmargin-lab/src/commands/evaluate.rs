//! The command `evaluate`: the model of a run on labeled samples.

use super::matched_dataset::{MatchedDataset, NewClasses, Part};
use super::report_records::evaluation_record;
use super::saved_model::predictor;
use crate::device::DeviceChoice;
use crate::predictor::{Evaluation, Progress};
use crate::run::Run;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use softmargin_data::DataSource;
use softmargin_data::error::Error;
use softmargin_data::wording::printable;
use softmargin_metrics::{ClassCounts, Classification};
use softmargin_report::{EvaluationPage, Fact, evaluation_page};
use std::path::{Path, PathBuf};

/// The run and the data to evaluate.
#[derive(Clone, Debug)]
pub struct EvaluateRequest<'a> {
    /// The run directory.
    pub run: &'a Path,
    /// The data; those of the run by default.
    pub data: Option<&'a DataSource>,
    /// The part of the data; by default the test set of the data of the run, and all of other data.
    pub part: Option<Part>,
    /// The device to compute on.
    pub device: DeviceChoice,
}

/// An evaluation and its subject: the output of `evaluate --json`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateSummary {
    /// The run directory.
    pub run: PathBuf,
    /// A description of the data, in a sentence.
    pub data: String,
    /// The part of the data.
    pub part: Part,
    /// The name of the loss.
    pub loss: String,
    /// (C): the names of the classes.
    pub classes: Vec<String>,
    /// The result.
    pub evaluation: Evaluation,
    /// Remarks on the data.
    pub notes: Vec<String>,
}

/// Evaluates the model of a run. `progress` is called with the number of completed samples and of all samples.
///
/// # Errors
/// If the run directory or the data cannot be read, the data have another kind or shape than those of the run or other
/// classes, or the part does not exist.
pub fn evaluate(request: &EvaluateRequest, progress: Progress) -> Result<EvaluateSummary, Error> {
    let device = request.device.open()?;
    let run = Run::read(request.run)?;
    let data = MatchedDataset::load(&run, request.data, NewClasses::Rejected)?;
    let part = request.part.unwrap_or(if data.own { Part::Test } else { Part::All });
    let samples: Vec<_> = data.part(part)?.into_iter().map(|(_, samples)| samples).collect();
    let Run { config, classes, model, checkpoint } = run;
    let loss = config.loss.name.clone();
    let evaluation = predictor(config, model, &checkpoint, device)?.with_progress(progress).evaluate_all(&samples)?;
    Ok(EvaluateSummary {
        run: request.run.to_owned(),
        data: data.description,
        part,
        loss,
        classes,
        evaluation,
        notes: data.notes,
    })
}

impl EvaluateSummary {
    /// Returns the evaluation as an HTML page, in one file that needs no other.
    #[must_use]
    pub fn page(&self) -> String {
        let mut facts = vec![Fact::new("data", printable(&self.data)), Fact::new("samples", self.part.name())];
        facts.extend(self.notes.iter().map(|note| Fact::new("note", printable(note))));
        facts.push(Fact::new("trained with", &self.loss));
        let title = format!("{}, evaluated", printable(&self.run.display().to_string()));
        evaluation_page(&EvaluationPage {
            title,
            facts,
            evaluation: evaluation_record(&self.classes, &self.evaluation),
        })
    }
}

/// A class in the JSON output.
#[derive(serde::Serialize)]
struct NamedClass<'a> {
    class: &'a str,
    samples: usize,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
}

/// A confusion in the JSON output.
#[derive(serde::Serialize)]
struct NamedConfusion<'a> {
    class: &'a str,
    predicted: &'a str,
    count: usize,
}

impl Serialize for EvaluateSummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Evaluation { loss, classification } = &self.evaluation;
        let Classification { samples, accuracy, classes, errors } = classification;
        let class = |(name, class): (_, &ClassCounts)| NamedClass {
            class: name,
            samples: class.support,
            precision: class.precision(),
            recall: class.recall(),
            f1: class.f1(),
        };
        let classes: Vec<_> = self.classes.iter().map(String::as_str).zip(classes).map(class).collect();
        let confusion = errors.iter().map(|error| NamedConfusion {
            class: &self.classes[error.class],
            predicted: &self.classes[error.predicted],
            count: error.count,
        });
        let mut fields = serializer.serialize_struct("EvaluateSummary", 10)?;
        fields.serialize_field("accuracy", accuracy)?;
        fields.serialize_field("loss", loss)?;
        fields.serialize_field("samples", samples)?;
        fields.serialize_field("mean_recall", &classification.mean_recall())?;
        fields.serialize_field("mean_f1", &classification.mean_f1())?;
        fields.serialize_field("run", &self.run.to_string_lossy())?;
        fields.serialize_field("data", &self.data)?;
        fields.serialize_field("part", &self.part)?;
        fields.serialize_field("classes", &classes)?;
        fields.serialize_field("confusion", &confusion.collect::<Vec<_>>())?;
        fields.end()
    }
}
