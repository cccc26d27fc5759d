//! Confusion counts: how many samples of each class were predicted as each other class.
//!
//! The confusion matrix is sparse, since a useful model makes few errors: only the pairs that occur are stored, and
//! memory grows with the classes and the errors, not with the square of the classes.
//!
//! | metric of a class | definition | undefined if |
//! |---|---|---|
//! | support | its samples | |
//! | recall | correct / support | it has no samples |
//! | precision | correct / predicted | no sample was predicted as the class |
//! | F1 | `2 correct / (support + predicted)`, the harmonic mean of precision and recall | both are |

use crate::labels::check_predictions;
use softmargin::Result;
use std::collections::BTreeMap;

/// The counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Samples of the class.
    pub support: usize,
    /// Samples of any class that were predicted as this class.
    pub predicted: usize,
    /// Samples of the class that were predicted as this class.
    pub correct: usize,
}

impl ClassCounts {
    /// Returns the share of the class's samples that were predicted as the class; `None` without samples.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.correct, self.support)
    }

    /// Returns the share of the samples predicted as the class that belong to it; `None` if there are no such
    /// predictions.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.correct, self.predicted)
    }

    /// Returns the harmonic mean of precision and recall; `None` for a class without samples and without predictions.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.correct, self.support + self.predicted)
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// An entry off the diagonal of the confusion matrix: samples of one class that were predicted as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// The class of the samples.
    pub class: usize,
    /// The class that they were predicted as.
    pub predicted: usize,
    /// The number of samples.
    pub count: usize,
}

/// Counts predicted classes (N) against labels (N): the counts of each class (C), and the confusions, in the order of
/// the class and then of the predicted class.
///
/// # Errors
/// If there are no samples, the lengths differ, or a label or a prediction is not below `num_classes`.
///
/// ```
/// use softmargin_metrics::confusion::{Confusion, count};
///
/// let (classes, errors) = count(&[0, 1, 1], &[0, 1, 0], 2)?;
/// assert_eq!((classes[0].support, classes[0].correct, classes[1].predicted), (2, 1, 2));
/// assert_eq!(errors, [Confusion { class: 0, predicted: 1, count: 1 }]);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn count(predicted: &[usize], labels: &[u32], num_classes: usize) -> Result<(Vec<ClassCounts>, Vec<Confusion>)> {
    check_predictions(predicted, labels, num_classes)?;
    let mut classes = vec![ClassCounts::default(); num_classes];
    let mut errors = BTreeMap::new();
    for (&predicted, &label) in predicted.iter().zip(labels) {
        let class = label as usize;
        classes[class].support += 1;
        classes[predicted].predicted += 1;
        if predicted == class {
            classes[class].correct += 1;
        } else {
            *errors.entry((class, predicted)).or_insert(0) += 1;
        }
    }
    let errors = errors.into_iter().map(|((class, predicted), count)| Confusion { class, predicted, count });
    Ok((classes, errors.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_classes_are_counted() {
        let (classes, errors) = count(&[0, 1, 1, 0, 1], &[0, 1, 0, 0, 0], 3).unwrap();
        assert_eq!(errors, [Confusion { class: 0, predicted: 1, count: 2 }]);
        let recalls: Vec<_> = classes.iter().map(ClassCounts::recall).collect();
        assert_eq!(recalls, [Some(0.5), Some(1.0), None]);
    }

    #[test]
    fn memory_grows_with_the_classes_and_not_with_their_pairs() {
        // A dense matrix would have 10^12 entries.
        let (_, errors) = count(&[999_999, 3, 2], &[0, 3, 0], 1_000_000).unwrap();
        let predicted: Vec<usize> = errors.iter().map(|error| error.predicted).collect();
        assert_eq!(predicted, [2, 999_999]);
    }
}
