//! The path of a run directory: checked before the work, taken at its end.

use super::atomic_write;
use softmargin_data::error::Error;
use std::ffi::{OsStr, OsString};
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
    numbered: Option<(OsString, u64)>,
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
        let first = Self::free_from(prefix.as_ref(), 1);
        first.temporary_folder().map(|_| first)
    }

    fn free_from(prefix: &OsStr, mut number: u64) -> Self {
        loop {
            let mut path = prefix.to_owned();
            path.push(format!("-{number}"));
            let path = PathBuf::from(path);
            if fs::symlink_metadata(&path).is_err() {
                return Self { path, numbered: Some((prefix.to_owned(), number)) };
            }
            number += 1;
        }
    }

    /// Returns true if the user chose the path, so that any other is a surprise.
    pub(super) fn is_chosen(&self) -> bool {
        self.numbered.is_none()
    }

    /// Returns the path; one without a chosen name may still change to the next number.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a temporary directory on the same file system, so that one rename moves it into place.
    pub(super) fn temporary_folder(&self) -> Result<TempDir, Error> {
        if self.path.file_name().is_none() {
            let advice = "give a path that ends in a name";
            return Err(Error::request("--out", "the path of a directory to make", self.path.display(), advice));
        }
        atomic_write::temporary_folder(&self.path, "a directory to make the run directory in")
    }

    /// Moves a finished directory to the path, and returns where it is: at the path, or at the next free number if
    /// something was made there in the meantime.
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
            if !taken {
                return Err(Error::io(&to.path, "a run directory to move into place", cause));
            }
            let (prefix, number) = to.numbered.unwrap_or_else(|| (to.path.into_os_string(), 1));
            to = Self::free_from(&prefix, number + 1);
        }
    }
}
