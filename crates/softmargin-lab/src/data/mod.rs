//! Images and labels to train a classifier with, in plain memory.
//!
//! A [`Dataset`] comes from the digits built into the crate, from a folder of IDX files (MNIST and its relatives), or
//! from a folder of PNG and JPEG images with one sub-folder a class. Its [`Preparation`] says how an ordinary image
//! file becomes an input of the same kind, and is saved with the model.
//!
//! ```
//! use softmargin_lab::data::{DataSource, Dataset, Sizing};
//!
//! let digits = Dataset::load(&DataSource::Digits, &Sizing::Automatic)?;
//! assert_eq!(digits.train.images().shape(), [1198, 1, 8, 8]);
//! assert_eq!(digits.classes.len(), 10);
//! # Ok::<(), softmargin_lab::error::Error>(())
//! ```

mod digits;
mod folder_listing;
mod idx;
mod image_folder;
mod images;
mod in_order;
mod picture;
mod preparation;
mod source;

use std::path::Path;

use rayon::prelude::*;

use crate::error::Error;

pub use folder_listing::image_files;
pub use images::{Images, LabelledImages};
pub use preparation::{Ink, Preparation};
pub use source::DataSource;

use idx::IdxFolder;
use picture::Picture;

/// Images of known classes, some to train with and some to test with.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// `digits`, or the name of the folder.
    pub name: String,
    /// What the data are and where they come from, in a sentence.
    pub description: String,
    /// Which images train and which test, in a sentence.
    pub split: String,
    /// The names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// The images to train with.
    pub train: LabelledImages,
    /// The images to test with; of the same shape.
    pub test: LabelledImages,
    /// How an image file becomes such an image.
    pub preparation: Preparation,
    /// What the reader of a report should know: files left out, classes without images.
    pub notes: Vec<String>,
}

/// The size that images are brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizing {
    /// Digits and IDX images keep their size. Of an image folder, the median of the longer sides, rounded to a multiple
    /// of 4 and kept within 8 to 64.
    #[default]
    Automatic,
    /// Squares with a side of so many pixels, 8 to 512.
    Side(usize),
}

/// The smallest and the largest side that can be asked for.
pub(crate) const SIDES: std::ops::RangeInclusive<usize> = 8..=512;

impl Dataset {
    /// Reads a data set into memory.
    ///
    /// # Errors
    /// With exit code 2: a path that does not exist or is not laid out as described, a size out of range. With exit
    /// code 1: a file that is broken, cut short or unreadable. The message names the file or folder.
    pub fn load(source: &DataSource, sizing: &Sizing) -> Result<Dataset, Error> {
        if let Sizing::Side(side) = sizing
            && !SIDES.contains(side)
        {
            let expected = format!("a side from {} to {} pixels", SIDES.start(), SIDES.end());
            return Err(Error::request("image size", expected, side, "choose a size in this range"));
        }
        match source {
            DataSource::Digits => digits::load()?.refit(sizing),
            DataSource::Path(path) => Dataset::from_folder(path, sizing),
        }
    }

    fn from_folder(path: &Path, sizing: &Sizing) -> Result<Dataset, Error> {
        let expected = "a folder of images or of IDX files";
        if !path.metadata().map_err(|cause| Error::io(path, expected, cause))?.is_dir() {
            let advice = "give the folder that holds the data; unpack an archive first";
            return Err(Error::request(path.display(), expected, "a file", advice));
        }
        let name = folder_name(path);
        match IdxFolder::find(path)? {
            Some(files) => files.load(name)?.refit(sizing),
            None => image_folder::load(path, name, sizing),
        }
    }

    /// Images that have a size of their own, brought to the size asked for.
    fn refit(mut self, sizing: &Sizing) -> Result<Dataset, Error> {
        let own = self.preparation;
        let wanted = match *sizing {
            Sizing::Automatic => return Ok(self),
            Sizing::Side(side) => Preparation::new(own.channels(), side, side, own.ink())?,
        };
        for part in [&mut self.train, &mut self.test] {
            *part = LabelledImages::new(refit(part.images(), &wanted)?, part.labels().to_vec())?;
        }
        if (own.height(), own.width()) != (wanted.height(), wanted.width()) {
            let sides = format!(", brought to {} x {} pixels", wanted.height(), wanted.width());
            self.description.push_str(&sides);
        }
        self.preparation = wanted;
        Ok(self)
    }
}

/// Grey images in the size of `wanted`.
fn refit(images: &Images, wanted: &Preparation) -> Result<Images, Error> {
    let refit_one = |row: usize| {
        let picture = Picture::from_grey(images.height(), images.width(), images.image(row))?;
        Some(wanted.fit(picture))
    };
    let refitted: Option<Vec<Vec<u8>>> = (0..images.count()).into_par_iter().map(refit_one).collect();
    let mut pixels = in_order::InOrder::default();
    for planes in refitted.unwrap_or_default() {
        pixels.push(&planes)?;
    }
    Images::new(pixels.into_bytes(), wanted.channels(), wanted.height(), wanted.width())
}

/// The last part of the path; of `.` or `data/..` that of the folder meant.
fn folder_name(path: &Path) -> String {
    let canonical = path.canonicalize().ok();
    let name = path.file_name().or_else(|| canonical.as_deref()?.file_name());
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
