//! A run directory while it is being made.

use super::atomic_write;
use super::checkpoint::Checkpoint;
use super::destination::Destination;
use super::directory::Run;
use super::folder_lock::FolderLock;
use super::layout::{CLASSES, CONFIG, LAST, METRICS, MODEL, REPORT, STATE};
use super::records::Stopped;
use crate::config::Config;
use serde::Serialize;
use softmargin_data::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An unfinished run directory. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    destination: Destination,
    folder: TempDir,
    /// Tells other processes that the run goes on; `None` where directories cannot be locked.
    _lock: Option<FolderLock>,
}

/// A run directory in its place.
#[derive(Debug)]
pub struct FinishedRun {
    /// The path.
    pub path: PathBuf,
    /// Errors of other files than the model, which is there in any case, and of the move.
    pub faults: Vec<Error>,
}

impl Destination {
    /// Begins a run directory. It is usable where it is from the first [`Draft::save`] on.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn begin(&self, config: &Config, classes: &[String]) -> Result<Draft, Error> {
        let folder = self.temporary_folder()?;
        let lock = FolderLock::take(folder.path());
        let draft = Draft { destination: self.clone(), folder, _lock: lock };
        draft.put(CONFIG, draft.config(config, "training has not ended")?.as_bytes())?;
        draft.put(CLASSES, draft.json(CLASSES, &classes)?.as_bytes())?;
        Ok(draft)
    }

    /// Writes a complete run directory.
    ///
    /// # Errors
    /// As [`Draft::finish`].
    pub fn write(&self, run: &Run, metrics: &[String], report: &str) -> Result<FinishedRun, Error> {
        self.begin(&run.config, &run.classes)?.finish(run, metrics, report)
    }
}

impl Draft {
    /// Returns the temporary path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Updates it after an epoch: the best model if it is a new one, the last model, the checkpoint and the metrics.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(
        &self,
        best: Option<&[u8]>,
        last: &[u8],
        checkpoint: &Checkpoint,
        metrics: &[String],
    ) -> Result<(), Error> {
        if let Some(best) = best {
            self.put(MODEL, best)?;
        }
        self.put(LAST, last)?;
        self.put(STATE, self.json(STATE, checkpoint)?.as_bytes())?;
        self.put(METRICS, lines(metrics).as_bytes())
    }

    /// Completes it and moves it into its place. The model matters most: whatever else fails is a fault of the result.
    /// If the chosen path is taken by now, a free one beside it is used; if it cannot be moved, it stays where it is.
    ///
    /// # Errors
    /// If the model cannot be written and no epoch has saved one. Then nothing is left behind.
    pub fn finish(self, run: &Run, metrics: &[String], report: &str) -> Result<FinishedRun, Error> {
        let mut faults: Vec<Error> =
            self.write_files(run, metrics, report).into_iter().filter_map(Result::err).collect();
        // What could not be written may stand there from an earlier epoch.
        if !faults.is_empty() && Run::read(self.path()).is_err() {
            return Err(faults.swap_remove(0));
        }
        faults.extend(self.sync().err());
        let path = match self.destination.move_into_place(self.path()) {
            Ok(path) => path,
            Err(error) => {
                faults.push(error);
                self.path().to_owned()
            }
        };
        if self.destination.is_chosen() && path != self.destination.path() {
            let advice = format!("the run directory is {}", path.display());
            let taken = "something that was made there in the meantime";
            faults.push(Error::failure(self.destination.path().display(), "a free path", taken, advice));
        }
        // It is complete: it must not be removed.
        let _ = self.folder.keep();
        Ok(FinishedRun { path, faults })
    }

    /// Writes all files. The model comes first, the report last.
    fn write_files(&self, run: &Run, metrics: &[String], report: &str) -> [Result<(), Error>; 5] {
        let config = self.config(&run.config, &ending(&run.config, &run.checkpoint));
        let state = self.json(STATE, &run.checkpoint);
        [
            self.put(MODEL, &run.model),
            state.and_then(|state| self.put(STATE, state.as_bytes())),
            config.and_then(|config| self.put(CONFIG, config.as_bytes())),
            self.put(METRICS, lines(metrics).as_bytes()),
            self.put(REPORT, report.as_bytes()),
        ]
    }

    /// Replaces a file atomically.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|cause| Error::io(folder, "a directory", cause))?;
        }
        atomic_write::replace_file(&path, content)
    }

    /// Waits until all files are on the disk, so that the rename cannot precede their content.
    fn sync(&self) -> Result<(), Error> {
        for name in [CONFIG, MODEL, CLASSES, METRICS, REPORT, STATE, LAST] {
            let path = self.path().join(name);
            match fs::File::open(&path).and_then(|file| file.sync_all()) {
                // A run that is written at once has no last model; a report that failed is a fault already.
                Err(cause) if [LAST, REPORT].contains(&name) && cause.kind() == ErrorKind::NotFound => {}
                result => result.map_err(|cause| Error::io(&path, "a file that can be written", cause))?,
            }
        }
        Ok(())
    }

    fn config(&self, config: &Config, ending: &str) -> Result<String, Error> {
        let remarks = [
            format!("The complete configuration of a run of softmargin {}; {ending}.", env!("CARGO_PKG_VERSION")),
            "'softmargin train --config FILE' accepts this file, or any part of it.".into(),
        ];
        config.to_text(&remarks).map_err(|cause| self.not_writable(CONFIG, &cause))
    }

    fn json(&self, name: &str, value: &impl Serialize) -> Result<String, Error> {
        serde_json::to_string_pretty(value).map_err(|cause| self.not_writable(name, &cause))
    }

    fn not_writable(&self, name: &str, cause: &dyn std::fmt::Display) -> Error {
        Error::failure(self.destination.path().join(name).display(), "content that can be written", cause, "")
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Describes how training ended, for the first line of `config.toml`.
fn ending(config: &Config, checkpoint: &Checkpoint) -> String {
    let Checkpoint { epochs, best_epoch, .. } = checkpoint;
    match checkpoint.stopped {
        Some(Stopped::Interrupted) => {
            format!(
                "it was interrupted in epoch {epochs} of {}, the model is that of epoch {best_epoch}",
                config.training.epochs
            )
        }
        Some(Stopped::Failed) => {
            format!(
                "it failed after epoch {epochs} of {}, the model is that of epoch {best_epoch}",
                config.training.epochs
            )
        }
        Some(Stopped::Early) => {
            format!("it stopped early after epoch {epochs}, the model is that of epoch {best_epoch}")
        }
        _ => format!("the model is that of epoch {best_epoch} of {epochs}"),
    }
}
