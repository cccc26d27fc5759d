//! A lock that shows whether the process that makes a run directory is still running.

use std::fs::File;
use std::path::Path;

/// A lock on a folder, released when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FolderLock(#[expect(dead_code, reason = "the open file holds the lock")] File);

impl FolderLock {
    /// Takes the lock. Returns `None` if another process has it, or where folders cannot be locked (Windows, some
    /// network file systems).
    pub(super) fn take(folder: &Path) -> Option<Self> {
        let file = File::open(folder).ok()?;
        file.try_lock().ok()?;
        Some(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let home = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(home.path()).unwrap();
        assert!(FolderLock::take(home.path()).is_none());
        drop(lock);
        assert!(FolderLock::take(home.path()).is_some());
        assert!(FolderLock::take(&home.path().join("absent")).is_none());
    }
}
