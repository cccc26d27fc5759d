//! One ordinary image file: from PNG or JPEG bytes to gray or color pixels of a wanted size.
//!
//! Everything about the file is checked here: its content decides what it is (not its name), its sides and its decoded
//! size are bounded before anything is allocated, and a file that stops early is an error (JPEG decoders fill in gray).

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageBuffer, ImageDecoder, ImageError, ImageReader, Limits, Pixel, RgbImage};

use crate::error::Error;

/// Longest side of an image file, in pixels.
const MAX_FILE_SIDE: u32 = 16_384;
/// Largest decoded image, in bytes.
const MAX_DECODED: u64 = 512 << 20;
/// Largest image file, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// Images above this many decoded bytes are decoded one at a time, so that memory stays bounded on many cores.
const LARGE: u64 = 64 << 20;
static ONE_LARGE_AT_A_TIME: Mutex<()> = Mutex::new(());

const ADVICE: &str = "replace the file or take it out of the folder";
const EXPECTED: &str = "a whole PNG or JPEG image";

/// A decoded image: gray where red, green and blue are equal in all pixels, color otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Picture {
    Gray(GrayImage),
    Color(RgbImage),
}

impl Picture {
    pub(super) fn read(path: &Path) -> Result<Picture, Error> {
        Picture::decode(&path.display().to_string(), &read_file(path)?)
    }

    /// Decodes the bytes of a file; `name` is for messages.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Picture, Error> {
        let mut decoder = open(name, bytes)?;
        if decoder.total_bytes() > MAX_DECODED {
            let (width, height) = decoder.dimensions();
            return Err(too_large(name, &format!("{width} x {height}")));
        }
        let large = decoder.total_bytes() > LARGE;
        let guard = large.then(|| ONE_LARGE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(|cause| broken(name, cause))?;
        decoded.apply_orientation(orientation);
        let picture = Picture::from_decoded(decoded);
        drop(guard);
        Ok(picture)
    }

    /// A gray picture from its rows of bytes.
    pub(super) fn from_gray(height: usize, width: usize, bytes: &[u8]) -> Option<Picture> {
        let (height, width) = (u32::try_from(height).ok()?, u32::try_from(width).ok()?);
        GrayImage::from_raw(width, height, bytes.to_vec()).map(Picture::Gray)
    }

    /// A picture from rows, columns and channels of bytes; nothing where they do not fit.
    pub(super) fn of_pixels([height, width, channels]: [usize; 3], bytes: &[u8]) -> Option<Picture> {
        if channels == 1 {
            return Picture::from_gray(height, width, bytes);
        }
        let (height, width) = (u32::try_from(height).ok()?, u32::try_from(width).ok()?);
        (channels == 3).then(|| RgbImage::from_raw(width, height, bytes.to_vec()).map(Picture::Color))?
    }

    fn from_decoded(decoded: DynamicImage) -> Picture {
        let color = match decoded.color() {
            kind if !kind.has_color() && !kind.has_alpha() => return Picture::Gray(decoded.into_luma8()),
            kind if kind.has_alpha() => on_white(&decoded.into_rgba8()),
            _ => decoded.into_rgb8(),
        };
        if color.pixels().all(|p| p[0] == p[1] && p[1] == p[2]) {
            Picture::Color(color).into_gray()
        } else {
            Picture::Color(color)
        }
    }

    pub(super) fn channels(&self) -> usize {
        match self {
            Picture::Gray(_) => 1,
            Picture::Color(_) => 3,
        }
    }

    pub(super) fn with_channels(self, channels: usize) -> Picture {
        if channels == 1 { self.into_gray() } else { self.into_color() }
    }

    /// Luminance with the weights of ITU-R BT.709; equal red, green and blue keep their value exactly.
    fn into_gray(self) -> Picture {
        let Picture::Color(color) = self else { return self };
        let luminance = |p: &image::Rgb<u8>| {
            let [r, g, b] = p.0.map(u32::from);
            // The weights add up to 10,000, so the quotient is at most 255.
            ((2126 * r + 7152 * g + 722 * b + 5000) / 10_000) as u8
        };
        let (width, height) = color.dimensions();
        Picture::Gray(GrayImage::from_fn(width, height, |x, y| image::Luma([luminance(color.get_pixel(x, y))])))
    }

    fn into_color(self) -> Picture {
        let Picture::Gray(gray) = self else { return self };
        Picture::Color(RgbImage::from_fn(gray.width(), gray.height(), |x, y| {
            let [value] = gray.get_pixel(x, y).0;
            image::Rgb([value; 3])
        }))
    }

    /// The picture in `height` x `width` pixels. Its aspect is kept; what stays free is filled with the mean color of
    /// its border. A picture of that size already is left as it is.
    pub(super) fn fit(self, height: usize, width: usize) -> Picture {
        let side = |n: usize| u32::try_from(n).unwrap_or(MAX_FILE_SIDE).clamp(1, MAX_FILE_SIDE);
        let (height, width) = (side(height), side(width));
        match self {
            Picture::Gray(gray) => Picture::Gray(letterbox(gray, height, width)),
            Picture::Color(color) => Picture::Color(letterbox(color, height, width)),
        }
    }

    /// The bytes in the order channel, row, column.
    pub(super) fn into_planes(self) -> Vec<u8> {
        match self {
            Picture::Gray(gray) => gray.into_raw(),
            Picture::Color(color) => {
                let interleaved = color.into_raw();
                (0..3).flat_map(|channel| interleaved.iter().copied().skip(channel).step_by(3)).collect()
            }
        }
    }
}

/// What is known of an image file without its pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) longer_side: u32,
    /// Whether the file can hold color: its pixels may be gray nevertheless.
    pub(super) perhaps_color: bool,
}

impl Header {
    pub(super) fn read(path: &Path) -> Result<Header, Error> {
        let file = open_file(path)?;
        let name = path.display().to_string();
        let reader = with_content(&name, std::io::BufReader::new(file))?;
        let decoder = reader.into_decoder().map_err(|cause| broken(&name, cause))?;
        let ((width, height), kind) = (decoder.dimensions(), decoder.color_type());
        Ok(Header { longer_side: width.max(height), perhaps_color: kind.has_color() || kind.has_alpha() })
    }
}

/// Whether the first bytes are those of a PNG or JPEG file.
pub(super) fn has_image_signature(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    read.is_ok() && (start.starts_with(b"\x89PNG\r\n\x1a\n") || start.starts_with(b"\xff\xd8\xff"))
}

fn open_file(path: &Path) -> Result<File, Error> {
    let unreadable = |cause| Error::io(path, "an image file", cause);
    // Asked before opening, because opening a pipe waits for its writer.
    let metadata = path.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "something that is not a file" };
        return Err(Error::request(path.display(), "an image file", found, ""));
    }
    if metadata.len() > MAX_FILE {
        let expected = format!("an image file of at most {MAX_FILE} bytes");
        return Err(Error::failure(path.display(), expected, format!("{} bytes", metadata.len()), ADVICE));
    }
    File::open(path).map_err(unreadable)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = open_file(path)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|cause| Error::io(path, "a readable image file", cause))?;
    Ok(bytes)
}

/// A reader that knows from the content that this is a PNG or JPEG file.
fn with_content<R: std::io::BufRead + std::io::Seek>(name: &str, source: R) -> Result<ImageReader<R>, Error> {
    let mut reader =
        ImageReader::new(source).with_guessed_format().map_err(|cause| broken(name, ImageError::IoError(cause)))?;
    let found = match reader.format() {
        Some(image::ImageFormat::Png | image::ImageFormat::Jpeg) => {
            let mut limits = Limits::default();
            limits.max_image_width = Some(MAX_FILE_SIDE);
            limits.max_image_height = Some(MAX_FILE_SIDE);
            limits.max_alloc = Some(MAX_DECODED);
            reader.limits(limits);
            return Ok(reader);
        }
        Some(other) => format!("{} content", other.to_mime_type()),
        None => "other content".to_owned(),
    };
    Err(Error::failure(name, EXPECTED, found, "convert it to PNG or JPEG, or take it out of the folder"))
}

fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a, Error> {
    let reader = with_content(name, Cursor::new(bytes))?;
    if reader.format() == Some(image::ImageFormat::Jpeg) && !jpeg_reaches_its_end(bytes) {
        return Err(Error::failure(name, EXPECTED, "a JPEG file without an end: it is cut short", ADVICE));
    }
    reader.into_decoder().map_err(|cause| broken(name, cause))
}

/// Walks the segments of a JPEG file to its end marker. A marker is FF and a code; FF 00 is a data byte, FF FF filling;
/// D0 to D7 and 01 stand alone, D9 ends the image, any other is followed by its length (so that the end marker of an
/// embedded preview is not taken for the image's).
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some(marker) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[marker + 1..];
        match rest {
            [0xd9, ..] => return true,
            [0xff, ..] => {}
            [0x00 | 0x01 | 0xd0..=0xd7, after @ ..] => rest = after,
            [_, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(1 + length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    false
}

fn broken(name: &str, cause: ImageError) -> Error {
    if matches!(cause, ImageError::Limits(_)) {
        return too_large(name, &cause).with_source(cause);
    }
    Error::failure(name, EXPECTED, &cause, ADVICE).with_source(cause)
}

fn too_large(name: &str, found: &dyn std::fmt::Display) -> Error {
    let expected =
        format!("an image of at most {MAX_FILE_SIDE} pixels a side and {} MiB decoded", MAX_DECODED / (1 << 20));
    Error::failure(name, expected, found, ADVICE)
}

fn on_white(image: &image::RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0.map(u32::from);
        // A weighted mean of two bytes is a byte.
        image::Rgb([r, g, b].map(|value| ((value * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}

type Buffer<P> = ImageBuffer<P, Vec<u8>>;

fn letterbox<P: Pixel<Subpixel = u8> + 'static>(image: Buffer<P>, height: u32, width: u32) -> Buffer<P> {
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

/// The largest size with the aspect of `from` (width, height) that lies within `into`; no side becomes 0.
fn fitted_size(from: (u32, u32), into: (u32, u32)) -> (u32, u32) {
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
    // A mean of bytes is a byte; a picture has a border pixel.
    let means = sums.map(|sum| ((sum + count / 2) / count.max(1)) as u8);
    *P::from_slice(&means[..usize::from(P::CHANNEL_COUNT)])
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
