//! The files to predict from in a folder and all folders below it.

use super::input_file::UnreadableFile;
use softmargin_data::error::Error;
use softmargin_data::{SampleFiles, sample_files};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The files in a folder and below it.
#[derive(Debug, Default)]
pub(super) struct FolderWalk {
    /// The files of each folder in the order of their names, then those of its sub-folders.
    pub(super) files: Vec<PathBuf>,
    /// The number of files of other kinds.
    pub(super) left_out: usize,
    /// Folders that were reached twice.
    pub(super) notes: Vec<String>,
    /// Sub-folders that cannot be read.
    pub(super) failures: Vec<UnreadableFile>,
}

impl FolderWalk {
    /// Walks through a folder. A link to a folder that was visited is not followed: it may lead in a circle.
    ///
    /// # Errors
    /// If the folder itself cannot be read.
    pub(super) fn through(folder: &Path, images: bool) -> Result<Self, Error> {
        let mut walk = Self::default();
        let mut visited = HashSet::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(next) = waiting.pop() {
            if next.canonicalize().is_ok_and(|target| !visited.insert(target)) {
                walk.notes.push(format!("{}: left out; it leads to a folder that is read already", next.display()));
                continue;
            }
            match sample_files(&next, images) {
                Ok(SampleFiles { files, folders, left_out }) => {
                    walk.files.extend(files);
                    walk.left_out += left_out;
                    waiting.extend(folders.into_iter().rev());
                }
                Err(error) if next == folder => return Err(error),
                Err(error) => walk.failures.push(UnreadableFile { file: next.display().to_string(), error }),
            }
        }
        Ok(walk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_come_folder_by_folder() {
        let home = tempfile::tempdir().unwrap();
        for folder in ["b/deep", "a"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        for file in ["z.npy", "b/deep/1.npy", "b/2.npy", "a/3.npy", "a/names.json", "a/notes.txt", "a/labels.npy"] {
            fs::write(home.path().join(file), b"").unwrap();
        }
        let walk = FolderWalk::through(home.path(), false).unwrap();
        let names: Vec<&Path> = walk.files.iter().map(|file| file.strip_prefix(home.path()).unwrap()).collect();
        assert_eq!(names, ["z.npy", "a/3.npy", "b/2.npy", "b/deep/1.npy"].map(Path::new));
        assert_eq!((walk.left_out, walk.notes.len(), walk.failures.len()), (2, 0, 0));
        assert!(FolderWalk::through(&home.path().join("absent"), false).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_a_circle_is_noted() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("x.npy"), b"").unwrap();
        std::os::unix::fs::symlink(home.path(), home.path().join("again")).unwrap();
        let walk = FolderWalk::through(home.path(), false).unwrap();
        assert_eq!((walk.files.len(), walk.notes.len()), (1, 1));
        assert!(walk.notes[0].contains("again"), "{:?}", walk.notes);
    }
}
