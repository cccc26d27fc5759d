//! A run directory while it is being made.

use super::atomic_write;
use super::checkpoint::Checkpoint;
use super::destination::Destination;
use super::directory::Run;
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
}

impl Destination {
    /// Begins a run directory. It is usable where it is from the first [`Draft::save`] on.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn begin(&self, config: &Config, classes: &[String]) -> Result<Draft, Error> {
        let draft = Draft { destination: self.clone(), folder: self.temporary_folder()? };
        draft.put(CONFIG, draft.config(config, "training has not ended")?.as_bytes())?;
        draft.put(CLASSES, draft.json(CLASSES, &classes)?.as_bytes())?;
        Ok(draft)
    }

    /// Writes a complete run directory, and returns where it is.
    ///
    /// # Errors
    /// If a file cannot be written, or the chosen path exists by now. Then nothing is left behind.
    pub fn write(&self, run: &Run, metrics: &[String], report: &str) -> Result<PathBuf, Error> {
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

    /// Completes it, moves it into its place, and returns where that is.
    ///
    /// # Errors
    /// If a file cannot be written, or the chosen path exists by now. The draft is still usable then.
    pub fn finish(&mut self, run: &Run, metrics: &[String], report: &str) -> Result<PathBuf, Error> {
        let config = self.config(&run.config, &ending(&run.config, &run.checkpoint))?;
        let state = self.json(STATE, &run.checkpoint)?;
        let metrics = lines(metrics);
        let files: [(&str, &[u8]); 5] = [
            (CONFIG, config.as_bytes()),
            (MODEL, &run.model),
            (METRICS, metrics.as_bytes()),
            (REPORT, report.as_bytes()),
            (STATE, state.as_bytes()),
        ];
        for (name, content) in files {
            self.put(name, content)?;
        }
        self.sync()?;
        let path = self.destination.move_into_place(self.path())?;
        // It has been moved: there is nothing to remove.
        self.folder.disable_cleanup(true);
        Ok(path)
    }

    /// Stores the best model so far after a failure, beside the chosen path if that is taken, and returns the error
    /// with the place of the model. Without a usable model, the draft is removed and the error returned as it is.
    #[must_use]
    pub fn rescue(mut self, error: Error) -> Error {
        if Run::read(self.path()).is_err() {
            return error;
        }
        // From here on nothing may remove the model, whatever else fails.
        self.folder.disable_cleanup(true);
        // On a full disk the line is missing; the message says the same.
        let _ = self.note_failure(&error);
        let place = self.destination.or_numbered().move_into_place(self.path());
        let place = place.unwrap_or_else(|_| self.path().to_path_buf());
        let advice = format!("the best model so far is in {0}: softmargin evaluate {0}", place.display());
        Error::failure("training", "a run without failure", &error, advice).with_source(error)
    }

    /// Appends the cause of a failure to the metrics.
    fn note_failure(&self, error: &Error) -> Result<(), Error> {
        let path = self.path().join(METRICS);
        let before = fs::read_to_string(&path).map_err(|cause| Error::io(&path, "the metrics", cause))?;
        let record = serde_json::json!({ "failure": error.to_string() });
        self.put(METRICS, format!("{before}{record}\n").as_bytes())
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
                // A run that is written at once has no last model.
                Err(cause) if name == LAST && cause.kind() == ErrorKind::NotFound => {}
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
        Some(Stopped::Early) => {
            format!("it stopped early after epoch {epochs}, the model is that of epoch {best_epoch}")
        }
        _ => format!("the model is that of epoch {best_epoch} of {epochs}"),
    }
}
