//! Chooses the reader of a data set: the one place that knows all formats.

use std::path::Path;

use crate::data_source::DataSource;
use crate::dataset::Dataset;
use crate::error::Error;
use crate::formats::{EmbeddingFolder, IdxFolder, digits, image_folder};
use crate::load_options::{LoadOptions, SIDES, Sizing};

impl Dataset {
    /// Reads a data set.
    ///
    /// # Errors
    /// With exit code 2: a path that does not exist or is not laid out as described, a size out of range, a split rule
    /// that does not fit the data. With exit code 1: a file that is broken, cut short or unreadable. The message names
    /// the file or folder.
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

/// Returns the last part of the path; of `.` or `data/..` that of the folder meant.
fn folder_name(path: &Path) -> String {
    let canonical = path.canonicalize().ok();
    let name = path.file_name().or_else(|| canonical.as_deref()?.file_name());
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
