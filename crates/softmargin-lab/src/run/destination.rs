//! The path of a run directory: checked before the work, taken at its end.

use super::atomic_write;
use softmargin_data::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A path where a run directory can be made.
#[derive(Clone, Debug)]
pub struct Destination {
    path: PathBuf,
    /// Prefix and number of a path that the user did not choose: if it is taken in the meantime, the next number is
    /// used.
    numbered: Option<(String, u64)>,
}

impl Destination {
    /// Checks that the path does not exist and that a directory can be made there.
    ///
    /// # Errors
    /// If the path exists, or its parent is missing or not writable.
    pub fn new(path: &Path) -> Result<Self, Error> {
        if fs::symlink_metadata(path).is_ok() {
            let advice = "choose another with --out, or remove this one";
            return Err(Error::request(path.display(), "a new path for the run directory", "one that exists", advice));
        }
        let destination = Self { path: path.to_path_buf(), numbered: None };
        // A trial, so that a missing or read-only parent is reported before hours of work, not after.
        destination.temporary_folder().map(|_| destination)
    }

    /// Chooses the first unused path of `PREFIX-1`, `PREFIX-2`, ...; if another run takes it before this one is
    /// complete, this one takes the next.
    ///
    /// # Errors
    /// If no directory can be made there.
    pub fn next(prefix: &str) -> Result<Self, Error> {
        let first = Self::free_from(prefix, 1);
        first.temporary_folder().map(|_| first)
    }

    fn free_from(prefix: &str, mut number: u64) -> Self {
        loop {
            let path = PathBuf::from(format!("{prefix}-{number}"));
            if fs::symlink_metadata(&path).is_err() {
                return Self { path, numbered: Some((prefix.to_owned(), number)) };
            }
            number += 1;
        }
    }

    /// Returns the path; one without a chosen name may still change to the next number.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a destination that takes `PATH-2`, `PATH-3`, ... if the path is taken.
    pub(super) fn or_numbered(&self) -> Self {
        let numbered = self.numbered.clone().unwrap_or_else(|| (self.path.to_string_lossy().into_owned(), 1));
        Self { path: self.path.clone(), numbered: Some(numbered) }
    }

    /// Makes a temporary directory on the same file system, so that one rename moves it into place.
    pub(super) fn temporary_folder(&self) -> Result<TempDir, Error> {
        if self.path.file_name().is_none() {
            let advice = "give a path that ends in a name";
            return Err(Error::request("--out", "the path of a directory to make", self.path.display(), advice));
        }
        atomic_write::temporary_folder(&self.path, "a directory to make the run directory in")
    }

    /// Moves a finished directory to the path, and returns where it is.
    pub(super) fn move_into_place(&self, from: &Path) -> Result<PathBuf, Error> {
        let mut to = self.clone();
        loop {
            let Err(cause) = atomic_write::move_folder(from, &to.path) else { return Ok(to.path) };
            // A rename onto a directory that is not empty fails, so of two runs that finish together the second moves
            // on.
            let taken = matches!(
                cause.kind(),
                ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory
            );
            to = match to.numbered {
                Some((prefix, number)) if taken => Self::free_from(&prefix, number + 1),
                _ if taken => {
                    let advice = "it was made in the meantime; choose another with --out";
                    return Err(Error::failure(to.path.display(), "a free path", "one that exists", advice));
                }
                _ => return Err(Error::io(&to.path, "a run directory to move into place", cause)),
            };
        }
    }
}
