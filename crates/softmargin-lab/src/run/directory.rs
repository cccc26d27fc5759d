//! The content of a finished run directory, and reading it.

use super::checkpoint::Checkpoint;
use super::layout::{CLASSES, CONFIG, MODEL, STATE, damaged, missing};
use crate::config::{Config, FORMAT, Fault, old_name};
use serde::de::DeserializeOwned;
use softmargin_data::error::Error;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The content of a run directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The complete configuration.
    pub config: Config,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The content of `model.safetensors`.
    pub model: Vec<u8>,
    /// The state of training at its end.
    pub checkpoint: Checkpoint,
}

impl Run {
    /// Reads a run directory.
    ///
    /// # Errors
    /// With exit code 2: there is no run directory. With exit code 1: a file of it is missing, damaged, or of another
    /// version. The message names the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let advice = "give a directory made by `softmargin train`";
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
            let expected = format!("{} names, as in {CONFIG}", config.data.classes);
            return Err(damaged(&path.join(CLASSES), expected, format!("{} names", classes.len())));
        }
        let fault =
            |Fault { key, expected, found }| damaged(&path.join(CONFIG), format!("{key} to be {expected}"), found);
        config.check().map_err(fault)?;
        let model = read_model(&path.join(MODEL), &config)?;
        Ok(Self { config, classes, model, checkpoint: Checkpoint::read(&path.join(STATE))? })
    }
}

/// Reads the bytes of the model, if they are enough for the weights of the configuration: so an edited configuration
/// cannot request more memory than the file of the model occupies.
fn read_model(path: &Path, config: &Config) -> Result<Vec<u8>, Error> {
    let model = fs::read(path).map_err(|cause| missing(path, cause))?;
    let weights = config.weights();
    if weights > model.len() / size_of::<f32>() {
        let expected = format!("at least {weights} weights of 4 bytes, as in the network of {CONFIG}");
        return Err(damaged(path, expected, format!("{} bytes", model.len())));
    }
    Ok(model)
}

fn read_config(path: &Path) -> Result<Config, Error> {
    let text = fs::read_to_string(path).map_err(|cause| missing(path, cause))?;
    let table: Table =
        toml::from_str(&text).map_err(|cause| damaged(path, "the configuration of a run", cause.message()))?;
    let Some(format) = table.get("format").and_then(Value::as_integer) else {
        return Err(damaged(path, "a format number", "none"));
    };
    if format != i64::from(FORMAT) {
        let (expected, found) = (format!("format {FORMAT}"), format!("format {format}"));
        return Err(Error::failure(path.display(), expected, found, other_format(format)));
    }
    if let Some(old) = old_name(&table) {
        return Err(Error::failure(path.display(), "current names", old.found, format!("use {}", old.new)));
    }
    toml::from_str(&text).map_err(|cause| damaged(path, "the configuration of a run", cause.to_string().trim()))
}

/// Returns the advice for a run of another format.
fn other_format(format: i64) -> String {
    match format {
        2 => format!(
            "train again; or set format = {FORMAT} and change the old names, which are then reported one by one"
        ),
        _ => "use the version of softmargin that made it, or train again".into(),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|cause| missing(path, cause))?;
    serde_json::from_str(&text).map_err(|cause| damaged(path, "what `softmargin train` writes there", cause))
}
