//! What a model makes of images whose class is known.

use crate::error::Error;
use serde::Serialize;
use std::collections::BTreeMap;

/// The result of a test. What was taken for what is kept as a list of the errors, which are few, and not as a table of all
/// pairs of classes, which are many.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images.
    pub images: usize,
    /// Share of them whose highest score was that of their class.
    pub accuracy: f64,
    /// (C): the images of each class.
    pub classes: Vec<ClassCount>,
    /// Classes taken for others, by class and then by what it was taken for.
    pub errors: Vec<Confusion>,
}

/// The images of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// All of them.
    pub images: usize,
    /// Those whose highest score was that of the class.
    pub right: usize,
}

/// Images of one class that were taken for another.
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
    /// Compares predicted classes with the true ones.
    ///
    /// # Errors
    /// When there are no images, for there is no accuracy of nothing; when there are not as many predictions as labels;
    /// when one of either is no class.
    pub fn of(predicted: &[usize], labels: &[u32], classes: usize) -> Result<Self, Error> {
        check(predicted, labels, classes)?;
        let mut counts = vec![ClassCount::default(); classes];
        let mut errors = BTreeMap::new();
        for (&predicted, &label) in predicted.iter().zip(labels) {
            let class = label as usize;
            counts[class].images += 1;
            if predicted == class {
                counts[class].right += 1;
            } else {
                *errors.entry((class, predicted)).or_insert(0) += 1;
            }
        }
        let right: usize = counts.iter().map(|count| count.right).sum();
        let errors = errors.into_iter().map(|((class, predicted), count)| Confusion { class, predicted, count });
        Ok(Self {
            images: labels.len(),
            accuracy: right as f64 / labels.len() as f64,
            classes: counts,
            errors: errors.collect(),
        })
    }

    /// The share of the images of each class that was taken for it; `None` for a class without images.
    #[must_use]
    pub fn recalls(&self) -> Vec<Option<f64>> {
        let one = |count: &ClassCount| (count.images > 0).then(|| count.right as f64 / count.images as f64);
        self.classes.iter().map(one).collect()
    }
}

fn check(predicted: &[usize], labels: &[u32], classes: usize) -> Result<(), Error> {
    if labels.is_empty() {
        return Err(Error::request("test images", "at least one", "none", "give test images"));
    }
    if predicted.len() != labels.len() {
        let expected = format!("{}, one an image", labels.len());
        return Err(Error::failure("predictions", expected, predicted.len(), "predict the class of every image"));
    }
    let known = predicted.iter().copied().chain(labels.iter().map(|&label| label as usize));
    match known.max() {
        Some(class) if class >= classes => {
            let advice = "use the labels and the model of one data set";
            Err(Error::failure("classes", format!("numbers below {classes}"), class, advice))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_taken_for_what() {
        let evaluation = Evaluation::of(&[0, 1, 1, 0, 1], &[0, 1, 0, 0, 0], 3).unwrap();
        assert_eq!(evaluation.accuracy, 0.6);
        assert_eq!(evaluation.errors, [Confusion { class: 0, predicted: 1, count: 2 }]);
        assert_eq!(evaluation.recalls(), [Some(0.5), Some(1.0), None]);
    }

    #[test]
    fn memory_grows_with_the_classes_and_not_with_their_pairs() {
        // A table of all pairs would have 10^12 entries.
        let evaluation = Evaluation::of(&[999_999, 3, 2], &[0, 3, 0], 1_000_000).unwrap();
        let taken_for: Vec<usize> = evaluation.errors.iter().map(|error| error.predicted).collect();
        assert_eq!(taken_for, [2, 999_999]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (predicted, labels) in [(&[][..], &[][..]), (&[0], &[0, 1]), (&[0, 3], &[0, 1]), (&[0, 1], &[0, 3])] {
            let error = Evaluation::of(predicted, labels, 3).unwrap_err();
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
