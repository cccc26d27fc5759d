//! Images of a plain IDX file, read one by one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::file::IdxFile;
use crate::error::Error;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore};

/// The images of a plain IDX file.
#[derive(Debug)]
pub(super) struct IdxImages {
    path: PathBuf,
    file: Mutex<File>,
    /// Offset of the first image, in bytes.
    start: u64,
    count: usize,
    sides: [usize; 2],
    names: SampleNames,
}

impl IdxImages {
    /// Creates a store of the images of a file with this path and header: `count` of `sides` (rows, columns). Nothing
    /// is read yet.
    pub(super) fn new(
        path: &Path,
        header: &IdxFile<3>,
        count: usize,
        sides: [usize; 2],
        names: SampleNames,
    ) -> Result<IdxImages, Error> {
        let start = header.check_data()?;
        let file = File::open(path).map_err(|cause| Error::io(path, "a readable IDX file", cause))?;
        Ok(IdxImages { path: path.to_owned(), file: Mutex::new(file), start, count, sides, names })
    }
}

impl SampleStore for IdxImages {
    fn kind(&self) -> SampleKind {
        SampleKind::Image
    }

    fn shape(&self) -> [usize; 3] {
        [1, self.sides[0], self.sides[1]]
    }

    fn count(&self) -> usize {
        self.count
    }

    fn name(&self, row: usize) -> String {
        self.names.of(row)
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        let mut bytes = vec![0; self.sides[0] * self.sides[1]];
        let at = self.start + row as u64 * bytes.len() as u64;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|cause| Error::io(&self.path, format!("the {} bytes of image {row}", bytes.len()), cause))?;
        Ok(Sample::Image(bytes.into()))
    }
}
