//! Accuracy, and precision, recall and F1 of each class, from predicted classes and labels.
//!
//! ```text
//! accuracy     = samples whose predicted class is their label / samples
//! mean recall  = mean of the recalls of the classes that have samples      (balanced accuracy)
//! mean F1      = mean of the F1 of the classes that have samples           (macro F1)
//! ```
//!
//! The metrics of a single class are defined in [`confusion`](crate::confusion).

use crate::confusion::{ClassCounts, Confusion, count};
use softmargin::Result;
use std::cmp::Reverse;

/// The comparison of predicted classes with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// The number of samples, at least 1.
    pub samples: usize,
    /// The share of samples that were predicted as their class.
    pub accuracy: f64,
    /// (C): the counts of each class.
    pub classes: Vec<ClassCounts>,
    /// The confusions that occurred, in the order of the class and then of the predicted class.
    pub errors: Vec<Confusion>,
}

impl Classification {
    /// Compares predicted classes (N) with labels (N), both class indices below `num_classes`.
    ///
    /// # Errors
    /// If there are no samples (the accuracy is undefined), the lengths differ, or a label or a prediction is not a
    /// class.
    pub fn new(predicted: &[usize], labels: &[u32], num_classes: usize) -> Result<Self> {
        let (classes, errors) = count(predicted, labels, num_classes)?;
        let correct: usize = classes.iter().map(|class| class.correct).sum();
        let samples = labels.len();
        Ok(Self { samples, accuracy: correct as f64 / samples as f64, classes, errors })
    }

    /// Returns the number of samples that were predicted as another class.
    #[must_use]
    pub fn wrong(&self) -> usize {
        self.errors.iter().map(|error| error.count).sum()
    }

    /// Returns the mean recall of the classes that have samples: the accuracy if all of them had equally many.
    #[must_use]
    pub fn mean_recall(&self) -> f64 {
        self.mean(ClassCounts::recall)
    }

    /// Returns the mean F1 of the classes that have samples.
    #[must_use]
    pub fn mean_f1(&self) -> f64 {
        self.mean(ClassCounts::f1)
    }

    /// Returns the confusions, largest count first; ties in the order of the classes.
    #[must_use]
    pub fn worst_confusions(&self) -> Vec<Confusion> {
        let mut errors = self.errors.clone();
        errors.sort_by_key(|error| Reverse(error.count));
        errors
    }

    /// Returns the classes that have samples, lowest F1 first; ties in the order of the classes.
    #[must_use]
    pub fn worst_classes(&self) -> Vec<usize> {
        let mut tested: Vec<usize> = (0..self.classes.len()).filter(|&class| self.classes[class].support > 0).collect();
        // A class with samples has an F1.
        let f1 = |class: &usize| self.classes[*class].f1().unwrap_or_default();
        tested.sort_by(|a, b| f1(a).total_cmp(&f1(b)));
        tested
    }

    fn mean(&self, metric: impl Fn(&ClassCounts) -> Option<f64>) -> f64 {
        let tested = self.classes.iter().filter(|class| class.support > 0);
        let values: Vec<f64> = tested.filter_map(metric).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_recall_and_f1_are_the_textbook_ones() {
        // Of 10 samples of class 0, 6 are found; of 5 of class 1, 4; 4 and 1 go to the other. The sample of class 2 is
        // predicted as 1.
        let labels = [[0; 10].as_slice(), &[1; 5], &[2]].concat();
        let predicted = [[0; 6].as_slice(), &[1; 4], &[1; 4], &[0], &[1]].concat();
        let result = Classification::new(&predicted, &labels, 4).unwrap();
        let of = |metric: fn(&ClassCounts) -> Option<f64>| result.classes.iter().map(metric).collect::<Vec<_>>();
        assert_eq!(of(ClassCounts::recall), [Some(0.6), Some(0.8), Some(0.0), None]);
        assert_eq!(of(ClassCounts::precision), [Some(6.0 / 7.0), Some(4.0 / 9.0), None, None]);
        assert_eq!(of(ClassCounts::f1), [Some(12.0 / 17.0), Some(8.0 / 14.0), Some(0.0), None]);
        assert!((result.mean_recall() - 1.4 / 3.0).abs() < 1e-15);
        assert!((result.mean_f1() - (12.0 / 17.0 + 8.0 / 14.0) / 3.0).abs() < 1e-15);
        assert_eq!((result.wrong(), result.accuracy), (6, 10.0 / 16.0));
    }

    #[test]
    fn the_worst_confusion_comes_first() {
        let result = Classification::new(&[1, 2, 0, 0, 1], &[0, 0, 2, 2, 2], 3).unwrap();
        let counts: Vec<_> =
            result.worst_confusions().iter().map(|one| (one.class, one.predicted, one.count)).collect();
        assert_eq!(counts, [(2, 0, 2), (0, 1, 1), (0, 2, 1), (2, 1, 1)]);
    }

    #[test]
    fn the_class_with_the_lowest_f1_comes_first() {
        let result = Classification::new(&[0, 0, 1, 2, 2], &[0, 0, 2, 1, 2], 4).unwrap();
        assert_eq!(result.worst_classes(), [1, 2, 0]);
    }

    #[test]
    fn inconsistent_input_is_an_error() {
        for (predicted, labels) in [(&[][..], &[][..]), (&[0], &[0, 1]), (&[0, 3], &[0, 1]), (&[0, 1], &[0, 3])] {
            let error = Classification::new(predicted, labels, 3).unwrap_err();
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
