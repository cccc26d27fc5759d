//! The command `predict`: the classes of unlabeled images or embeddings.

use super::saved_model::predictor;
use crate::device::DeviceChoice;
use crate::input_files::{InputFile, InputFiles, SampleOrigin, UnreadableFile};
use crate::predictor::Progress;
use crate::run::Run;
use serde::Serialize;
use softmargin_data::error::Error;
use std::path::Path;

/// The samples to predict, and the options.
#[derive(Clone, Debug)]
pub struct PredictRequest<'a> {
    /// The run directory.
    pub run: &'a Path,
    /// Images, arrays, folders of them.
    pub inputs: &'a [InputFile],
    /// The number of classes per sample, most likely first; at least 1.
    pub top: usize,
    /// A sample whose highest probability is lower is reported as unknown.
    pub unknown_below: Option<f64>,
    /// The device to compute on.
    pub device: DeviceChoice,
}

/// The prediction for one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file.
    pub file: String,
    /// The row of an array, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// The most likely class; `None` if the sample is reported as unknown.
    pub class: Option<String>,
    /// The most likely classes, in descending order of probability.
    pub classes: Vec<ClassProbability>,
}

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassProbability {
    /// The name of the class.
    pub class: String,
    /// The probability, from 0 to 1.
    pub probability: f32,
}

/// All predictions, and the files that could not be read.
#[derive(Debug)]
pub struct Predictions {
    /// The predictions, in the order of the files and their rows.
    pub predictions: Vec<Prediction>,
    /// The files that could not be read.
    pub failures: Vec<UnreadableFile>,
    /// Remarks on folders.
    pub notes: Vec<String>,
}

/// Predicts the most likely classes of each sample. `progress` is called with the number of completed samples and of
/// all samples that are known so far. A file that cannot be read does not stop the others.
///
/// # Errors
/// If the run directory cannot be read, a value is out of range, or no file can be read.
pub fn predict(request: &PredictRequest, progress: &Progress) -> Result<Predictions, Error> {
    request.check()?;
    let device = request.device.open()?;
    let Run { config, classes, model, checkpoint } = Run::read(request.run)?;
    let input = config.input;
    let files = InputFiles::expand(request.inputs, &input)?;
    let predictor = predictor(config, model, &checkpoint, device)?;
    let mut predictions = Vec::new();
    let failures = files.for_each_chunk(&input, predictor.batch_size(), &**progress, &mut |origins, samples| {
        let rows = predictor.probabilities(samples)?;
        predictions.extend(origins.iter().zip(rows).map(|(origin, row)| request.one(origin, &row, &classes)));
        Ok(())
    })?;
    Ok(Predictions { predictions, failures, notes: files.notes })
}

impl PredictRequest<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.top == 0 {
            return Err(Error::request("--top", "at least 1", 0, "give the number of classes to show"));
        }
        match self.unknown_below {
            Some(limit) if !(0.0..=1.0).contains(&limit) => {
                let advice = "it is a probability: 0.5 means 50 %";
                Err(Error::request("--unknown-below", "a number from 0 to 1", limit, advice))
            }
            _ => Ok(()),
        }
    }

    fn one(&self, origin: &SampleOrigin, probabilities: &[f32], names: &[String]) -> Prediction {
        let classes = most_likely(probabilities, names, self.top);
        let limit = self.unknown_below.unwrap_or_default();
        let known = classes.first().filter(|best| f64::from(best.probability) >= limit);
        let class = known.map(|best| best.class.clone());
        Prediction { file: origin.file.clone(), row: origin.row, class, classes }
    }
}

/// Returns the most likely classes; ties are in the order of the classes.
fn most_likely(probabilities: &[f32], names: &[String], top: usize) -> Vec<ClassProbability> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let named = |class: usize| ClassProbability { class: names[class].clone(), probability: probabilities[class] };
    order.into_iter().take(top).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_come_first_and_ties_by_index() {
        let names = ["a", "b", "c"].map(String::from);
        let top = most_likely(&[0.25, 0.5, 0.25], &names, 2);
        assert_eq!(top.iter().map(|one| one.class.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(most_likely(&[0.25, 0.5, 0.25], &names, 9).len(), 3);
    }

    #[test]
    fn a_class_that_is_not_likely_enough_is_none() {
        let names = ["a", "b"].map(String::from);
        let origin = SampleOrigin { file: "x".into(), row: None };
        let class = |unknown_below| {
            let device = DeviceChoice::Cpu;
            let request = PredictRequest { run: Path::new(""), inputs: &[], top: 1, unknown_below, device };
            request.check().unwrap();
            request.one(&origin, &[0.25, 0.75], &names).class
        };
        assert_eq!([None, Some(0.0), Some(0.75)].map(class), [(); 3].map(|()| Some("b".to_owned())));
        assert_eq!([Some(0.76), Some(1.0)].map(class), [None, None]);
    }
}
