//! The origin of a data set: built in, or a path.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};

use crate::error::Error;
use crate::folder_listing::Listing;

const DIGITS: &str = "digits";

/// The origin of a data set. As text, and in configuration files: `digits`, or a path (a folder of that very name
/// is `./digits`).
///
/// ```
/// use softmargin_data::DataSource;
///
/// let source = |text: &str| DataSource::from(std::ffi::OsString::from(text));
/// assert_eq!(source("digits"), DataSource::Digits);
/// assert_eq!(source("./digits"), DataSource::Path("./digits".into()));
/// assert_eq!(source("flowers").to_string(), "flowers");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// The digits built into the crate: 1,797 gray images of 8 x 8 pixels, ten classes.
    Digits,
    /// A folder: of IDX files (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`,
    /// `t10k-labels-idx1-ubyte`, also spelled `.idx3-`, plain or gzipped), of images with one sub-folder per class, or
    /// of embeddings (`embeddings.npy` and `labels.npy`).
    Path(PathBuf),
}

impl DataSource {
    /// Returns whether there are samples with classes, as [`Dataset::load`](crate::Dataset::load) reads them, and not
    /// images or arrays alone: a folder with folders, IDX files or labels in it.
    ///
    /// # Errors
    /// If the path does not exist or cannot be read.
    pub fn has_classes(&self) -> Result<bool, Error> {
        let DataSource::Path(path) = self else { return Ok(true) };
        let unreadable = |cause| Error::io(path, "data", cause);
        if !path.metadata().map_err(unreadable)?.is_dir() {
            return Ok(false);
        }
        let Listing { folders, others, .. } = Listing::of(path)?;
        let has_labels = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with("labels.npy") || name.contains("labels-idx1") || name.contains("labels.idx1")
        };
        Ok(!folders.is_empty() || others.iter().any(has_labels))
    }
}

impl From<OsString> for DataSource {
    fn from(text: OsString) -> DataSource {
        if text == DIGITS { DataSource::Digits } else { DataSource::Path(text.into()) }
    }
}

impl FromStr for DataSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<DataSource, Infallible> {
        Ok(DataSource::from(OsString::from(text)))
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataSource::Digits => f.write_str(DIGITS),
            DataSource::Path(path) if path == Path::new(DIGITS) => write!(f, "./{DIGITS}"),
            DataSource::Path(path) => path.display().fmt(f),
        }
    }
}

impl Serialize for DataSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            DataSource::Path(path) if path.to_str().is_none() => {
                Err(S::Error::custom(format!("the path {} is not UTF-8 and cannot be written down", path.display())))
            }
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for DataSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DataSource, D::Error> {
        String::deserialize(deserializer).map(|text| DataSource::from(OsString::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_the_same_source() {
        for source in [DataSource::Digits, DataSource::Path("a/b c".into()), DataSource::Path("./digits".into())] {
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<DataSource>(&json).unwrap(), source);
            assert_eq!(source.to_string().parse::<DataSource>().unwrap(), source);
        }
        assert_eq!(DataSource::Path("digits".into()).to_string(), "./digits");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf8_is_not_written_down_wrongly() {
        use std::os::unix::ffi::OsStringExt;
        let source = DataSource::from(OsString::from_vec(vec![b'a', 0xff]));
        assert!(serde_json::to_string(&source).unwrap_err().to_string().contains("not UTF-8"));
    }
}
