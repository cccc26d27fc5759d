//! Predictions for images and embeddings, by the model of a run directory.

use crate::device::DeviceChoice;
use crate::error::Error;
use crate::inputs::{Failure, Origin, Source, Sources};
use crate::model::Model;
use crate::predictor::Predictor;
use crate::run_dir::Run;
use serde::Serialize;
use std::path::Path;

/// What is to be predicted.
#[derive(Clone, Debug)]
pub struct PredictionRequest<'a> {
    /// The run directory.
    pub run: &'a Path,
    /// Images, arrays, folders of them.
    pub sources: &'a [Source],
    /// How many of the likeliest classes to tell, 1 at least.
    pub top: usize,
    /// A sample whose highest probability is below this is of no known class.
    pub unknown_below: Option<f64>,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What a model makes of one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file.
    pub file: String,
    /// The row of an array, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// The likeliest class; `None` where it is not likely enough.
    pub class: Option<String>,
    /// The likeliest classes, the first first.
    pub classes: Vec<ClassProbability>,
}

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassProbability {
    /// The name of the class.
    pub class: String,
    /// From 0 to 1.
    pub probability: f32,
}

/// All predictions, and what could not be read.
#[derive(Debug)]
pub struct Predictions {
    /// In the order of the sources and their rows.
    pub predictions: Vec<Prediction>,
    /// The sources that could not be read.
    pub failures: Vec<Failure>,
    /// What the user should know of folders.
    pub notes: Vec<String>,
}

/// The likeliest classes of each sample; `watch` is told how many samples are done, and how many there are as far as is
/// known. A source that cannot be read does not stop the others.
///
/// # Errors
/// On a run directory that cannot be read, on numbers out of range, and when no source can be read.
pub fn predict(request: &PredictionRequest, watch: impl Fn(usize, usize)) -> Result<Predictions, Error> {
    request.check()?;
    let device = request.device.open()?;
    let run = Run::read(request.run)?;
    let input = run.config.input;
    let sources = Sources::expand(request.sources, &input)?;
    let model = Model::load(&run, &device)?;
    let predictor = Predictor::new(model, run.config, device);
    let mut predictions = Vec::new();
    let failures = sources.each_piece(&input, predictor.samples_at_once(), watch, |origins, samples| {
        let rows = predictor.probabilities(samples)?;
        predictions.extend(origins.iter().zip(rows).map(|(origin, row)| request.one(origin, &row, &run.classes)));
        Ok(())
    })?;
    Ok(Predictions { predictions, failures, notes: sources.notes })
}

impl PredictionRequest<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.top == 0 {
            return Err(Error::request("--top", "at least 1", 0, "say how many classes you want to see"));
        }
        match self.unknown_below {
            Some(limit) if !(0.0..=1.0).contains(&limit) => {
                let advice = "it is a probability: 0.5 stands for 50 %";
                Err(Error::request("--unknown-below", "a number from 0 to 1", limit, advice))
            }
            _ => Ok(()),
        }
    }

    fn one(&self, origin: &Origin, probabilities: &[f32], names: &[String]) -> Prediction {
        let classes = likeliest(probabilities, names, self.top);
        let limit = self.unknown_below.unwrap_or_default();
        let known = classes.first().filter(|best| f64::from(best.probability) >= limit);
        let class = known.map(|best| best.class.clone());
        Prediction { file: origin.file.clone(), row: origin.row, class, classes }
    }
}

/// The first on ties is the one of the lower index.
fn likeliest(probabilities: &[f32], names: &[String], top: usize) -> Vec<ClassProbability> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let named = |class: usize| ClassProbability { class: names[class].clone(), probability: probabilities[class] };
    order.into_iter().take(top).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_ties_by_index() {
        let names = ["a", "b", "c"].map(String::from);
        let top = likeliest(&[0.25, 0.5, 0.25], &names, 2);
        assert_eq!(top.iter().map(|one| one.class.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(likeliest(&[0.25, 0.5, 0.25], &names, 9).len(), 3);
    }

    #[test]
    fn a_class_that_is_not_likely_enough_is_none() {
        let names = ["a", "b"].map(String::from);
        let origin = Origin { file: "x".into(), row: None };
        let class = |unknown_below| {
            let device = DeviceChoice::Cpu;
            let request = PredictionRequest { run: Path::new(""), sources: &[], top: 1, unknown_below, device };
            request.check().unwrap();
            request.one(&origin, &[0.25, 0.75], &names).class
        };
        assert_eq!([None, Some(0.0), Some(0.75)].map(class), [(); 3].map(|()| Some("b".to_owned())));
        assert_eq!([Some(0.76), Some(1.0)].map(class), [None, None]);
    }
}
