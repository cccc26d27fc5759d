//! One decoded image: gray or color pixels, brought to a wanted number of channels and size.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, RgbImage};

use super::image_file::{MAX_DECODED, MAX_FILE_SIDE, broken, open_content, read_file, too_large};
use super::letterbox::letterbox;
use crate::error::Error;

/// Images above this many decoded bytes are decoded one at a time, so that memory stays bounded on many cores.
const LARGE: u64 = 64 << 20;
static ONE_LARGE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A decoded image: gray where red, green and blue are equal in all pixels, color otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DecodedImage {
    Gray(GrayImage),
    Color(RgbImage),
}

impl DecodedImage {
    pub(crate) fn read(path: &Path) -> Result<DecodedImage, Error> {
        DecodedImage::decode(&path.display().to_string(), &read_file(path)?)
    }

    /// Decodes the bytes of a file; `name` is for messages.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<DecodedImage, Error> {
        let mut decoder = open_content(name, bytes)?;
        if decoder.total_bytes() > MAX_DECODED {
            let (width, height) = decoder.dimensions();
            return Err(too_large(name, &format!("{width} x {height}")));
        }
        let large = decoder.total_bytes() > LARGE;
        let guard = large.then(|| ONE_LARGE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(|cause| broken(name, cause))?;
        decoded.apply_orientation(orientation);
        let image = DecodedImage::from_decoded(decoded);
        drop(guard);
        Ok(image)
    }

    /// Creates a gray image from its rows of bytes, if there are as many as the sides say.
    pub(crate) fn from_gray(height: usize, width: usize, bytes: &[u8]) -> Option<DecodedImage> {
        let (height, width) = (u32::try_from(height).ok()?, u32::try_from(width).ok()?);
        GrayImage::from_raw(width, height, bytes.to_vec()).map(DecodedImage::Gray)
    }

    /// Creates an image from bytes in the order row, column, channel, if there are as many as the sides say.
    pub(crate) fn of_pixels([height, width, channels]: [usize; 3], bytes: &[u8]) -> Option<DecodedImage> {
        if channels == 1 {
            return DecodedImage::from_gray(height, width, bytes);
        }
        let (height, width) = (u32::try_from(height).ok()?, u32::try_from(width).ok()?);
        (channels == 3).then(|| RgbImage::from_raw(width, height, bytes.to_vec()).map(DecodedImage::Color))?
    }

    fn from_decoded(decoded: DynamicImage) -> DecodedImage {
        let color = match decoded.color() {
            kind if !kind.has_color() && !kind.has_alpha() => return DecodedImage::Gray(decoded.into_luma8()),
            kind if kind.has_alpha() => on_white(&decoded.into_rgba8()),
            _ => decoded.into_rgb8(),
        };
        if color.pixels().all(|p| p[0] == p[1] && p[1] == p[2]) {
            DecodedImage::Color(color).into_gray()
        } else {
            DecodedImage::Color(color)
        }
    }

    pub(crate) fn channels(&self) -> usize {
        match self {
            DecodedImage::Gray(_) => 1,
            DecodedImage::Color(_) => 3,
        }
    }

    pub(crate) fn with_channels(self, channels: usize) -> DecodedImage {
        if channels == 1 { self.into_gray() } else { self.into_color() }
    }

    /// Computes the luminance with the weights of ITU-R BT.709; equal red, green and blue preserve their value exactly.
    fn into_gray(self) -> DecodedImage {
        let DecodedImage::Color(color) = self else { return self };
        let luminance = |p: &image::Rgb<u8>| {
            let [r, g, b] = p.0.map(u32::from);
            // The weights add up to 10,000, so the quotient is at most 255.
            ((2126 * r + 7152 * g + 722 * b + 5000) / 10_000) as u8
        };
        let (width, height) = color.dimensions();
        DecodedImage::Gray(GrayImage::from_fn(width, height, |x, y| image::Luma([luminance(color.get_pixel(x, y))])))
    }

    fn into_color(self) -> DecodedImage {
        let DecodedImage::Gray(gray) = self else { return self };
        DecodedImage::Color(RgbImage::from_fn(gray.width(), gray.height(), |x, y| {
            let [value] = gray.get_pixel(x, y).0;
            image::Rgb([value; 3])
        }))
    }

    /// Returns the image in `height` x `width` pixels. Its aspect ratio is preserved; the rest is filled with the mean
    /// color of its border. An image that has this size already is left as it is.
    pub(crate) fn fit(self, height: usize, width: usize) -> DecodedImage {
        let side = |n: usize| u32::try_from(n).unwrap_or(MAX_FILE_SIDE).clamp(1, MAX_FILE_SIDE);
        let (height, width) = (side(height), side(width));
        match self {
            DecodedImage::Gray(gray) => DecodedImage::Gray(letterbox(gray, height, width)),
            DecodedImage::Color(color) => DecodedImage::Color(letterbox(color, height, width)),
        }
    }

    /// Returns the bytes in the order channel, row, column.
    pub(crate) fn into_planes(self) -> Vec<u8> {
        match self {
            DecodedImage::Gray(gray) => gray.into_raw(),
            DecodedImage::Color(color) => {
                let interleaved = color.into_raw();
                (0..3).flat_map(|channel| interleaved.iter().copied().skip(channel).step_by(3)).collect()
            }
        }
    }
}

/// Replaces transparency by a white ground.
fn on_white(image: &image::RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0.map(u32::from);
        // A weighted mean of two bytes is a byte.
        image::Rgb([r, g, b].map(|value| ((value * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}

#[cfg(test)]
#[path = "decoded_image_tests.rs"]
mod tests;
