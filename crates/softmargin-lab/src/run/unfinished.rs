//! Runs that were killed: their drafts lie beside new run directories, and nobody else would name them.

use super::atomic_write;
use super::checkpoint::Checkpoint;
use super::destination::Destination;
use super::folder_lock::FolderLock;
use super::layout::{CONFIG, MODEL, STATE};
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of a run whose process has ended before the run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRun {
    /// The path.
    pub path: PathBuf,
    /// The epoch of its model, the best so far, if the directory can be used as a run directory.
    pub best_epoch: Option<usize>,
}

impl Destination {
    /// Lists the unfinished runs beside the path, in the order of their names.
    #[must_use]
    pub fn unfinished_runs(&self) -> Vec<UnfinishedRun> {
        let entries = fs::read_dir(atomic_write::parent(self.path())).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_abandoned(path)).collect();
        paths.sort();
        let of = |path: PathBuf| UnfinishedRun {
            best_epoch: best_epoch(&path),
            path: path.strip_prefix(".").map(Path::to_owned).unwrap_or(path),
        };
        paths.into_iter().map(of).collect()
    }
}

/// Returns the epoch of the model in a draft, without reading the model, which may be large.
fn best_epoch(draft: &Path) -> Option<usize> {
    let state = Checkpoint::read(&draft.join(STATE)).ok()?;
    draft.join(MODEL).is_file().then_some(state.best_epoch)
}

/// Returns whether a path is the draft of a run, and no process has its lock.
fn is_abandoned(path: &Path) -> bool {
    let is_draft = path.file_name().is_some_and(|name| atomic_write::is_temporary(&name.to_string_lossy()));
    is_draft && path.join(CONFIG).is_file() && FolderLock::take(path).is_some()
}
