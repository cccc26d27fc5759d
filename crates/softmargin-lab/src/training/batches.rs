//! The samples of each step: in random order, augmented, normalized.

use crate::config::Config;
use rayon::prelude::*;
use softmargin::random::{Generator, Purpose};
use softmargin_data::LabeledSamples;
use softmargin_data::augmentation::Augmentation;
use softmargin_data::error::Error;
use std::ops::Range;

/// The samples of one step.
pub(super) struct Batch {
    /// (N): their rows in the training set.
    pub(super) rows: Vec<usize>,
    /// (N, channels, height, width), normalized.
    pub(super) values: Vec<f32>,
    /// (N): their classes.
    pub(super) labels: Vec<i64>,
}

/// Makes the batches of an epoch, each independently of the others.
#[derive(Clone, Copy)]
pub(super) struct Batches<'a> {
    config: &'a Config,
    data: &'a LabeledSamples,
}

impl<'a> Batches<'a> {
    /// Creates the batches of a training set.
    ///
    /// # Errors
    /// If there are fewer than two samples.
    pub(super) fn new(config: &'a Config, data: &'a LabeledSamples) -> Result<Self, Error> {
        if data.len() < 2 {
            let advice = "batch normalization needs at least two samples";
            return Err(Error::request("training samples", "at least 2", data.len(), advice));
        }
        Ok(Self { config, data })
    }

    /// Returns the number of steps of an epoch.
    pub(super) fn steps(&self) -> usize {
        steps(self.data.len(), self.config.training.batch_size)
    }

    /// Returns the order of the rows in an epoch.
    pub(super) fn order(&self, epoch: usize) -> Vec<usize> {
        Generator::new(self.config.training.seed, Purpose::Order, epoch as u64).permutation(self.data.len())
    }

    /// Makes batch `step` of an epoch with that order.
    ///
    /// # Errors
    /// If a sample cannot be read.
    pub(super) fn make(&self, epoch: usize, order: &[usize], step: usize) -> Result<Batch, Error> {
        let range = range(self.data.len(), self.steps(), step);
        let rows = order[range.clone()].to_vec();
        let mut values = Vec::new();
        self.data.samples().batch_f32(&rows, &mut values)?;
        if let Some(augmentation) = self.config.training.augmentation {
            values = self.augmented(&values, augmentation, epoch * self.data.len() + range.start);
        }
        self.config.normalization.apply(&mut values);
        let labels = rows.iter().map(|&row| i64::from(self.data.labels()[row])).collect();
        Ok(Batch { rows, values, labels })
    }

    /// Augments copies of images; `first` is the number of images before them since the start of training.
    fn augmented(&self, plain: &[f32], augmentation: Augmentation, first: usize) -> Vec<f32> {
        let (shape, seed) = (self.config.input.shape(), self.config.training.seed);
        let size = shape.iter().product::<usize>().max(1);
        let mut values = vec![0.0; plain.len()];
        // Each image has its own stream of random numbers, so the result does not depend on the threads.
        values.par_chunks_mut(size).zip(plain.par_chunks(size)).enumerate().for_each(|(row, (out, image))| {
            let mut stream = Generator::new(seed, Purpose::Augmentation, (first + row) as u64);
            augmentation.apply(image, shape, &mut stream, out);
        });
        values
    }

    /// Returns the names of some training samples: the first few, and the number of the others.
    pub(super) fn names(&self, rows: &[usize]) -> String {
        const SHOWN: usize = 5;
        let names: Vec<String> = rows.iter().take(SHOWN).map(|&row| self.data.samples().name(row)).collect();
        let more = rows.len().saturating_sub(SHOWN);
        if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
    }
}

/// Returns the number of steps. Every batch has at least two samples, whatever the batch size: batch normalization
/// needs them.
fn steps(samples: usize, batch_size: usize) -> usize {
    samples.div_ceil(batch_size).min(samples / 2)
}

/// Returns the samples of a step. Batches are of even size, so that none is too short for batch normalization and none
/// is dropped.
fn range(samples: usize, steps: usize, step: usize) -> Range<usize> {
    step * samples / steps..(step + 1) * samples / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_batch_and_no_batch_is_too_long_or_short() {
        for samples in 2..200 {
            for batch_size in [2, 3, 7, 64, 1000] {
                let steps = steps(samples, batch_size);
                let ranges: Vec<Range<usize>> = (0..steps).map(|step| range(samples, steps, step)).collect();
                assert!(ranges.iter().zip(&ranges[1..]).all(|(a, b)| a.end == b.start), "{ranges:?}");
                assert_eq!((ranges[0].start, ranges[steps - 1].end), (0, samples));
                // An odd count in pairs: one batch has three.
                let longest = if batch_size == 2 { 3 } else { batch_size };
                assert!(ranges.iter().all(|range| (2..=longest).contains(&range.len())), "{samples} {batch_size}");
            }
        }
    }
}
