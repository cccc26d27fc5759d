//! Preparation of images as inputs of a model: the same steps in training and in use.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::decoded_image::DecodedImage;
use super::ink::{Border, Ink};
use crate::error::Error;

/// Longest side of a model's input, in pixels.
pub(crate) const MAX_SIDE: usize = 1024;

/// The steps from an image file to the input of a model; saved with the model.
///
/// The file is decoded and rotated upright as its EXIF data say; transparent pixels become white; the image is
/// converted to gray (luminance) or color; it is resized with its aspect ratio preserved, and the rest is filled with
/// the mean color of its border; it is inverted where [`Ink`] says so.
///
/// ```
/// use softmargin_data::{Ink, Preparation};
///
/// let preparation = Preparation::new(1, 28, 28, Ink::LightOnDark)?;
/// let json = serde_json::to_string(&preparation).expect("plain data");
/// assert_eq!(json, r#"{"channels":1,"height":28,"width":28,"ink":"light-on-dark"}"#);
/// # Ok::<(), softmargin_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Preparation {
    fields: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    channels: usize,
    height: usize,
    width: usize,
    ink: Ink,
}

impl TryFrom<Fields> for Preparation {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Preparation, Error> {
        Preparation::new(fields.channels, fields.height, fields.width, fields.ink)
    }
}

impl From<Preparation> for Fields {
    fn from(preparation: Preparation) -> Fields {
        preparation.fields
    }
}

impl Preparation {
    /// Creates the preparation of inputs of `channels` (1, gray, or 3, red, green, blue) x `height` x `width` bytes.
    ///
    /// # Errors
    /// If there are other than 1 or 3 channels, or a side is not from 1 to 1024.
    pub fn new(channels: usize, height: usize, width: usize, ink: Ink) -> Result<Preparation, Error> {
        let sides = 1..=MAX_SIDE;
        if !matches!(channels, 1 | 3) || !sides.contains(&height) || !sides.contains(&width) {
            let expected = format!("1 or 3 channels and sides from 1 to {MAX_SIDE}");
            let found = format!("{channels} channels and {height} x {width} pixels");
            return Err(Error::request("preparation of images", expected, found, "choose a size in this range"));
        }
        Ok(Preparation { fields: Fields { channels, height, width, ink } })
    }

    /// Returns 1 (gray) or 3 (red, green, blue).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.fields.channels
    }

    /// Returns the number of rows of the model's input.
    #[must_use]
    pub fn height(&self) -> usize {
        self.fields.height
    }

    /// Returns the number of columns of the model's input.
    #[must_use]
    pub fn width(&self) -> usize {
        self.fields.width
    }

    /// Returns channels, rows and columns of the model's input.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height(), self.width()]
    }

    /// Returns the direction of ink and ground in the training data.
    #[must_use]
    pub fn ink(&self) -> Ink {
        self.fields.ink
    }

    /// Reads one PNG or JPEG file as an input, in the order channel, row, column.
    ///
    /// # Errors
    /// If the file cannot be read, is neither PNG nor JPEG, is broken or cut short, has a side above 16,384 pixels,
    /// or takes more than 512 MiB decoded.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        DecodedImage::read(path).map(|image| self.apply(image))
    }

    /// Makes an input from the content of a PNG or JPEG file; `name` is for messages.
    ///
    /// # Errors
    /// As [`read`](Preparation::read).
    pub fn decode(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        DecodedImage::decode(name, bytes).map(|image| self.apply(image))
    }

    /// Makes an input from pixels: rows, columns and channels (1 or 3), in this order; `name` is for messages.
    ///
    /// # Errors
    /// If there are not as many bytes as the sides say, or a side is too long.
    pub fn of_pixels(&self, name: &str, sides: [usize; 3], bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let image = DecodedImage::of_pixels(sides, bytes).ok_or_else(|| {
            let expected = "the bytes of an image with 1 or 3 channels";
            Error::request(name, expected, format!("{} bytes for {sides:?}", bytes.len()), "")
        })?;
        Ok(self.apply(image))
    }

    /// Makes an input from the rows of a gray image of `height` x `width` bytes.
    pub(crate) fn of_gray(&self, bytes: &[u8], [height, width]: [usize; 2]) -> Result<Vec<u8>, Error> {
        let image = DecodedImage::from_gray(height, width, bytes);
        let broken = || Error::failure("image", format!("{height} x {width} bytes"), bytes.len(), "");
        image.map(|image| self.apply(image)).ok_or_else(broken)
    }

    fn apply(&self, image: DecodedImage) -> Vec<u8> {
        let fitted = image.with_channels(self.channels()).fit(self.height(), self.width());
        let mut planes = fitted.into_planes();
        if self.ink().wants_inverse_of(Border::of(&planes, self.height(), self.width())) {
            invert(&mut planes);
        }
        planes
    }
}

fn invert(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = 255 - *byte;
    }
}

#[cfg(test)]
#[path = "preparation_tests.rs"]
mod tests;
