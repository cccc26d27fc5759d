//! Image files, each read and prepared on request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::images::Preparation;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore};
use crate::samples::Samples;

/// Image files within a folder.
#[derive(Debug)]
pub(super) struct ImageFiles {
    folder: PathBuf,
    /// Relative to the folder.
    files: Vec<PathBuf>,
    preparation: Preparation,
}

impl ImageFiles {
    /// Creates a store of files with paths relative to `folder`; nothing is read yet.
    pub(super) fn new(folder: PathBuf, files: Vec<PathBuf>, preparation: Preparation) -> ImageFiles {
        ImageFiles { folder, files, preparation }
    }

    /// Returns the names of all samples.
    pub(super) fn names(&self) -> SampleNames {
        SampleNames::Listed((0..self.files.len()).map(|row| self.name(row)).collect())
    }
}

impl SampleStore for ImageFiles {
    fn kind(&self) -> SampleKind {
        SampleKind::Image
    }

    fn shape(&self) -> [usize; 3] {
        self.preparation.shape()
    }

    fn count(&self) -> usize {
        self.files.len()
    }

    fn name(&self, row: usize) -> String {
        self.files[row].display().to_string()
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        let planes = self.preparation.read(&self.folder.join(&self.files[row]))?;
        Ok(Sample::Image(planes.into()))
    }
}

impl Preparation {
    /// Reads many files, in parallel; the images are in the order of the paths, and are named by them.
    ///
    /// # Errors
    /// As [`read`](Preparation::read), of the first path that fails; the message says how many more fail.
    pub fn read_all<P: AsRef<Path>>(&self, paths: &[P]) -> Result<Samples, Error> {
        let paths = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        let files = Arc::new(ImageFiles::new(PathBuf::new(), paths, *self));
        Samples::new(files.clone())?.read_into_memory(files.names())
    }
}
