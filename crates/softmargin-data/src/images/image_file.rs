//! Image files before they are decoded: opened, recognized and bounded.
//!
//! The content decides the format, not the name; sides and decoded size are bounded before anything is allocated; and a
//! file that ends early is an error (JPEG decoders fill the rest with gray).

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{ImageDecoder, ImageError, ImageReader, Limits};

use crate::error::Error;

/// Longest side of an image file, in pixels.
pub(super) const MAX_FILE_SIDE: u32 = 16_384;
/// Largest decoded image, in bytes.
pub(super) const MAX_DECODED: u64 = 512 << 20;
/// Largest image file, in bytes.
const MAX_FILE: u64 = 256 << 20;

const ADVICE: &str = "replace the file or take it out of the folder";
const EXPECTED: &str = "a whole PNG or JPEG image";

/// The facts about an image file that are known without decoding its pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageHeader {
    /// In pixels.
    pub(crate) longer_side: u32,
    /// True if the file can hold color; its pixels may be gray nevertheless.
    pub(crate) perhaps_color: bool,
}

impl ImageHeader {
    pub(crate) fn read(path: &Path) -> Result<ImageHeader, Error> {
        let file = open_file(path)?;
        let name = path.display().to_string();
        let reader = with_content(&name, std::io::BufReader::new(file))?;
        let decoder = reader.into_decoder().map_err(|cause| broken(&name, cause))?;
        let ((width, height), kind) = (decoder.dimensions(), decoder.color_type());
        Ok(ImageHeader { longer_side: width.max(height), perhaps_color: kind.has_color() || kind.has_alpha() })
    }
}

/// Returns whether the first bytes are those of a PNG or JPEG file.
pub(crate) fn has_image_signature(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    read.is_ok() && (start.starts_with(b"\x89PNG\r\n\x1a\n") || start.starts_with(b"\xff\xd8\xff"))
}

fn open_file(path: &Path) -> Result<File, Error> {
    let unreadable = |cause| Error::io(path, "an image file", cause);
    // Before opening, because opening a pipe waits for its writer.
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

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = open_file(path)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|cause| Error::io(path, "a readable image file", cause))?;
    Ok(bytes)
}

/// Creates a reader of a PNG or JPEG file, recognized by its content.
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

/// Creates a decoder of the content of a file.
pub(super) fn open_content<'a>(name: &str, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a, Error> {
    let reader = with_content(name, Cursor::new(bytes))?;
    if reader.format() == Some(image::ImageFormat::Jpeg) && !jpeg_reaches_its_end(bytes) {
        return Err(Error::failure(name, EXPECTED, "a JPEG file without an end: it is cut short", ADVICE));
    }
    reader.into_decoder().map_err(|cause| broken(name, cause))
}

/// Returns whether a JPEG file has its end marker. A marker is FF and a code; FF 00 is a data byte, FF FF is padding;
/// D0 to D7 and 01 stand alone, D9 ends the image, any other is followed by its length. The walk over the segments
/// skips the end marker of an embedded preview.
pub(super) fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
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

/// Converts the error of a decoder.
pub(super) fn broken(name: &str, cause: ImageError) -> Error {
    if matches!(cause, ImageError::Limits(_)) {
        return too_large(name, &cause).with_source(cause);
    }
    Error::failure(name, EXPECTED, &cause, ADVICE).with_source(cause)
}

pub(super) fn too_large(name: &str, found: &dyn std::fmt::Display) -> Error {
    let expected =
        format!("an image of at most {MAX_FILE_SIDE} pixels a side and {} MiB decoded", MAX_DECODED / (1 << 20));
    Error::failure(name, expected, found, ADVICE)
}
