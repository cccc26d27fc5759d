//! What a model makes of images whose class is known.

use crate::error::Error;
use serde::Serialize;

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images.
    pub images: usize,
    /// Share of them whose highest score was that of their class.
    pub accuracy: f64,
    /// (C, C): how many images of each class (row) were taken for each (column).
    pub confusion: Vec<Vec<usize>>,
}

impl Evaluation {
    /// Compares predicted classes with the true ones.
    ///
    /// # Errors
    /// When there are no images: there is no accuracy of nothing.
    pub fn of(predicted: &[usize], labels: &[u32], classes: usize) -> Result<Self, Error> {
        if labels.is_empty() {
            return Err(Error::request("test images", "at least one", "none", "give test images"));
        }
        let mut confusion = vec![vec![0; classes]; classes];
        for (&predicted, &label) in predicted.iter().zip(labels) {
            confusion[label as usize][predicted] += 1;
        }
        let right: usize = (0..classes).map(|class| confusion[class][class]).sum();
        Ok(Self { images: labels.len(), accuracy: right as f64 / labels.len() as f64, confusion })
    }

    /// The share of the images of each class that was taken for it; `None` for a class without images.
    #[must_use]
    pub fn recalls(&self) -> Vec<Option<f64>> {
        let one = |(class, row): (usize, &Vec<usize>)| {
            let images: usize = row.iter().sum();
            (images > 0).then(|| row[class] as f64 / images as f64)
        };
        self.confusion.iter().enumerate().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_taken_for_what() {
        let evaluation = Evaluation::of(&[0, 1, 1, 0], &[0, 1, 0, 0], 3).unwrap();
        assert_eq!(evaluation.accuracy, 0.75);
        assert_eq!(evaluation.confusion, [[2, 1, 0], [0, 1, 0], [0, 0, 0]]);
        assert_eq!(evaluation.recalls(), [Some(2.0 / 3.0), Some(1.0), None]);
        assert!(Evaluation::of(&[], &[], 3).is_err());
    }
}
