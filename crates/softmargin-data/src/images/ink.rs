//! Ink and ground: whether images are light on dark or dark on light.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::samples::Samples;

/// The direction of ink and ground: light on dark or dark on light.
///
/// A model trained with light ink on a dark ground (as in the digits and most IDX sets) fails on scans with dark ink on
/// white paper. So a preparation stores the direction of its training data and inverts an image file when its border,
/// which shows the ground, has the other one. Means are those of the bytes (0 to 255) of the outermost pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ink {
    /// The ground is dark: a file whose border has a mean above 127.5 is inverted.
    LightOnDark,
    /// The ground is light: a file whose border has a mean below 127.5 is inverted.
    DarkOnLight,
    /// Files are never inverted; used for image folders, where training data are files too.
    AsIs,
}

impl Ink {
    /// Returns the direction of a whole set of images: dark ground where the mean of all borders is below 64, light
    /// ground where it is above 191, otherwise [`Ink::AsIs`].
    pub(crate) fn of(images: &Samples) -> Result<Ink, Error> {
        let [_, height, width] = images.shape();
        let mut borders = Border::default();
        images.each_image(|image| borders = borders.plus(Border::of(image, height, width)))?;
        Ok(match borders.mean() {
            Some(mean) if mean < 64.0 => Ink::LightOnDark,
            Some(mean) if mean > 191.0 => Ink::DarkOnLight,
            _ => Ink::AsIs,
        })
    }

    /// Returns whether a file with this border must be inverted.
    pub(super) fn wants_inverse_of(self, border: Border) -> bool {
        match (self, border.mean()) {
            (Ink::LightOnDark, Some(mean)) => mean > 127.5,
            (Ink::DarkOnLight, Some(mean)) => mean < 127.5,
            _ => false,
        }
    }
}

/// Sum and number of the bytes of outermost pixels.
#[derive(Clone, Copy, Default)]
pub(super) struct Border {
    sum: u64,
    count: u64,
}

impl Border {
    /// Adds up the border of one image, CHW.
    pub(super) fn of(planes: &[u8], height: usize, width: usize) -> Border {
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
