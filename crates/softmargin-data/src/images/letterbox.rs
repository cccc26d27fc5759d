//! Resizing that preserves the aspect ratio.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Pixel};

type Buffer<P> = ImageBuffer<P, Vec<u8>>;

/// Resizes an image to `height` x `width` pixels; preserves its aspect ratio and fills the rest with the mean border
/// color.
pub(super) fn letterbox<P: Pixel<Subpixel = u8> + 'static>(image: Buffer<P>, height: u32, width: u32) -> Buffer<P> {
    if image.dimensions() == (width, height) {
        return image;
    }
    let (fitted_width, fitted_height) = fitted_size(image.dimensions(), (width, height));
    let inner = imageops::resize(&image, fitted_width, fitted_height, FilterType::Triangle);
    if inner.dimensions() == (width, height) {
        return inner;
    }
    let mut canvas = ImageBuffer::from_pixel(width, height, mean_of_border(&inner));
    let left = i64::from((width - fitted_width) / 2);
    let top = i64::from((height - fitted_height) / 2);
    imageops::replace(&mut canvas, &inner, left, top);
    canvas
}

/// Returns the largest size with the aspect of `from` (width, height) that lies within `into`; no side becomes 0.
pub(super) fn fitted_size(from: (u32, u32), into: (u32, u32)) -> (u32, u32) {
    let scaled = |side: u32, by: u32, of: u32, most: u32| {
        let rounded = (u64::from(side) * u64::from(by) + u64::from(of) / 2) / u64::from(of.max(1));
        u32::try_from(rounded).unwrap_or(most).clamp(1, most)
    };
    let is_wider = u64::from(from.0) * u64::from(into.1) >= u64::from(from.1) * u64::from(into.0);
    if is_wider {
        (into.0, scaled(from.1, into.0, from.0, into.1))
    } else {
        (scaled(from.0, into.1, from.1, into.0), into.1)
    }
}

fn mean_of_border<P: Pixel<Subpixel = u8>>(image: &Buffer<P>) -> P {
    let (width, height) = image.dimensions();
    let mut sums = [0_u64; 4];
    let mut count = 0;
    for (x, y, pixel) in image.enumerate_pixels() {
        if x == 0 || y == 0 || x + 1 == width || y + 1 == height {
            count += 1;
            sums.iter_mut().zip(pixel.channels()).for_each(|(sum, &value)| *sum += u64::from(value));
        }
    }
    // A mean of bytes is a byte; an image has a border pixel.
    let means = sums.map(|sum| ((sum + count / 2) / count.max(1)) as u8);
    *P::from_slice(&means[..usize::from(P::CHANNEL_COUNT)])
}
