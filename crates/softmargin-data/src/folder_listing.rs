//! The contents of a folder: images, folders and other files, in the order of their names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::images::has_image_signature;

/// Files and folders that systems and programs leave behind, besides those whose name begins with a dot.
const LEFT_BEHIND: [&str; 5] = ["thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"];
const IMAGE_EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "jpe", "jfif"];

/// The contents of a folder, without hidden files and those that systems leave behind.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) path: PathBuf,
    /// Files with the extension or the first bytes of a PNG or JPEG image.
    pub(crate) images: Vec<PathBuf>,
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) others: Vec<PathBuf>,
}

impl Listing {
    /// Lists a folder. Links are followed.
    pub(crate) fn of(folder: &Path) -> Result<Listing, Error> {
        let unreadable = |cause| Error::io(folder, "a readable folder", cause);
        let mut listing =
            Listing { path: folder.to_owned(), images: Vec::new(), folders: Vec::new(), others: Vec::new() };
        for entry in folder.read_dir().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if !is_left_behind(&entry.file_name()) {
                listing.add(entry.path())?;
            }
        }
        for paths in [&mut listing.images, &mut listing.folders, &mut listing.others] {
            paths.sort_unstable();
        }
        Ok(listing)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        let metadata = path.metadata().map_err(|cause| Error::io(&path, "a file or folder that can be read", cause))?;
        let kind = if metadata.is_dir() {
            &mut self.folders
        } else if metadata.is_file() && (has_image_extension(&path) || has_image_signature(&path)) {
            &mut self.images
        } else {
            &mut self.others
        };
        kind.push(path);
        Ok(())
    }

    /// Returns the folder of the first of these names that exists and contains folders (otherwise it may be a class).
    pub(crate) fn part(&self, names: &[&str]) -> Option<PathBuf> {
        let named = |name: &&str| self.folders.iter().find(|path| path.file_name() == Some(OsStr::new(name)));
        let mut found = names.iter().filter_map(named);
        found.find(|path| Listing::of(path).is_ok_and(|listing| !listing.folders.is_empty())).cloned()
    }
}

/// Returns the PNG and JPEG files directly in a folder, in the order of their names: those with such an extension, and
/// those whose first bytes show it. Hidden files are left out.
///
/// # Errors
/// If the folder does not exist, cannot be read, or has no such file.
pub fn image_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let images = Listing::of(folder)?.images;
    if images.is_empty() {
        return Err(Error::request(folder.display(), "a folder with PNG or JPEG images", "none", ""));
    }
    Ok(images)
}

/// The files directly in a folder to predict from, and its sub-folders, each in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFiles {
    /// Images, if they are asked for, and `.npy` files without those of labels.
    pub files: Vec<PathBuf>,
    /// The sub-folders.
    pub folders: Vec<PathBuf>,
    /// The number of other files; files of names are not counted, since they belong to arrays.
    pub left_out: usize,
}

/// Lists the files directly in a folder to predict from: `.npy` files and, if `images`, images.
///
/// # Errors
/// If the folder does not exist or cannot be read.
pub fn sample_files(folder: &Path, images: bool) -> Result<SampleFiles, Error> {
    let listing = Listing::of(folder)?;
    // Labels and names lie beside the arrays that they belong to.
    let is_labels = |path: &Path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("labels"));
    let is_names = |path: &PathBuf| path.to_string_lossy().ends_with("names.json");
    let is_array =
        |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy")) && !is_labels(path);
    let (mut files, others): (Vec<_>, Vec<_>) = listing.others.into_iter().partition(is_array);
    let mut left_out = others.iter().filter(|path| !is_names(path)).count();
    if images {
        files.extend(listing.images);
        files.sort_unstable();
    } else {
        left_out += listing.images.len();
    }
    Ok(SampleFiles { files, folders: listing.folders, left_out })
}

fn is_left_behind(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || LEFT_BEHIND.contains(&name.to_ascii_lowercase().as_str())
}

fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    IMAGE_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
}
