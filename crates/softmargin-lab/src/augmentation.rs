//! Small random changes to training images, fixed by (seed, number of the sample).

use crate::generator::Generator;
use serde::{Deserialize, Serialize};

/// How far an image may be changed. Every amount is drawn evenly between its limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Augmentation {
    /// Part of the images left as they are. A changed image is interpolated, so a little smoother than the
    /// images the network will meet later: it has to see some of those too.
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
}

impl Augmentation {
    /// The default changes, `strength` (0 to 1) times their full size.
    ///
    /// No mirror image and no large turn: they would make another class of a digit or a letter.
    pub fn with_strength(strength: f64) -> Self {
        Self {
            unchanged: 0.5,
            rotation: 10.0 * strength,
            scale: 0.1 * strength,
            shift: 0.1 * strength,
            shear: 0.1 * strength,
            contrast: 0.1 * strength,
        }
    }

    /// Writes a changed copy of `image` (channels, height, width) to `changed`, of the same length.
    ///
    /// Values between pixels are interpolated bilinearly; outside, the nearest edge pixel holds.
    pub fn apply(&self, image: &[f32], shape: [usize; 3], stream: &mut Generator, changed: &mut [f32]) {
        if stream.uniform() < self.unchanged {
            changed.copy_from_slice(image);
            return;
        }
        let [_, height, width] = shape;
        let mut even = |limit: f64| stream.between(-limit, limit);
        let (sine, cosine) = even(self.rotation).to_radians().sin_cos();
        let (size_y, size_x) = (1.0 + even(self.scale), 1.0 + even(self.scale));
        let (shift_y, shift_x) = (even(self.shift) * height as f64, even(self.shift) * width as f64);
        let (shear, gain) = (even(self.shear), (1.0 + even(self.contrast)) as f32);
        let (middle_y, middle_x) = ((height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0);
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (row as f64 - middle_y - shift_y, column as f64 - middle_x - shift_x);
                let (y, x) = (cosine * y - sine * x, sine * y + cosine * x);
                let source = [y / size_y + middle_y, (x + shear * y) / size_x + middle_x];
                interpolate(image, shape, source, gain, row * width + column, changed);
            }
        }
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
    use crate::generator::Purpose;

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
        // 1/7 of the width is one pixel: every pixel lies between its neighbours to the left and to the right.
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
    fn the_share_of_unchanged_images_is_kept_and_the_draw_repeats() {
        let augmentation = Augmentation::with_strength(1.0);
        let same = (0..1000).filter(|n| apply(&augmentation, &image(), *n) == image()).count();
        // A binomial of 1000 and 1/2 has deviation 15.8.
        assert!(same.abs_diff(500) < 80, "{same}");
        assert_eq!(apply(&augmentation, &image(), 5), apply(&augmentation, &image(), 5));
    }
}
