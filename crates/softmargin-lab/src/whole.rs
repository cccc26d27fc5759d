//! Files and folders that are whole or not there: they are put together beside their place and moved into it.

use crate::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};

/// Checks, before long work, that nothing is at a path yet and that something can be made there.
///
/// # Errors
/// When something is there already, or its parent is missing or not writable.
pub fn check_place(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok() {
        let advice = "choose another, or remove this one";
        return Err(Error::request(path.display(), "a new path", "one that exists", advice));
    }
    if path.file_name().is_none() {
        return Err(Error::request(path.display(), "a path that ends in a name", "none", "give one"));
    }
    temporary_file(path).map(|_| ())
}

/// Writes a file.
///
/// # Errors
/// When it cannot be written, or something has come to be there meanwhile.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut file = temporary_file(path)?;
    let written = file.write_all(content).and_then(|()| file.as_file().sync_all());
    written.map_err(|cause| Error::io(path, "a file that can be written", cause.kind().into()))?;
    file.persist_noclobber(path).map_err(|cause| Error::io(path, "a file to move into place", cause.error))?;
    Ok(())
}

/// Writes a file in the place of the one that is there, if any. Whoever reads it finds the old content or the new.
///
/// # Errors
/// When it cannot be written.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let unwritable = |cause: std::io::Error| Error::io(path, "a file that can be written", cause.kind().into());
    let mut file = temporary_file(path)?;
    file.write_all(content).map_err(unwritable)?;
    file.persist(path).map_err(|cause| unwritable(cause.error))?;
    Ok(())
}

/// Writes a folder of files.
///
/// # Errors
/// When it cannot be written, or something has come to be there meanwhile.
pub(crate) fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let folder = temporary_folder(path, "a folder to write into")?;
    for (name, content) in files {
        write_file(&folder.path().join(name), content)?;
    }
    move_folder(folder.path(), path).map_err(|cause| Error::io(path, "a folder to move into place", cause))?;
    // It has moved: there is nothing left to remove.
    let _ = folder.keep();
    Ok(())
}

/// Moves a folder to where nothing is. A rename alone would take the place of an empty folder.
pub(crate) fn move_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

fn temporary_file(path: &Path) -> Result<NamedTempFile, Error> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(parent(path)).map_err(|cause| unmade(path, "a folder to write into", &cause))
}

/// A folder beside a path, so that one rename moves it there; `expected` says what a parent must be to hold it.
pub(crate) fn temporary_folder(path: &Path, expected: &str) -> Result<TempDir, Error> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent(path)).map_err(|cause| unmade(path, expected, &cause))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".partial-");
    prefix
}

/// The kind of the error alone: the whole has the name of the temporary file, which tells nobody anything.
fn unmade(path: &Path, expected: &str, cause: &std::io::Error) -> Error {
    Error::io(parent(path), expected, cause.kind().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_stays_and_a_missing_parent_is_said() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        check_place(&path).unwrap();
        write_file(&path, b"first").unwrap();
        assert_eq!(check_place(&path).unwrap_err().exit_code(), 2);
        assert!(write_file(&path, b"second").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(check_place(&home.path().join("no/x")).unwrap_err().exit_code(), 2);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_folder_that_cannot_be_whole_is_not_there() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        let files = [("a".to_owned(), vec![1]), ("no/b".to_owned(), vec![2])];
        assert!(write_folder(&path, &files).is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        write_folder(&path, &files[..1]).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), [1]);
    }
}
