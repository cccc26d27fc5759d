//! Samples with their classes.

use crate::error::Error;
use crate::samples::Samples;

/// Samples, each with the index of its class.
#[derive(Clone, Debug, PartialEq)]
pub struct LabeledSamples {
    samples: Samples,
    labels: Vec<u32>,
}

impl LabeledSamples {
    /// Pairs samples with their labels, one label for each sample.
    ///
    /// # Errors
    /// If there are not as many labels as samples.
    pub fn new(samples: Samples, labels: Vec<u32>) -> Result<LabeledSamples, Error> {
        if samples.count() != labels.len() {
            let expected = format!("{} labels, one per sample", samples.count());
            return Err(Error::failure("labels", expected, labels.len(), ""));
        }
        Ok(LabeledSamples { samples, labels })
    }

    /// Returns some of the samples with their labels, in the order of `rows`.
    ///
    /// # Panics
    /// If a row is not below [`len`](LabeledSamples::len), as indexing a slice does.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> LabeledSamples {
        LabeledSamples {
            samples: self.samples.select(rows),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
        }
    }

    /// Returns the samples.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Returns the class of each sample: an index into the data set's class names.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Returns the number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Counts the samples of each of the classes 0 to `classes` - 1; labels beyond are not counted.
    #[must_use]
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(count: u8) -> Samples {
        Samples::of_images((0..count).flat_map(|i| [i; 4]).collect(), [1, 2, 2]).unwrap()
    }

    #[test]
    fn labels_go_with_their_samples_and_are_counted() {
        let all = LabeledSamples::new(counting(5), vec![0, 0, 1, 1, 7]).unwrap();
        let some = all.select(&[4, 2, 3]);
        assert_eq!(some.labels(), [7, 1, 1]);
        assert_eq!(some.class_counts(3), [0, 2, 0]);
        assert_eq!(*some.samples().image(0).unwrap(), [4; 4]);
    }

    #[test]
    fn there_is_one_label_for_each_sample() {
        assert!(LabeledSamples::new(counting(3), vec![0, 1]).is_err());
    }
}
