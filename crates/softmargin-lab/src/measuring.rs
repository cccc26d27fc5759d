//! The model of a run directory, measured on samples of known classes.

use crate::data::DataSource;
use crate::device::DeviceChoice;
use crate::error::Error;
use crate::evaluation::{ClassCount, Evaluation};
use crate::model::Model;
use crate::predictor::Predictor;
use crate::report::{self, Heading};
use crate::run_data::{NewClasses, Part, RunData};
use crate::run_dir::Run;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::path::{Path, PathBuf};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct EvaluationRequest<'a> {
    /// The run directory.
    pub run: &'a Path,
    /// Other data than the run's own.
    pub data: Option<&'a DataSource>,
    /// Which samples. `None`: the test part of the run's own data, all of other data.
    pub part: Option<Part>,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// An evaluation, and what it is of: what `evaluate --json` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The run directory.
    pub run: PathBuf,
    /// The data, in a sentence.
    pub data: String,
    /// Which samples of them.
    pub part: Part,
    /// The loss by name.
    pub loss: String,
    /// (C): the names of the classes.
    pub classes: Vec<String>,
    /// The result.
    pub evaluation: Evaluation,
    /// What the reader should know of the data.
    pub notes: Vec<String>,
}

/// Measures the model of a run; `watch` is told how many samples are done, and how many there are.
///
/// # Errors
/// On a run directory or data that cannot be read, data that are no input of the model or have other classes, and a part
/// that the data do not have.
pub fn evaluate(request: &EvaluationRequest, watch: impl Fn(usize, usize) + 'static) -> Result<Measured, Error> {
    let device = request.device.open()?;
    let run = Run::read(request.run)?;
    let data = RunData::load(&run, request.data, NewClasses::Refused)?;
    let part = request.part.unwrap_or(if data.own { Part::Test } else { Part::All });
    let samples: Vec<_> = data.part(part)?.into_iter().map(|(_, samples)| samples).collect();
    let model = Model::load(&run, &device)?;
    let loss = run.config.loss.name.clone();
    let evaluation = Predictor::new(model, run.config, device).watched(watch).evaluate_all(&samples)?;
    Ok(Measured {
        run: request.run.to_owned(),
        data: data.description,
        part,
        loss,
        classes: run.classes,
        evaluation,
        notes: data.notes,
    })
}

impl Measured {
    /// A page of it, in one file that needs no other.
    #[must_use]
    pub fn page(&self) -> String {
        let mut facts = vec![("data", self.data.clone()), ("samples", self.part.name().to_owned())];
        facts.extend(self.notes.iter().map(|note| ("note", note.clone())));
        facts.push(("trained with", self.loss.clone()));
        let title = format!("{}, evaluated", self.run.display());
        report::evaluation_page(&Heading { title, facts, classes: &self.classes }, &self.evaluation)
    }
}

/// A class by its name.
#[derive(serde::Serialize)]
struct NamedClass<'a> {
    class: &'a str,
    samples: usize,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
}

/// Samples of one class that were taken for another, by their names.
#[derive(serde::Serialize)]
struct NamedConfusion<'a> {
    class: &'a str,
    predicted: &'a str,
    count: usize,
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Evaluation { samples, accuracy, loss, classes, errors } = &self.evaluation;
        let class = |(name, class): (_, &ClassCount)| NamedClass {
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
        let mut fields = serializer.serialize_struct("Measured", 10)?;
        fields.serialize_field("accuracy", accuracy)?;
        fields.serialize_field("loss", loss)?;
        fields.serialize_field("samples", samples)?;
        fields.serialize_field("mean_recall", &self.evaluation.mean_recall())?;
        fields.serialize_field("mean_f1", &self.evaluation.mean_f1())?;
        fields.serialize_field("run", &self.run.to_string_lossy())?;
        fields.serialize_field("data", &self.data)?;
        fields.serialize_field("part", &self.part)?;
        fields.serialize_field("classes", &classes)?;
        fields.serialize_field("confusion", &confusion.collect::<Vec<_>>())?;
        fields.end()
    }
}
