//! Atomic writes: files and folders are assembled beside their place and renamed, so that each is complete or absent.

use softmargin_data::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};

/// The middle of the names of temporary files and folders.
const PARTIAL: &str = ".partial-";

/// Checks, before long work, that a path does not exist and that a file can be made there.
///
/// # Errors
/// If the path exists, or its parent is missing or not writable.
pub fn check_new_path(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok() {
        let advice = "choose another, or remove this one";
        return Err(Error::request(path.display(), "a new path", "one that exists", advice));
    }
    if path.file_name().is_none() {
        return Err(Error::request(path.display(), "a path that ends in a name", "none", "give one"));
    }
    temporary_file(path).map(|_| ())
}

/// Writes a new file.
///
/// # Errors
/// If it cannot be written, or the path exists.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut file = temporary_file(path)?;
    let written = file.write_all(content).and_then(|()| file.as_file().sync_all());
    written.map_err(|cause| Error::io(path, "a file that can be written", cause.kind().into()))?;
    file.persist_noclobber(path).map_err(|cause| Error::io(path, "a file to move into place", cause.error))?;
    Ok(())
}

/// Writes a file, replacing an existing one. A reader sees the old content or the new.
///
/// # Errors
/// If it cannot be written.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let not_writable = |cause: std::io::Error| Error::io(path, "a file that can be written", cause.kind().into());
    let mut file = temporary_file(path)?;
    file.write_all(content).map_err(not_writable)?;
    file.persist(path).map_err(|cause| not_writable(cause.error))?;
    Ok(())
}

/// Writes a new folder of files.
///
/// # Errors
/// If it cannot be written, or the path exists.
pub(crate) fn write_folder(path: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let folder = temporary_folder(path, "a folder to write into")?;
    for (name, content) in files {
        write_file(&folder.path().join(name), content)?;
    }
    move_folder(folder.path(), path).map_err(|cause| Error::io(path, "a folder to move into place", cause))?;
    // It has been moved: there is nothing to remove.
    let _ = folder.keep();
    Ok(())
}

/// Moves a folder to a path that does not exist. A rename alone would replace an empty folder.
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
    builder.tempfile_in(parent(path)).map_err(|cause| not_made(path, "a folder to write into", &cause))
}

/// Makes a temporary folder beside a path, so that one rename moves it there; `expected` describes the parent for
/// messages.
pub(crate) fn temporary_folder(path: &Path, expected: &str) -> Result<TempDir, Error> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent(path)).map_err(|cause| not_made(path, expected, &cause))
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(PARTIAL);
    prefix
}

/// Returns whether a name is that of a temporary file or folder.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.contains(PARTIAL)
}

/// Returns an error with only the kind of the cause: its text contains the name of the temporary file, which means
/// nothing to the user.
fn not_made(path: &Path, expected: &str, cause: &std::io::Error) -> Error {
    Error::io(parent(path), expected, cause.kind().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_files_stay_and_a_missing_parent_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        check_new_path(&path).unwrap();
        write_file(&path, b"first").unwrap();
        assert_eq!(check_new_path(&path).unwrap_err().exit_code(), 2);
        assert!(write_file(&path, b"second").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(check_new_path(&home.path().join("no/x")).unwrap_err().exit_code(), 2);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_folder_that_cannot_be_completed_is_absent() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        let files = [("a".to_owned(), vec![1]), ("no/b".to_owned(), vec![2])];
        assert!(write_folder(&path, &files).is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        write_folder(&path, &files[..1]).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), [1]);
    }
}
