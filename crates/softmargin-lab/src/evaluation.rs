//! What a model makes of samples whose class is known: accuracy, loss, and how each class fares.
//!
//! | measure | of a class | none where |
//! |---|---|---|
//! | support | its samples | |
//! | recall | the share of its samples that were taken for it | it has no samples |
//! | precision | the share of the samples taken for it that are its own | nothing was taken for it |
//! | F1 | `2 right / (support + taken)`, the harmonic mean of the two | both are none |

use crate::error::Error;
use serde::Serialize;
use std::collections::BTreeMap;

/// The result of a test. What was taken for what is kept as a list of the errors, which are few, and not as a table of all
/// pairs of classes, which are many.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Samples.
    pub samples: usize,
    /// Share of them whose highest score was that of their class.
    pub accuracy: f64,
    /// The mean of the loss that the model was trained with, margin and all, in the state that training left it in.
    pub loss: f64,
    /// (C): how each class fared.
    pub classes: Vec<ClassCount>,
    /// Classes taken for others, by class and then by what it was taken for.
    pub errors: Vec<Confusion>,
}

/// The samples of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// All of them.
    pub support: usize,
    /// Samples of any class whose highest score was that of the class.
    pub taken: usize,
    /// Those of its own whose highest score was that of the class.
    pub right: usize,
}

impl ClassCount {
    /// The share of the class's samples that were taken for it; `None` for a class without samples.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        share(self.right, self.support)
    }

    /// The share of the samples taken for the class that are its own; `None` if nothing was taken for it.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.taken)
    }

    /// The harmonic mean of precision and recall; `None` for a class without samples that nothing was taken for.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.right, self.support + self.taken)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Samples of one class that were taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The class.
    pub class: usize,
    /// What they were taken for.
    pub predicted: usize,
    /// How many.
    pub count: usize,
}

impl Evaluation {
    /// Compares predicted classes with the true ones; `loss` is the mean loss of the same samples.
    ///
    /// # Errors
    /// When there are no samples, for there is no accuracy of nothing; when there are not as many predictions as labels;
    /// when one of either is no class.
    pub fn of(predicted: &[usize], labels: &[u32], classes: usize, loss: f64) -> Result<Self, Error> {
        if predicted.len() != labels.len() {
            let expected = format!("{}, one a sample", labels.len());
            return Err(Error::failure("predictions", expected, predicted.len(), "predict the class of every sample"));
        }
        check_labels(labels, classes)?;
        check_classes(predicted.iter().copied(), classes)?;
        let mut counts = vec![ClassCount::default(); classes];
        let mut errors = BTreeMap::new();
        for (&predicted, &label) in predicted.iter().zip(labels) {
            let class = label as usize;
            counts[class].support += 1;
            counts[predicted].taken += 1;
            if predicted == class {
                counts[class].right += 1;
            } else {
                *errors.entry((class, predicted)).or_insert(0) += 1;
            }
        }
        let right: usize = counts.iter().map(|count| count.right).sum();
        let errors = errors.into_iter().map(|((class, predicted), count)| Confusion { class, predicted, count });
        Ok(Self {
            samples: labels.len(),
            accuracy: right as f64 / labels.len() as f64,
            loss,
            classes: counts,
            errors: errors.collect(),
        })
    }

    /// The mean recall of the classes that have samples: the accuracy if all of them had equally many.
    #[must_use]
    pub fn mean_recall(&self) -> f64 {
        self.mean(ClassCount::recall)
    }

    /// The mean F1 of the classes that have samples.
    #[must_use]
    pub fn mean_f1(&self) -> f64 {
        self.mean(ClassCount::f1)
    }

    /// The confusions with the largest count first; on ties in the order of the classes.
    #[must_use]
    pub fn worst_confusions(&self) -> Vec<Confusion> {
        let mut errors = self.errors.clone();
        errors.sort_by_key(|error| std::cmp::Reverse(error.count));
        errors
    }

    /// The classes that have samples, those with the lowest F1 first; on ties in the order of the classes.
    #[must_use]
    pub fn worst_classes(&self) -> Vec<usize> {
        let mut tested: Vec<usize> = (0..self.classes.len()).filter(|&class| self.classes[class].support > 0).collect();
        // A class with samples has an F1.
        let f1 = |class: &usize| self.classes[*class].f1().unwrap_or_default();
        tested.sort_by(|a, b| f1(a).total_cmp(&f1(b)));
        tested
    }

    fn mean(&self, of: impl Fn(&ClassCount) -> Option<f64>) -> f64 {
        let tested = self.classes.iter().filter(|class| class.support > 0);
        let values: Vec<f64> = tested.filter_map(of).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    }
}

/// Checks that there are labels, and that all of them are classes.
///
/// # Errors
/// When there are none, and when one is no class of the model.
pub(crate) fn check_labels(labels: &[u32], classes: usize) -> Result<(), Error> {
    if labels.is_empty() {
        return Err(Error::request("samples to evaluate", "at least one", "none", "give data with samples"));
    }
    check_classes(labels.iter().map(|&label| label as usize), classes)
}

fn check_classes(mut found: impl Iterator<Item = usize>, classes: usize) -> Result<(), Error> {
    match found.find(|&class| class >= classes) {
        Some(class) => {
            let advice = "use the labels and the model of one data set";
            Err(Error::failure("classes", format!("numbers below {classes}"), class, advice))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_taken_for_what() {
        let evaluation = Evaluation::of(&[0, 1, 1, 0, 1], &[0, 1, 0, 0, 0], 3, 0.25).unwrap();
        assert_eq!((evaluation.accuracy, evaluation.loss), (0.6, 0.25));
        assert_eq!(evaluation.errors, [Confusion { class: 0, predicted: 1, count: 2 }]);
        let recalls: Vec<_> = evaluation.classes.iter().map(ClassCount::recall).collect();
        assert_eq!(recalls, [Some(0.5), Some(1.0), None]);
    }

    #[test]
    fn precision_recall_and_f1_are_those_of_the_books() {
        // Of 10 samples of class 0, 6 are found; of 5 of class 1, 4; 4 and 1 go to the other. Class 2 has 1, taken for 1.
        let labels = [[0; 10].as_slice(), &[1; 5], &[2]].concat();
        let predicted = [[0; 6].as_slice(), &[1; 4], &[1; 4], &[0], &[1]].concat();
        let evaluation = Evaluation::of(&predicted, &labels, 4, 0.0).unwrap();
        let of = |measure: fn(&ClassCount) -> Option<f64>| evaluation.classes.iter().map(measure).collect::<Vec<_>>();
        assert_eq!(of(ClassCount::recall), [Some(0.6), Some(0.8), Some(0.0), None]);
        assert_eq!(of(ClassCount::precision), [Some(6.0 / 7.0), Some(4.0 / 9.0), None, None]);
        assert_eq!(of(ClassCount::f1), [Some(12.0 / 17.0), Some(8.0 / 14.0), Some(0.0), None]);
        assert!((evaluation.mean_recall() - 1.4 / 3.0).abs() < 1e-15);
        assert!((evaluation.mean_f1() - (12.0 / 17.0 + 8.0 / 14.0) / 3.0).abs() < 1e-15);
    }

    #[test]
    fn the_worst_confusion_comes_first() {
        let evaluation = Evaluation::of(&[1, 2, 0, 0, 1], &[0, 0, 2, 2, 2], 3, 0.0).unwrap();
        let counts: Vec<_> =
            evaluation.worst_confusions().iter().map(|one| (one.class, one.predicted, one.count)).collect();
        assert_eq!(counts, [(2, 0, 2), (0, 1, 1), (0, 2, 1), (2, 1, 1)]);
    }

    #[test]
    fn memory_grows_with_the_classes_and_not_with_their_pairs() {
        // A table of all pairs would have 10^12 entries.
        let evaluation = Evaluation::of(&[999_999, 3, 2], &[0, 3, 0], 1_000_000, 0.0).unwrap();
        let taken_for: Vec<usize> = evaluation.errors.iter().map(|error| error.predicted).collect();
        assert_eq!(taken_for, [2, 999_999]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (predicted, labels) in [(&[][..], &[][..]), (&[0], &[0, 1]), (&[0, 3], &[0, 1]), (&[0, 1], &[0, 3])] {
            let error = Evaluation::of(predicted, labels, 3, 0.0).unwrap_err();
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
