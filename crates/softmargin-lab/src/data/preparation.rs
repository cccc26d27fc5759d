//! How an image becomes the input of a model: the same steps in training and in use.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::picture::Picture;
use super::samples::{Store, spread};
use crate::error::Error;

/// Longest side of a model's input, in pixels.
pub(super) const MAX_SIDE: usize = 1024;

/// Which way round ink and ground are.
///
/// A model trained with light ink on a dark ground (as the digits and most IDX sets have it) fails on scans with dark
/// ink on white paper. So a preparation knows the direction of its training data and turns an image file round when
/// the border, where the ground shows, says that the file has the other one. The means are those of the bytes (0 to
/// 255) of the outermost pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ink {
    /// The ground is dark: a file whose border has a mean above 127.5 is inverted.
    LightOnDark,
    /// The ground is light: a file whose border has a mean below 127.5 is inverted.
    DarkOnLight,
    /// Files are never inverted. So it is with image folders, where training data are files too.
    AsIs,
}

impl Ink {
    /// The direction of a whole set of images: dark ground where the mean of all borders is below 64, light ground
    /// where it is above 191, otherwise [`Ink::AsIs`].
    pub(super) fn of(images: &Store) -> Result<Ink, Error> {
        let [_, height, width] = images.shape;
        let mut borders = Border::default();
        images.each_image(&spread(images.count), |image| borders = borders.plus(Border::of(image, height, width)))?;
        Ok(match borders.mean() {
            Some(mean) if mean < 64.0 => Ink::LightOnDark,
            Some(mean) if mean > 191.0 => Ink::DarkOnLight,
            _ => Ink::AsIs,
        })
    }

    fn wants_inverse_of(self, border: Border) -> bool {
        match (self, border.mean()) {
            (Ink::LightOnDark, Some(mean)) => mean > 127.5,
            (Ink::DarkOnLight, Some(mean)) => mean < 127.5,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Border {
    sum: u64,
    count: u64,
}

impl Border {
    /// Of one image, CHW.
    fn of(planes: &[u8], height: usize, width: usize) -> Border {
        let on_border = |at: &usize| {
            let (row, column) = (at / width % height, at % width);
            row == 0 || column == 0 || row + 1 == height || column + 1 == width
        };
        let bytes = (0..planes.len()).filter(on_border).map(|at| u64::from(planes[at]));
        bytes.fold(Border::default(), |border, byte| border.plus(Border { sum: byte, count: 1 }))
    }

    fn plus(self, other: Border) -> Border {
        Border { sum: self.sum + other.sum, count: self.count + other.count }
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// How an image file becomes the input of a model; saved with the model.
///
/// The steps: the file is decoded and turned upright as its EXIF data say; what is transparent becomes white; it is
/// made gray (luminance) or color; it is resized with its aspect kept, and what stays free is filled with the mean
/// color of its border; it is inverted where [`Ink`] says so.
///
/// ```
/// use softmargin_lab::data::{Ink, Preparation};
///
/// let preparation = Preparation::new(1, 28, 28, Ink::LightOnDark)?;
/// let json = serde_json::to_string(&preparation).expect("plain data");
/// assert_eq!(json, r#"{"channels":1,"height":28,"width":28,"ink":"light-on-dark"}"#);
/// # Ok::<(), softmargin_lab::error::Error>(())
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
    /// Inputs of `channels` (1, gray, or 3, red, green, blue) x `height` x `width` bytes.
    ///
    /// # Errors
    /// When there are other than 1 or 3 channels, or a side is not from 1 to 1024.
    pub fn new(channels: usize, height: usize, width: usize, ink: Ink) -> Result<Preparation, Error> {
        let sides = 1..=MAX_SIDE;
        if !matches!(channels, 1 | 3) || !sides.contains(&height) || !sides.contains(&width) {
            let expected = format!("1 or 3 channels and sides from 1 to {MAX_SIDE}");
            let found = format!("{channels} channels and {height} x {width} pixels");
            return Err(Error::request("preparation of images", expected, found, "choose a size in this range"));
        }
        Ok(Preparation { fields: Fields { channels, height, width, ink } })
    }

    /// 1 (gray) or 3 (red, green, blue).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.fields.channels
    }

    /// Rows of the model's input.
    #[must_use]
    pub fn height(&self) -> usize {
        self.fields.height
    }

    /// Columns of the model's input.
    #[must_use]
    pub fn width(&self) -> usize {
        self.fields.width
    }

    /// Channels, rows and columns of the model's input.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height(), self.width()]
    }

    /// Which way round ink and ground are in the training data.
    #[must_use]
    pub fn ink(&self) -> Ink {
        self.fields.ink
    }

    /// Reads one PNG or JPEG file as an input, in the order channel, row, column.
    ///
    /// # Errors
    /// When the file cannot be read, is neither PNG nor JPEG, is broken or cut short, has a side above 16,384 pixels,
    /// or takes more than 512 MiB decoded.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        Picture::read(path).map(|picture| self.apply(picture))
    }

    /// Makes an input of the content of a PNG or JPEG file; `name` is for messages.
    ///
    /// # Errors
    /// As [`read`](Preparation::read).
    pub fn decode(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        Picture::decode(name, bytes).map(|picture| self.apply(picture))
    }

    /// Makes an input of pixels: rows, columns and channels (1 or 3), in this order; `name` is for messages.
    ///
    /// # Errors
    /// When there are not as many bytes as the sides say, or a side is too long.
    pub fn of_pixels(&self, name: &str, sides: [usize; 3], bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let picture = Picture::of_pixels(sides, bytes).ok_or_else(|| {
            let expected = "the bytes of an image with 1 or 3 channels";
            Error::request(name, expected, format!("{} bytes for {sides:?}", bytes.len()), "")
        })?;
        Ok(self.apply(picture))
    }

    pub(super) fn apply(&self, picture: Picture) -> Vec<u8> {
        let fitted = picture.with_channels(self.channels()).fit(self.height(), self.width());
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
