//! The command `predict`: the classes of unlabeled images or embeddings.

use super::saved_model::predictor;
use crate::config::Config;
use crate::device::DeviceChoice;
use crate::input_files::{InputFile, InputFiles, SampleOrigin, UnreadableFile};
use crate::predictor::{ClassScores, Progress};
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
    /// A sample is reported as unknown if its best class is lower by [`UnknownScore`].
    pub unknown_below: Option<f64>,
    /// The device to compute on.
    pub device: DeviceChoice,
}

/// The value of the best class that tells unknown samples from known ones.
///
/// For losses on cosines it is the cosine: their scale drives probabilities to 1, also those of unknown samples. For
/// losses on inner products it is the probability, which separates about as well as their scores and has a range that
/// does not depend on the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownScore {
    /// The cosine of the embedding and the prototype, from -1 to 1.
    Cosine,
    /// The probability, from 0 to 1.
    Probability,
}

/// The prediction for one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file.
    pub file: String,
    /// The row of an array, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// The name of the row, from the file of names beside the array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The most likely class; `None` if the sample is reported as unknown.
    pub class: Option<String>,
    /// The most likely classes, in descending order of probability.
    pub classes: Vec<ScoredClass>,
}

/// A class, its probability and its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredClass {
    /// The name of the class.
    pub class: String,
    /// The probability, from 0 to 1.
    pub probability: f32,
    /// The cosine, or the inner product of a loss on inner products.
    pub score: f32,
}

/// All predictions, and the files that could not be read.
#[derive(Debug)]
pub struct Predictions {
    /// The value that a limit for unknown samples is compared with.
    pub unknown_score: UnknownScore,
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
    if request.top == 0 {
        return Err(Error::request("--top", "at least 1", 0, "give the number of classes to show"));
    }
    let device = request.device.open()?;
    let Run { config, classes, model, checkpoint } = Run::read(request.run)?;
    let unknown_score = UnknownScore::of(&config);
    if let Some(limit) = request.unknown_below {
        unknown_score.check(limit)?;
    }
    let input = config.input;
    let mut files = InputFiles::expand(request.inputs, &input)?;
    let predictor = predictor(config, model, &checkpoint, device)?;
    let mut predictions = Vec::new();
    let failures = files.for_each_chunk(&input, predictor.batch_size(), &**progress, &mut |origins, samples| {
        let rows = predictor.class_scores(samples)?;
        predictions.extend(origins.iter().zip(rows).map(|(origin, scores)| {
            let classes = most_likely(&scores, &classes, request.top);
            let known = classes.first().filter(|best| !unknown_score.is_unknown(best, request.unknown_below));
            let class = known.map(|best| best.class.clone());
            let SampleOrigin { file, row, name } = origin.clone();
            Prediction { file, row, name, class, classes }
        }));
        Ok(())
    })?;
    Ok(Predictions { unknown_score, predictions, failures, notes: files.notes })
}

impl UnknownScore {
    /// Returns the value that separates for the loss of a run.
    fn of(config: &Config) -> Self {
        if config.loss.spec.geometry.is_bounded() { Self::Cosine } else { Self::Probability }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Probability => "probability",
        }
    }

    /// Returns its value for a class.
    #[must_use]
    pub fn of_class(self, class: &ScoredClass) -> f32 {
        match self {
            Self::Cosine => class.score,
            Self::Probability => class.probability,
        }
    }

    fn is_unknown(self, best: &ScoredClass, limit: Option<f64>) -> bool {
        limit.is_some_and(|limit| f64::from(self.of_class(best)) < limit)
    }

    /// Rejects a limit outside the range of the value, which every sample or none would pass.
    fn check(self, limit: f64) -> Result<(), Error> {
        let (range, expected, advice) = match self {
            Self::Cosine => {
                let advice = "this run was trained with a loss on cosines: the limit is the cosine of the best class";
                (-1.0..=1.0, "a number from -1 to 1", advice)
            }
            Self::Probability => {
                let advice = "this run was trained with a loss on inner products: the limit is a probability, 0.5 \
                              means 50 %";
                (0.0..=1.0, "a number from 0 to 1", advice)
            }
        };
        if range.contains(&limit) { Ok(()) } else { Err(Error::request("--unknown-below", expected, limit, advice)) }
    }
}

/// Returns the most likely classes. Where rounding makes probabilities equal, the scores decide, then the order of the
/// classes.
fn most_likely(values: &ClassScores, names: &[String], top: usize) -> Vec<ScoredClass> {
    let ClassScores { scores, probabilities } = values;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then_with(|| scores[b].total_cmp(&scores[a])));
    let named = |class: usize| ScoredClass {
        class: names[class].clone(),
        probability: probabilities[class],
        score: scores[class],
    };
    order.into_iter().take(top).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigRequest;
    use softmargin_data::{DataSource, Dataset, LoadOptions};

    fn values(scores: &[f32], probabilities: &[f32]) -> ClassScores {
        ClassScores { scores: scores.to_vec(), probabilities: probabilities.to_vec() }
    }

    #[test]
    fn the_most_likely_come_first_and_ties_by_score_then_index() {
        let names = ["a", "b", "c"].map(String::from);
        let order = |values: &ClassScores, top| {
            most_likely(values, &names, top).into_iter().map(|one| one.class).collect::<String>()
        };
        assert_eq!(order(&values(&[0.1, 0.5, 0.1], &[0.25, 0.5, 0.25]), 2), "ba");
        assert_eq!(order(&values(&[-0.3, 0.9, 0.2], &[0.0, 1.0, 0.0]), 9), "bca");
    }

    #[test]
    fn the_best_class_is_unknown_below_the_limit_only() {
        let best = ScoredClass { class: "a".into(), probability: 1.0, score: 0.25 };
        let unknown = |score: UnknownScore, limit| score.is_unknown(&best, limit);
        assert_eq!(
            [None, Some(0.25), Some(0.26)].map(|limit| unknown(UnknownScore::Cosine, limit)),
            [false, false, true]
        );
        assert_eq!([None, Some(0.26), Some(1.0)].map(|limit| unknown(UnknownScore::Probability, limit)), [false; 3]);
    }

    #[test]
    fn limits_out_of_range_are_rejected_and_losses_on_cosines_are_judged_by_them() {
        let rejected = |score: UnknownScore, limit| score.check(limit).is_err();
        assert_eq!(
            [-1.1, -1.0, 0.3, 1.0, 1.1, f64::NAN].map(|limit| rejected(UnknownScore::Cosine, limit)),
            [true, false, false, false, true, true]
        );
        assert_eq!(
            [-0.1, 0.0, 1.0, 1.1].map(|limit| rejected(UnknownScore::Probability, limit)),
            [true, false, false, true]
        );
        let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
        for (loss, score) in [
            ("arcface", UnknownScore::Cosine),
            ("normface", UnknownScore::Cosine),
            ("cross-entropy", UnknownScore::Probability),
            ("sphereface", UnknownScore::Probability),
        ] {
            let mut request = ConfigRequest::new(DataSource::Digits);
            request.loss.name = Some(loss.into());
            assert_eq!(UnknownScore::of(&Config::resolve(&request, &data).unwrap()), score, "{loss}");
        }
    }
}
