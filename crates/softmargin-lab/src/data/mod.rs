//! Samples of known classes to train a classifier with: images, or embeddings that another model has made.
//!
//! A [`Dataset`] comes from the digits built into the crate, from a folder of IDX files (MNIST and its relatives), from
//! a folder of PNG and JPEG images with one sub-folder a class, or from a folder with `embeddings.npy` and `labels.npy`.
//! Its [`Input`] says what a model gets to see, and is saved with the model.
//!
//! Some samples are held out of training: those that validate, by which the best model is chosen, and those that test
//! it once at the end. Where the data do not say which, [`HoldOut`] does.
//!
//! Images that fit in memory are decoded once. More of them are streamed: [`Samples::batch_f32`] reads them from their
//! files, and [`ahead`] has the next batches ready before they are asked for.
//!
//! ```
//! use softmargin_lab::data::{DataSource, Dataset, LoadOptions};
//!
//! let digits = Dataset::load(&DataSource::Digits, &LoadOptions::default())?;
//! assert_eq!(digits.input.shape(), [1, 8, 8]);
//! assert_eq!((digits.classes.len(), digits.test.len()), (10, 599));
//! # Ok::<(), softmargin_lab::error::Error>(())
//! ```

mod ahead;
mod digits;
mod embeddings;
mod folder_listing;
mod hold_out;
mod idx;
mod image_folder;
mod in_order;
mod memory;
mod normalization;
mod npy;
mod picture;
mod preparation;
mod samples;
mod source;
mod split;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;

pub use ahead::ahead;
pub use folder_listing::image_files;
pub(crate) use folder_listing::sample_files;
pub use hold_out::HoldOut;
pub use normalization::Normalization;
pub use npy::NpyArray;
pub use preparation::{Ink, Preparation};
pub use samples::{LabeledSamples, Samples};
pub use source::DataSource;

use embeddings::EmbeddingFolder;
use idx::IdxFolder;

/// Samples of known classes: some train, some validate, some test.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// `digits`, or the name of the folder.
    pub name: String,
    /// What the data are and where they come from, in a sentence.
    pub description: String,
    /// Which samples test, which validate and which train, in a sentence.
    pub split: String,
    /// The names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// The samples to train with.
    pub train: LabeledSamples,
    /// The samples to choose the best model by, if any; of the same shape.
    pub validation: Option<LabeledSamples>,
    /// The samples to test with, once, at the end; of the same shape.
    pub test: LabeledSamples,
    /// What a model of these data gets to see.
    pub input: Input,
    /// What the reader of a report should know: files left out, classes without samples.
    pub notes: Vec<String>,
}

/// What a model gets to see; saved with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// Images, and how an ordinary image file becomes one.
    Images(Preparation),
    /// Embeddings that another model has made.
    Embeddings {
        /// Numbers in an embedding.
        size: usize,
    },
}

impl Input {
    /// Channels, rows and columns; of embeddings their size, 1 and 1.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Input::Images(preparation) => preparation.shape(),
            Input::Embeddings { size } => [*size, 1, 1],
        }
    }
}

/// What may be asked of [`Dataset::load`]. The default leaves everything to the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// The size that images are brought to.
    pub sizing: Sizing,
    /// Which samples test, where the data do not say; otherwise it is refused. `None`: `every:5`.
    pub test_split: Option<HoldOut>,
    /// Which of the others validate, where the data do not say; otherwise all but `none` is refused. `None`: `every:10`.
    pub validation_split: Option<HoldOut>,
    /// Bytes that decoded images may take; more are streamed. `None`: a quarter of the machine's memory.
    pub memory: Option<u64>,
}

impl LoadOptions {
    fn memory(&self) -> u64 {
        self.memory.unwrap_or_else(memory::default_limit)
    }
}

/// The size that images are brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizing {
    /// Digits and IDX images keep their size. Of an image folder, the median of the longer sides of the training images,
    /// rounded to a multiple of 4 and kept within 8 to 64.
    #[default]
    Automatic,
    /// Squares with a side of so many pixels, 8 to 512.
    Side(usize),
    /// The size and the channels that a model was trained with.
    Prepared(Preparation),
}

/// The smallest and the largest side that can be asked for.
pub(crate) const SIDES: std::ops::RangeInclusive<usize> = 8..=512;

impl Dataset {
    /// A number that tells whether the same samples, by their names, are in the same parts; as text of 16 digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // FNV-1a: nobody is to be kept from making another set with the same number.
        const START: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = START;
        let mut add = |bytes: &[u8]| {
            bytes.iter().for_each(|&byte| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        };
        for part in [Some(&self.train), self.validation.as_ref(), Some(&self.test)] {
            if let Some(samples) = part.map(LabeledSamples::samples) {
                (0..samples.count()).for_each(|row| add(format!("{}\0", samples.name(row)).as_bytes()));
            }
            add(&[1]);
        }
        format!("{hash:016x}")
    }

    /// Reads a data set.
    ///
    /// # Errors
    /// With exit code 2: a path that does not exist or is not laid out as described, a size out of range, a rule for the
    /// parts that does not fit the data. With exit code 1: a file that is broken, cut short or unreadable. The message
    /// names the file or folder.
    pub fn load(source: &DataSource, options: &LoadOptions) -> Result<Dataset, Error> {
        if let Sizing::Side(side) = options.sizing
            && !SIDES.contains(&side)
        {
            let expected = format!("a side from {} to {} pixels", SIDES.start(), SIDES.end());
            return Err(Error::request("image size", expected, side, "choose a size in this range"));
        }
        match source {
            DataSource::Digits => digits::load(options),
            DataSource::Path(path) => Dataset::from_folder(path, options),
        }
    }

    fn from_folder(path: &Path, options: &LoadOptions) -> Result<Dataset, Error> {
        let expected = "a folder of images, of IDX files or of embeddings";
        if !path.metadata().map_err(|cause| Error::io(path, expected, cause))?.is_dir() {
            let advice = "give the folder that holds the data; unpack an archive first";
            return Err(Error::request(path.display(), expected, "a file", advice));
        }
        let name = folder_name(path);
        if let Some(files) = IdxFolder::find(path)? {
            return files.load(name, options);
        }
        match EmbeddingFolder::find(path)? {
            Some(files) => files.load(name, options),
            None => image_folder::load(path, name, options),
        }
    }
}

/// For gray images that have a size of their own: how each is brought to the size asked for, if it has to be; the
/// preparation of a file for the same model; and words on the size, if it changes.
fn fitting(sizing: Sizing, own: Preparation) -> Result<(Option<Preparation>, Preparation, String), Error> {
    let wanted = match sizing {
        Sizing::Automatic => own,
        Sizing::Side(side) => Preparation::new(own.channels(), side, side, own.ink())?,
        Sizing::Prepared(preparation) => preparation,
    };
    if wanted.shape() == own.shape() {
        return Ok((None, wanted, String::new()));
    }
    // The images of a set are alike: none is turned round on its own.
    let fit = Preparation::new(wanted.channels(), wanted.height(), wanted.width(), Ink::AsIs)?;
    let words = format!(", brought to {} x {} pixels", wanted.height(), wanted.width());
    Ok((Some(fit), wanted, words))
}

/// The last part of the path; of `.` or `data/..` that of the folder meant.
fn folder_name(path: &Path) -> String {
    let canonical = path.canonicalize().ok();
    let name = path.file_name().or_else(|| canonical.as_deref()?.file_name());
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
