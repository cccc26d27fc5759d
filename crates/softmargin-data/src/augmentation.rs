//! Small random changes to training images, determined by the seed and the index of the sample.
//!
//! Cut-out: T. DeVries and G. W. Taylor, "Improved regularization of convolutional neural networks with cutout", 2017,
//! arXiv:1708.04552; here with a random side, and erased to the image's mean.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use softmargin::random::Generator;
use std::ops::RangeInclusive;

/// Limits of the random changes to an image. Every change is drawn uniformly between its limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Augmentation {
    /// Share of the images left as they are. A changed image is interpolated, hence a little smoother than the images
    /// that the network classifies later: it must be trained with some of those too.
    pub unchanged: f64,
    /// Largest rotation either way, in degrees.
    pub rotation: f64,
    /// Largest relative change of size, either way, height and width apart.
    pub scale: f64,
    /// Largest shift either way, as a part of the image's side.
    pub shift: f64,
    /// Largest shear either way, as a slope.
    pub shear: f64,
    /// Largest relative change of contrast, either way.
    pub contrast: f64,
    /// Largest side of a square that is erased to the mean of each channel, as a part of the image's shorter side; its
    /// center is anywhere in the image. 0: none.
    pub cut_out: f64,
}

impl Augmentation {
    /// Returns the default changes, `strength` (0 to 1) times their full size.
    ///
    /// No mirror images and no large rotations: they would turn a digit or letter into another.
    pub fn with_strength(strength: f64) -> Self {
        Self {
            unchanged: 0.5,
            rotation: 10.0 * strength,
            scale: 0.1 * strength,
            shift: 0.1 * strength,
            shear: 0.1 * strength,
            contrast: 0.1 * strength,
            cut_out: 0.0,
        }
    }

    /// Checks that all limits are in range.
    ///
    /// # Errors
    /// If a limit is not a number within its range: `unchanged`, `shift`, `shear`, `contrast` and `cut-out` from 0 to
    /// 1, `rotation` from 0 to 180, `scale` from 0 to 0.9.
    pub fn check(&self) -> Result<(), Error> {
        match self.out_of_range() {
            Some((name, range, found)) => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(Error::request(format!("augmentation.{name}"), expected, found, "0 leaves the images as they are"))
            }
            None => Ok(()),
        }
    }

    /// Returns the first limit out of range: its name, its range, and its value.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, RangeInclusive<f64>, f64)> {
        // At a relative change of 1, nothing would be left of the image.
        let limits = [
            ("unchanged", 0.0..=1.0, self.unchanged),
            ("rotation", 0.0..=180.0, self.rotation),
            ("scale", 0.0..=0.9, self.scale),
            ("shift", 0.0..=1.0, self.shift),
            ("shear", 0.0..=1.0, self.shear),
            ("contrast", 0.0..=1.0, self.contrast),
            ("cut-out", 0.0..=1.0, self.cut_out),
        ];
        limits.into_iter().find(|(_, range, limit)| !range.contains(limit))
    }

    /// Writes a changed copy of `image` (channels, height, width) to `changed`, of the same length.
    ///
    /// Values between pixels are interpolated bilinearly; outside, the nearest edge pixel is repeated.
    pub fn apply(&self, image: &[f32], shape: [usize; 3], stream: &mut Generator, changed: &mut [f32]) {
        if stream.uniform() < self.unchanged {
            changed.copy_from_slice(image);
            return;
        }
        let [_, height, width] = shape;
        let mut uniform = |limit: f64| stream.between(-limit, limit);
        let (sine, cosine) = uniform(self.rotation).to_radians().sin_cos();
        let (size_y, size_x) = (1.0 + uniform(self.scale), 1.0 + uniform(self.scale));
        let (shift_y, shift_x) = (uniform(self.shift) * height as f64, uniform(self.shift) * width as f64);
        let (shear, gain) = (uniform(self.shear), (1.0 + uniform(self.contrast)) as f32);
        let (center_y, center_x) = ((height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0);
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (row as f64 - center_y - shift_y, column as f64 - center_x - shift_x);
                let (y, x) = (cosine * y - sine * x, sine * y + cosine * x);
                let source = [y / size_y + center_y, (x + shear * y) / size_x + center_x];
                interpolate(image, shape, source, gain, row * width + column, changed);
            }
        }
        if self.cut_out > 0.0 {
            let side = stream.between(0.0, self.cut_out) * height.min(width) as f64;
            let center = [stream.between(0.0, height as f64), stream.between(0.0, width as f64)];
            erase(changed, shape, center, side);
        }
    }
}

/// Sets the pixels whose center lies in a square to the mean of their channel.
fn erase(image: &mut [f32], [_, height, width]: [usize; 3], center: [f64; 2], side: f64) {
    // Centers of pixels are half-way between whole numbers; a conversion to an integer saturates at 0.
    let first = |center: f64| (center - side / 2.0 + 0.5).floor() as usize;
    let end = |center: f64, most: usize| ((center + side / 2.0 + 0.5).floor() as usize).min(most);
    let rows = first(center[0])..end(center[0], height);
    let columns = first(center[1])..end(center[1], width);
    for channel in image.chunks_exact_mut(height * width) {
        let sum = channel.iter().map(|&value| f64::from(value)).sum::<f64>();
        let mean = (sum / (height * width) as f64) as f32;
        rows.clone().for_each(|row| channel[row * width..][..width][columns.clone()].fill(mean));
    }
}

/// Writes the value of `image` at `source` (row, column), times `gain`, to pixel `at` of every channel.
fn interpolate(image: &[f32], shape: [usize; 3], source: [f64; 2], gain: f32, at: usize, changed: &mut [f32]) {
    let [channels, height, width] = shape;
    let y = source[0].clamp(0.0, height as f64 - 1.0);
    let x = source[1].clamp(0.0, width as f64 - 1.0);
    let (top, left) = (y as usize, x as usize);
    let (bottom, right) = ((top + 1).min(height - 1), (left + 1).min(width - 1));
    let (down, across) = ((y - top as f64) as f32, (x - left as f64) as f32);
    for channel in 0..channels {
        let pixel = |row: usize, column: usize| image[(channel * height + row) * width + column];
        let upper = pixel(top, left) + across * (pixel(top, right) - pixel(top, left));
        let lower = pixel(bottom, left) + across * (pixel(bottom, right) - pixel(bottom, left));
        changed[channel * height * width + at] = gain * (upper + down * (lower - upper));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use softmargin::random::Purpose;

    const SHAPE: [usize; 3] = [2, 5, 7];

    fn image() -> Vec<f32> {
        (0..70).map(|k| (k * k % 23) as f32 / 23.0).collect()
    }

    fn apply(augmentation: &Augmentation, image: &[f32], number: u64) -> Vec<f32> {
        let mut changed = vec![f32::NAN; image.len()];
        let mut stream = Generator::new(1, Purpose::Augmentation, number);
        augmentation.apply(image, SHAPE, &mut stream, &mut changed);
        changed
    }

    #[test]
    fn zero_amounts_give_the_image_back() {
        let still = Augmentation { unchanged: 0.0, ..Augmentation::with_strength(0.0) };
        assert_eq!(apply(&still, &image(), 0), image());
    }

    #[test]
    fn an_even_image_stays_even() {
        let augmentation = Augmentation { unchanged: 0.0, contrast: 0.0, ..Augmentation::with_strength(1.0) };
        let changed = apply(&augmentation, &[0.25; 70], 3);
        assert!(changed.iter().all(|v| (v - 0.25).abs() < 1e-6), "{changed:?}");
    }

    #[test]
    fn a_shift_moves_the_image() {
        // 1/7 of the width is one pixel: every pixel lies between its neighbors to the left and to the right.
        let shift = Augmentation { shift: 1.0 / 7.0, ..Augmentation::with_strength(0.0) };
        let shift = Augmentation { unchanged: 0.0, ..shift };
        let ramp: Vec<f32> = (0..70).map(|k| (k % 7) as f32).collect();
        let mut moves = std::collections::BTreeSet::new();
        for number in 0..20 {
            let changed = apply(&shift, &ramp, number);
            let by = changed[3] - ramp[3];
            assert!(by.abs() <= 1.0);
            for row in 0..10 {
                assert!((changed[row * 7 + 3] - ramp[row * 7 + 3] - by).abs() < 1e-5);
            }
            moves.insert(by.to_bits());
        }
        assert_eq!(moves.len(), 20);
    }

    #[test]
    fn a_square_is_cut_out_to_the_mean_of_each_channel() {
        let cut = Augmentation { unchanged: 0.0, cut_out: 0.8, ..Augmentation::with_strength(0.0) };
        let mean = |channel: &[f32]| channel.iter().map(|&v| f64::from(v)).sum::<f64>() / 35.0;
        let image = image();
        let (mut nothing, mut largest) = (0, 0);
        for number in 0..500 {
            let changed = apply(&cut, &image, number);
            let erased = |at: &usize| changed[*at] != image[*at];
            let places: Vec<usize> = (0..35).filter(erased).collect();
            assert_eq!(places, (35..70).filter(erased).map(|at| at - 35).collect::<Vec<_>>(), "in all channels");
            for (channel, whole) in changed.chunks(35).zip(image.chunks(35)) {
                assert!(places.iter().all(|&at| (f64::from(channel[at]) - mean(whole)).abs() < 1e-6));
            }
            let extent = |of: &dyn Fn(usize) -> usize| {
                let (least, most) = (places.iter().map(|&at| of(at)).min(), places.iter().map(|&at| of(at)).max());
                most.zip(least).map_or(0, |(most, least)| most - least + 1)
            };
            let (rows, columns) = (extent(&|at| at / 7), extent(&|at| at % 7));
            assert_eq!(places.len(), rows * columns, "a rectangle");
            // At most 0.8 times 5 pixels, which covers at most 4 pixel centers.
            assert!(rows <= 4 && columns <= 4);
            nothing += usize::from(places.is_empty());
            largest = largest.max(places.len());
        }
        assert!(nothing > 0 && largest == 16, "{nothing} {largest}");
        let none = Augmentation { cut_out: 0.0, ..cut };
        assert_eq!(apply(&none, &image, 0), image);
    }

    #[test]
    fn amounts_out_of_range_are_rejected_by_name() {
        let sound = Augmentation::with_strength(1.0);
        assert!(sound.check().is_ok());
        let largest = Augmentation { rotation: 180.0, scale: 0.9, cut_out: 1.0, ..sound };
        assert!(largest.check().is_ok());
        assert!(apply(&Augmentation { unchanged: 0.0, ..largest }, &image(), 1).iter().all(|value| value.is_finite()));
        for (wrong, name) in [
            (Augmentation { unchanged: 1.01, ..sound }, "unchanged"),
            (Augmentation { rotation: 180.5, ..sound }, "rotation"),
            (Augmentation { scale: 1.0, ..sound }, "scale"),
            (Augmentation { shift: f64::NAN, ..sound }, "shift"),
            (Augmentation { shear: -0.1, ..sound }, "shear"),
            (Augmentation { contrast: f64::INFINITY, ..sound }, "contrast"),
            (Augmentation { cut_out: -0.0001, ..sound }, "cut-out"),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("augmentation.{name}: expected a number from 0")),
                "{error}"
            );
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn the_share_of_unchanged_images_is_kept_and_the_draw_repeats() {
        let augmentation = Augmentation::with_strength(1.0);
        let same = (0..1000).filter(|n| apply(&augmentation, &image(), *n) == image()).count();
        // A binomial of 1000 and 1/2 has standard deviation 15.8.
        assert!(same.abs_diff(500) < 80, "{same}");
        assert_eq!(apply(&augmentation, &image(), 5), apply(&augmentation, &image(), 5));
    }
}
