//! A run directory: all that a training run leaves.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the whole resolved configuration |
//! | `model.safetensors` | the weights of network and head |
//! | `classes.json` | the names of the classes, in the order of the scores |
//! | `metrics.jsonl` | one line an epoch, and a last one with the test's result |
//! | `report.html` | the run at a glance |
//! | `checkpoint/last.safetensors` | the weights after the last step; `model.safetensors` has the best |
//! | `checkpoint/state.json` | where training stood at the end: epochs, steps, why it ended, and the best model's loss state |
//!
//! The checkpoint is what the evaluation of a loss with a state needs. Training cannot be resumed from it: it has no
//! momentum of the optimizer.
//!
//! A [`Draft`] of it is put together beside its final place and moved there in one step, so that it is whole or not there.
//! The draft is brought up to date after each epoch, and is itself a run directory that can be used: if the machine fails,
//! `.NAME.partial-...` is left, and an epoch at most is lost.

use crate::config::{Config, FORMAT, Fault};
use crate::error::Error;
use crate::training::Stopped;
use crate::whole;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use softmargin::LossState;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CONFIG: &str = "config.toml";
pub(crate) const MODEL: &str = "model.safetensors";
const CLASSES: &str = "classes.json";
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.html";
pub(crate) const STATE: &str = "checkpoint/state.json";
const LAST: &str = "checkpoint/last.safetensors";

/// Where training stood at the end: what the evaluation of a loss with a state needs. Training cannot be resumed from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Checkpoint {
    /// Epochs done.
    pub epochs: usize,
    /// Steps taken.
    pub steps: u64,
    /// The epoch of the best model, from 1.
    pub best_epoch: usize,
    /// Which samples trained, validated and tested: see [`Dataset::fingerprint`](crate::data::Dataset::fingerprint).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<String>,
    /// Why training ended; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The state that a loss which has one had when the best model was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_state: Option<LossState>,
}

/// The content of a run directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// How it was made.
    pub config: Config,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The model's file.
    pub model: Vec<u8>,
    /// Where training stood at the end.
    pub checkpoint: Checkpoint,
}

/// A run directory in the making. It is removed when it is dropped unfinished.
#[derive(Debug)]
pub struct Draft {
    destination: Destination,
    workshop: TempDir,
}

/// A place where a run directory can be written.
#[derive(Clone, Debug)]
pub struct Destination {
    path: PathBuf,
    /// `PREFIX` and number of a path that was chosen here, not by a user: if it is taken meanwhile, the next one does.
    numbered: Option<(String, u64)>,
}

impl Destination {
    /// Checks that nothing is at a path yet, and that a directory can be made there.
    ///
    /// # Errors
    /// When something is there already, or its parent is missing or not writable.
    pub fn new(path: &Path) -> Result<Self, Error> {
        if fs::symlink_metadata(path).is_ok() {
            let advice = "choose another with --out, or remove this one";
            return Err(Error::request(path.display(), "a new path for the run directory", "one that exists", advice));
        }
        let destination = Self { path: path.to_path_buf(), numbered: None };
        // The trial tells of a missing or locked parent before hours of work, not after.
        destination.workshop().map(|_| destination)
    }

    /// The first unused `PREFIX-1`, `PREFIX-2`, ...; if another run takes it before this one is written, this one moves on
    /// to the next.
    ///
    /// # Errors
    /// When no directory can be made there.
    pub fn next(prefix: &str) -> Result<Self, Error> {
        let first = Self::free_from(prefix, 1);
        first.workshop().map(|_| first)
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

    /// Where it will be, as far as is known before it is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A temporary directory on the same file system, so that one rename moves it into place.
    fn workshop(&self) -> Result<TempDir, Error> {
        if self.path.file_name().is_none() {
            let advice = "give a path that ends in a name";
            return Err(Error::request("--out", "the path of a directory to make", self.path.display(), advice));
        }
        whole::temporary_folder(&self.path, "a directory to make the run directory in")
    }

    /// Begins a run directory. From the first [`Draft::save`] on, it can be used where it is.
    ///
    /// # Errors
    /// When no directory can be made beside the destination, or a file cannot be written.
    pub fn begin(&self, config: &Config, classes: &[String]) -> Result<Draft, Error> {
        let draft = Draft { destination: self.clone(), workshop: self.workshop()? };
        draft.put(CONFIG, draft.config(config, "training has not ended")?.as_bytes())?;
        draft.put(CLASSES, draft.json(CLASSES, &classes)?.as_bytes())?;
        Ok(draft)
    }

    /// Writes a run directory, whole or not at all, and says where it is.
    ///
    /// # Errors
    /// When a file cannot be written, or something has come to be at a path that was asked for.
    pub fn write(&self, run: &Run, metrics: &[String], report: &str) -> Result<PathBuf, Error> {
        self.begin(&run.config, &run.classes)?.finish(run, metrics, report)
    }

    fn move_into_place(&self, from: &Path) -> Result<PathBuf, Error> {
        let mut to = self.clone();
        loop {
            let Err(cause) = whole::move_folder(from, &to.path) else { return Ok(to.path) };
            // A rename onto a directory with content fails, so whoever comes second moves on, however close it was.
            let taken = matches!(
                cause.kind(),
                ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory
            );
            to = match to.numbered {
                Some((prefix, number)) if taken => Self::free_from(&prefix, number + 1),
                _ if taken => {
                    let advice = "something else made it meanwhile; choose another with --out";
                    return Err(Error::failure(to.path.display(), "a free path", "one that exists", advice));
                }
                _ => return Err(Error::io(&to.path, "a run directory to move into place", cause)),
            };
        }
    }
}

impl Draft {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.workshop.path()
    }

    /// Brings it up to date after an epoch: the best model, where it is a new one, the last one, and how they came about.
    ///
    /// # Errors
    /// When a file cannot be written.
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

    /// Makes it whole, moves it into its place, and says where that is.
    ///
    /// # Errors
    /// When a file cannot be written, or something has come to be at a path that was asked for.
    pub fn finish(self, run: &Run, metrics: &[String], report: &str) -> Result<PathBuf, Error> {
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
        // It has moved: there is nothing left to remove.
        let _ = self.workshop.keep();
        Ok(path)
    }

    /// Puts a file in the place of the one that is there, whole or not at all.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|cause| Error::io(folder, "a directory", cause))?;
        }
        whole::replace_file(&path, content)
    }

    /// Waits until all files are on the disk, so that the move cannot overtake their content.
    fn sync(&self) -> Result<(), Error> {
        for name in [CONFIG, MODEL, CLASSES, METRICS, REPORT, STATE, LAST] {
            let path = self.path().join(name);
            match fs::File::open(&path).and_then(|file| file.sync_all()) {
                // A run that was not trained here has no last model.
                Err(cause) if name == LAST && cause.kind() == ErrorKind::NotFound => {}
                result => result.map_err(|cause| Error::io(&path, "a file that can be written", cause))?,
            }
        }
        Ok(())
    }

    fn config(&self, config: &Config, ending: &str) -> Result<String, Error> {
        let remarks = [
            format!("The whole configuration of a run of softmargin {}; {ending}.", env!("CARGO_PKG_VERSION")),
            "'softmargin train --config FILE' takes this file, or any part of it.".into(),
        ];
        config.to_text(&remarks).map_err(|cause| self.unwritable(CONFIG, &cause))
    }

    fn json(&self, name: &str, value: &impl Serialize) -> Result<String, Error> {
        serde_json::to_string_pretty(value).map_err(|cause| self.unwritable(name, &cause))
    }

    fn unwritable(&self, name: &str, cause: &dyn std::fmt::Display) -> Error {
        Error::failure(self.destination.path.join(name).display(), "something that can be written down", cause, "")
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// How training ended, in words.
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

impl Run {
    /// Reads a run directory.
    ///
    /// # Errors
    /// With exit code 2 where there is none; with exit code 1 where a file of it is missing, broken, or of another
    /// version. The message names the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let advice = "give a directory that `softmargin train` has made";
        let metadata = fs::metadata(path);
        if !metadata.map_err(|cause| Error::io(path, "a run directory", cause))?.is_dir() {
            return Err(Error::request(path.display(), "a run directory", "a file", advice));
        }
        if !path.join(CONFIG).exists() {
            let found = format!("a directory without {CONFIG}");
            return Err(Error::request(path.display(), "a run directory", found, advice));
        }
        let config: Config = read_config(&path.join(CONFIG))?;
        let classes: Vec<String> = read_json(&path.join(CLASSES))?;
        if classes.len() != config.data.classes {
            let expected = format!("{} names, as {CONFIG} says", config.data.classes);
            return Err(broken(&path.join(CLASSES), expected, format!("{} names", classes.len())));
        }
        let fault =
            |Fault { key, expected, found }| broken(&path.join(CONFIG), format!("{key} to be {expected}"), found);
        config.check().map_err(fault)?;
        let model = read_model(&path.join(MODEL), &config)?;
        Ok(Self { config, classes, model, checkpoint: read_json(&path.join(STATE))? })
    }
}

/// The bytes of the model, if they are enough for the weights that the configuration says: so a configuration that was
/// changed cannot ask for more memory than the file of the model takes.
fn read_model(path: &Path, config: &Config) -> Result<Vec<u8>, Error> {
    let model = fs::read(path).map_err(|cause| missing(path, cause))?;
    let weights = config.weights();
    if weights > model.len() / size_of::<f32>() {
        let expected = format!("room for at least {weights} weights of 4 bytes, as the network in {CONFIG} has");
        return Err(broken(path, expected, format!("{} bytes", model.len())));
    }
    Ok(model)
}

fn read_config(path: &Path) -> Result<Config, Error> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let text = fs::read_to_string(path).map_err(|cause| missing(path, cause))?;
    let version: Version = toml::from_str(&text).map_err(|cause| broken(path, "a format number", cause.message()))?;
    if version.format != FORMAT {
        let expected = format!("format {FORMAT}");
        let found = format!("format {}", version.format);
        let advice = "use the version of softmargin that made it, or train again";
        return Err(Error::failure(path.display(), expected, found, advice));
    }
    toml::from_str(&text).map_err(|cause| broken(path, "the configuration of a run", cause.to_string().trim()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|cause| missing(path, cause))?;
    serde_json::from_str(&text).map_err(|cause| broken(path, "what `softmargin train` writes there", cause))
}

/// A file that a run directory must have. It is the directory that is wrong, so this is failed work, not a wrong path.
fn missing(path: &Path, cause: std::io::Error) -> Error {
    let advice = "the run directory is not whole: train again";
    Error::failure(path.display(), "a file of a run directory", &cause, advice).with_source(cause)
}

/// A file of a run directory that is not what was written.
pub(crate) fn broken(path: &Path, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
    Error::failure(path.display(), expected, found, "the run directory was changed or cut short: train again")
}
