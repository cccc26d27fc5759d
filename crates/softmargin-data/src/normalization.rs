//! Standardizes the values of samples, so that a network receives values near 1.
//!
//! ```text
//! v -> (v - mean) / std
//! ```

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::sample_store::SampleKind;
use crate::samples::Samples;

/// Values `v` become `(v - mean) / std`. Saved with the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Normalization {
    /// For images: the mean of all values. For embeddings: 0, which preserves their directions.
    pub mean: f32,
    /// For images: the standard deviation of all values. For embeddings: the RMS.
    pub std: f32,
}

/// Smallest standard deviation: below it all images are alike, and a division would only amplify rounding errors.
const LEAST_STD: f64 = 1e-3;

impl Normalization {
    /// Returns the normalization for training samples, from all of them or, of more than 10,000, from 10,000 spread
    /// evenly over them. Samples in memory and streamed ones give the same.
    ///
    /// # Errors
    /// If a streamed sample cannot be read.
    pub fn of(samples: &Samples) -> Result<Self, Error> {
        match samples.kind() {
            SampleKind::Image => Self::of_images(samples),
            SampleKind::Embedding => Self::of_embeddings(samples),
        }
    }

    fn of_images(samples: &Samples) -> Result<Self, Error> {
        let mut counts = [0_u64; 256];
        samples.each_image(|image| image.iter().for_each(|&byte| counts[usize::from(byte)] += 1))?;
        let values = || (0_u64..).zip(counts);
        let count = counts.iter().sum::<u64>().max(1) as f64;
        let mean = values().map(|(byte, count)| byte * count).sum::<u64>() as f64 / count;
        let squares = values().map(|(byte, count)| (byte as f64 - mean).powi(2) * count as f64).sum::<f64>();
        let std = ((squares / count).sqrt() / 255.0).max(LEAST_STD);
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of the inputs")]
        Ok(Self { mean: (mean / 255.0) as f32, std: std as f32 })
    }

    fn of_embeddings(samples: &Samples) -> Result<Self, Error> {
        let (mut sum, mut count) = (0.0, 0_usize);
        let mut batch = Vec::new();
        for rows in samples.spread().chunks(1024) {
            samples.batch_f32(rows, &mut batch)?;
            sum += batch.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
            count += batch.len();
        }
        let root = (sum / count.max(1) as f64).sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of the inputs")]
        let std = (root as f32).max(f32::MIN_POSITIVE);
        Ok(Self { mean: 0.0, std })
    }

    /// Normalizes values in place.
    pub fn apply(self, values: &mut [f32]) {
        for value in values {
            *value = (*value - self.mean) / self.std;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_mean_0_and_std_1() {
        let images = Samples::of_images((0..=255).collect(), [1, 4, 8]).unwrap();
        let normalization = Normalization::of(&images).unwrap();
        // Of the whole numbers 0 to n: n / 2, and the root of n (n + 2) / 12.
        assert_eq!(normalization.mean, 0.5);
        assert!((normalization.std - (255.0_f32 * 257.0 / 12.0).sqrt() / 255.0).abs() < 1e-7);
        let mut values = [0.5, 0.5 + normalization.std];
        normalization.apply(&mut values);
        assert_eq!(values[0], 0.0);
        assert!((values[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn images_that_are_all_alike_are_not_blown_up() {
        let images = Samples::of_images(vec![51; 64], [1, 8, 8]).unwrap();
        assert_eq!(Normalization::of(&images).unwrap(), Normalization { mean: 0.2, std: 1e-3 });
    }

    #[test]
    fn embeddings_keep_their_directions() {
        let embeddings = Samples::of_embeddings(vec![3.0, 4.0, -5.0, 0.0], 2).unwrap();
        let normalization = Normalization::of(&embeddings).unwrap();
        assert_eq!((normalization.mean, normalization.std), (0.0, (50.0_f32 / 4.0).sqrt()));
        for tiny in [f32::from_bits(1), 1e-38, 3e38] {
            let embeddings = Samples::of_embeddings(vec![tiny, 0.0, 0.0, 0.0], 4).unwrap();
            let std = Normalization::of(&embeddings).unwrap().std;
            assert!(std > 0.0 && std.is_finite() && (tiny / std).is_finite(), "{tiny}");
        }
    }
}
