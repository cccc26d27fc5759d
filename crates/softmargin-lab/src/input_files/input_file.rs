//! A file of samples, and the origin of each sample in it.

use softmargin_data::error::Error;
use std::fmt;
use std::path::PathBuf;

/// A file, or a folder of files, with samples.
#[derive(Clone, Debug, PartialEq)]
pub enum InputFile {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// A name and the content of a file without a path.
    Content(String, Vec<u8>),
}

/// A file that could not be read.
#[derive(Debug)]
pub struct UnreadableFile {
    /// The path or the name.
    pub file: String,
    /// The reason.
    pub error: Error,
}

/// The file and row of a sample; as text its name, or else `file` or `file[row]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampleOrigin {
    pub(crate) file: String,
    /// The row of an array.
    pub(crate) row: Option<usize>,
    /// The name of the row in the file of names beside the array.
    pub(crate) name: Option<String>,
}

impl fmt::Display for SampleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.row) {
            (Some(name), _) => f.write_str(name),
            (None, Some(row)) => write!(f, "{}[{row}]", self.file),
            (None, None) => f.write_str(&self.file),
        }
    }
}
