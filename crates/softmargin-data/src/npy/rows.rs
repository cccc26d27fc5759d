//! An array whose rows are read one by one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::layout::Layout;
use crate::error::Error;

/// A two-dimensional array (N, D) of floating-point numbers in C order, read row by row.
#[derive(Debug)]
pub(crate) struct NpyRows {
    path: PathBuf,
    file: Mutex<File>,
    layout: Layout,
}

impl NpyRows {
    /// Opens a file of floating-point numbers with two dimensions. Only one whose rows are contiguous can be read.
    pub(crate) fn open(path: &Path) -> Result<NpyRows, Error> {
        let unreadable = |cause| Error::io(path, "a readable .npy file", cause);
        let mut file = File::open(path).map_err(unreadable)?;
        let name = path.display().to_string();
        let layout = Layout::read(&name, &mut file)?;
        let stored = file.metadata().map_err(unreadable)?.len();
        layout.check_length(&name, stored.saturating_sub(layout.start))?;
        layout.element.check_floats(&name)?;
        if layout.shape.len() != 2 {
            let found = format!("the shape {:?}", layout.shape);
            let advice = "save it with array.reshape(len(array), -1)";
            return Err(Error::failure(name, "an array of two dimensions, one embedding a row", found, advice));
        }
        Ok(NpyRows { path: path.to_owned(), file: Mutex::new(file), layout })
    }

    /// Returns the number of rows and of columns.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.layout.shape[0], self.layout.shape[1]]
    }

    /// Returns whether the rows are contiguous.
    pub(crate) fn is_by_rows(&self) -> bool {
        !self.layout.fortran || self.layout.shape.contains(&1)
    }

    /// Reads the rows from `first` on, as many as fit in `out`.
    pub(crate) fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let row = self.layout.shape[1] as u64 * self.layout.element.size as u64;
        let mut bytes = vec![0; out.len() * self.layout.element.size];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.layout.start + first as u64 * row))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|cause| Error::io(&self.path, format!("the {} bytes from row {first}", bytes.len()), cause))?;
        drop(file);
        self.layout.element.decode(&bytes, out);
        Ok(())
    }
}
