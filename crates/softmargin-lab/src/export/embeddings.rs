//! Embeddings as files for other programs: NumPy, safetensors, or a folder that `--data` takes.

use crate::run::atomic_write;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use softmargin_data::error::Error;
use softmargin_data::npy_writer;
use std::path::{Path, PathBuf};

const EMBEDDINGS: &str = "embeddings.npy";
const LABELS: &str = "labels.npy";
const NAMES: &str = "names.json";

/// The embeddings of a part of a data set.
pub(crate) struct EmbeddedPart {
    /// The name of the part.
    pub(crate) part: &'static str,
    /// (N, D): the embeddings, row by row.
    pub(crate) values: Vec<f32>,
    /// (N): the names of the samples.
    pub(crate) names: Vec<String>,
    /// (N): the class of each sample, if it is known.
    pub(crate) labels: Option<Vec<String>>,
}

impl EmbeddedPart {
    /// Joins all parts.
    fn joined(parts: &[Self]) -> Self {
        Self {
            part: "all",
            values: parts.iter().flat_map(|part| &part.values).copied().collect(),
            names: parts.iter().flat_map(|part| part.names.clone()).collect(),
            labels: parts.iter().map(|part| part.labels.clone()).collect::<Option<Vec<_>>>().map(|all| all.concat()),
        }
    }
}

/// The format of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbeddingFormat {
    /// A `.npy` file; the names, and the labels if they are known, in files beside it.
    Npy,
    /// One `.safetensors` file.
    Safetensors,
    /// A folder that `--data` takes.
    Folder,
}

/// The metadata of a `.safetensors` file, as JSON.
#[derive(Serialize)]
struct RowMetadata<'a> {
    names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [&'a str]>,
}

impl EmbeddingFormat {
    /// Returns the format that the end of a path selects.
    ///
    /// # Errors
    /// If the path ends as a file of another format does.
    pub(crate) fn of(out: &Path) -> Result<Self, Error> {
        let end = out.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        match end.as_str() {
            "npy" => Ok(Self::Npy),
            "safetensors" => Ok(Self::Safetensors),
            _ if is_folder_name(out, &end) => Ok(Self::Folder),
            _ => {
                let expected = "a path that ends in .npy or .safetensors, or a folder";
                let advice = "other formats are not written; a folder with such a name is given with / at its end";
                Err(Error::request("--out", expected, out.display(), advice))
            }
        }
    }

    /// Returns the paths of all files that may be written.
    pub(crate) fn paths(self, out: &Path) -> Vec<PathBuf> {
        match self {
            Self::Npy => [EMBEDDINGS, LABELS, NAMES].map(|name| beside(out, name)).to_vec(),
            Self::Safetensors | Self::Folder => vec![out.to_owned()],
        }
    }

    /// Writes parts of embeddings of dimension `size`, and returns the paths of the files.
    ///
    /// # Errors
    /// If a file cannot be written or exists. Then nothing is left behind.
    pub(crate) fn write(self, out: &Path, parts: &[EmbeddedPart], size: usize) -> Result<Vec<PathBuf>, Error> {
        match self {
            Self::Npy => {
                let files = arrays(&EmbeddedPart::joined(parts), size, "")?;
                let paths: Vec<PathBuf> = files.iter().map(|(name, _)| beside(out, name)).collect();
                // The array is written last: if it exists, all files do. If one fails, those before it are removed.
                for (number, (path, (_, content))) in paths.iter().zip(&files).enumerate().rev() {
                    if let Err(error) = atomic_write::write_file(path, content) {
                        paths[number + 1..].iter().for_each(|path| drop(std::fs::remove_file(path)));
                        return Err(error);
                    }
                }
                Ok(paths)
            }
            Self::Safetensors => {
                atomic_write::write_file(out, &tensors(&EmbeddedPart::joined(parts), size)?)?;
                Ok(vec![out.to_owned()])
            }
            Self::Folder => {
                let prefix = |part: &str| if parts.len() > 1 { format!("{part}-") } else { String::new() };
                let files = parts.iter().map(|part| arrays(part, size, &prefix(part.part)));
                let files = files.collect::<Result<Vec<_>, _>>()?.concat();
                atomic_write::write_folder(out, &files)?;
                Ok(files.iter().map(|(name, _)| out.join(name)).collect())
            }
        }
    }
}

/// Returns true if a path names a folder: it ends with a separator, or has no ending that begins with a letter (as
/// `embedded-0.5`).
fn is_folder_name(out: &Path, end: &str) -> bool {
    out.to_string_lossy().ends_with(std::path::is_separator) || !end.starts_with(|first: char| first.is_alphabetic())
}

/// Returns the names and contents of the files; the embeddings come first.
fn arrays(part: &EmbeddedPart, size: usize, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut files = vec![(format!("{prefix}{EMBEDDINGS}"), npy_writer::matrix(&part.values, size)?)];
    if let Some(labels) = &part.labels {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        files.push((format!("{prefix}{LABELS}"), npy_writer::texts(&labels)?));
    }
    files.push((format!("{prefix}{NAMES}"), json(&part.names)?.into_bytes()));
    Ok(files)
}

/// Returns the paths without a folder: `x.npy`, `x.labels.npy`, `x.names.json`.
fn beside(out: &Path, name: &str) -> PathBuf {
    if name == EMBEDDINGS { out.to_owned() } else { out.with_extension(name) }
}

fn tensors(part: &EmbeddedPart, size: usize) -> Result<Vec<u8>, Error> {
    let not_writable = |cause: &dyn std::fmt::Display| Error::failure("embeddings", "a file of tensors", cause, "");
    let values: Vec<u8> = part.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![part.names.len(), size];
    let tensor = TensorView::new(Dtype::F32, shape, &values).map_err(|cause| not_writable(&cause))?;
    let mut classes: Vec<&str> = part.labels.iter().flatten().map(String::as_str).collect();
    classes.sort_unstable();
    classes.dedup();
    let index = |name: &String| classes.binary_search(&name.as_str()).unwrap_or_default() as i64;
    let labels: Vec<u8> = part.labels.iter().flatten().flat_map(|name| index(name).to_le_bytes()).collect();
    let mut tensors = vec![("embeddings", tensor)];
    if part.labels.is_some() {
        let view = TensorView::new(Dtype::I64, vec![part.names.len()], &labels);
        tensors.push(("labels", view.map_err(|cause| not_writable(&cause))?));
    }
    let classes = part.labels.is_some().then_some(classes.as_slice());
    // Only one entry, since several would be written in the order of a hash table.
    let rows = [("rows".to_owned(), json(&RowMetadata { names: &part.names, classes })?)];
    safetensors::serialize(tensors, Some(rows.into())).map_err(|cause| not_writable(&cause))
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|cause| Error::failure("names", "text that JSON can represent", cause, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: &'static str, first: f32, labels: Option<[&str; 2]>) -> EmbeddedPart {
        EmbeddedPart {
            part,
            values: vec![first, 1.0, 2.0, 3.0],
            names: vec!["a/1.png".into(), "b/2.png".into()],
            labels: labels.map(|labels| labels.map(String::from).to_vec()),
        }
    }

    #[test]
    fn a_folder_has_a_pair_for_each_part_and_one_part_needs_no_prefix() {
        let home = tempfile::tempdir().unwrap();
        let parts = [part("train", 0.0, Some(["a", "b"])), part("test", 1.0, Some(["b", "a"]))];
        let names = |out: &Path, parts: &[EmbeddedPart]| {
            let files = EmbeddingFormat::of(out).unwrap().write(out, parts, 2).unwrap();
            files.iter().map(|file| file.strip_prefix(home.path()).unwrap().display().to_string()).collect::<Vec<_>>()
        };
        let two = names(&home.path().join("two"), &parts);
        assert_eq!(two[..3], ["two/train-embeddings.npy", "two/train-labels.npy", "two/train-names.json"]);
        assert_eq!(two[3], "two/test-embeddings.npy");
        let one = names(&home.path().join("one"), &parts[..1]);
        assert_eq!(one, ["one/embeddings.npy", "one/labels.npy", "one/names.json"]);
        let files = names(&home.path().join("x.npy"), &parts);
        assert_eq!(files, ["x.npy", "x.labels.npy", "x.names.json"]);
        let json = std::fs::read_to_string(home.path().join("x.names.json")).unwrap();
        assert_eq!(json, r#"["a/1.png","b/2.png","a/1.png","b/2.png"]"#);
    }

    #[test]
    fn a_format_that_is_not_written_is_no_name_of_a_folder() {
        let of = |out: &str| EmbeddingFormat::of(Path::new(out));
        for out in ["m.parquet", "m.csv", "a.b/m.h5", "m.npz", "m.NPZ"] {
            let message = of(out).unwrap_err().to_string();
            assert!(message.contains(".npy or .safetensors") && message.contains(out), "{message}");
        }
        for out in ["m", "m/", "m.d/", "embedded-0.5", "a.b/m", ".m"] {
            assert_eq!(of(out).unwrap(), EmbeddingFormat::Folder, "{out}");
        }
        assert_eq!(
            [of("m.NPY").unwrap(), of("m.safetensors").unwrap()],
            [EmbeddingFormat::Npy, EmbeddingFormat::Safetensors]
        );
    }

    #[test]
    fn tensors_have_labels_names_and_classes_and_are_written_deterministically() {
        let joined = EmbeddedPart::joined(&[part("test", 5.0, Some(["z", "a"]))]);
        let bytes = tensors(&joined, 2).unwrap();
        assert_eq!(bytes, tensors(&joined, 2).unwrap());
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let rows = &metadata.metadata().as_ref().unwrap()["rows"];
        assert_eq!(rows, r#"{"names":["a/1.png","b/2.png"],"classes":["a","z"]}"#);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("embeddings").unwrap().shape(), [2, 2]);
        assert_eq!(file.tensor("embeddings").unwrap().data()[..4], 5.0_f32.to_le_bytes());
        assert_eq!(file.tensor("labels").unwrap().data(), [1_i64.to_le_bytes(), 0_i64.to_le_bytes()].concat());
        let bytes = tensors(&part("all", 0.0, None), 2).unwrap();
        assert!(safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor("labels").is_err());
    }
}
