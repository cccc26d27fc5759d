//! Embeddings that the model of a run directory makes, written down for other programs.

use crate::data::{DataSource, LabeledSamples};
use crate::device::DeviceChoice;
use crate::error::Error;
use crate::inputs::{Failure, Source, Sources};
use crate::model::Model;
use crate::npy_writer;
use crate::predictor::Predictor;
use crate::run_data::{NewClasses, Part, RunData};
use crate::run_dir::Run;
use crate::whole;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use std::path::{Path, PathBuf};

const EMBEDDINGS: &str = "embeddings.npy";
const LABELS: &str = "labels.npy";
const NAMES: &str = "names.json";

/// What is to be embedded.
#[derive(Clone, Debug)]
pub struct EmbedRequest<'a> {
    /// The run directory.
    pub run: &'a Path,
    /// Data with classes, or images or arrays without.
    pub data: &'a DataSource,
    /// Which samples of data with classes. `None`: all.
    pub part: Option<Part>,
    /// Ends in `.npy` or `.safetensors`, or becomes a folder.
    pub out: &'a Path,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What was written: what `embed --json` prints.
#[derive(Debug, Serialize)]
pub struct Embedded {
    /// The file or the folder.
    pub out: PathBuf,
    /// Embeddings.
    pub samples: usize,
    /// Numbers in each.
    pub size: usize,
    /// All files that were written.
    pub files: Vec<PathBuf>,
    /// The sources that could not be read.
    #[serde(skip)]
    pub failures: Vec<Failure>,
    /// What the user should know of the data.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Embeds samples and writes them; `watch` is told how many samples are done, and how many there are.
///
/// # Errors
/// On a run directory or data that cannot be read, a path that exists, and a folder for samples whose classes are not
/// known. Then nothing is left behind.
pub fn embed(request: &EmbedRequest, watch: impl Fn(usize, usize) + 'static) -> Result<Embedded, Error> {
    let layout = Layout::of(request.out);
    layout.places(request.out).iter().try_for_each(|path| whole::check_place(path))?;
    let device = request.device.open()?;
    let run = Run::read(request.run)?;
    let labeled = request.data.has_classes()?;
    check_classes(request, layout, labeled)?;
    let model = Model::load(&run, &device)?;
    let size = run.config.network.embedding();
    let gathered = if labeled {
        let data = RunData::load(&run, Some(request.data), NewClasses::Added)?;
        let predictor = Predictor::new(model, run.config, device);
        Gathered::labeled(&data, request.part.unwrap_or(Part::All), predictor, watch)?
    } else {
        Gathered::unlabeled(request.data, &Predictor::new(model, run.config, device), watch)?
    };
    let files = layout.write(request.out, &gathered.parts, size)?;
    let samples = gathered.parts.iter().map(|part| part.names.len()).sum();
    let Gathered { failures, notes, .. } = gathered;
    Ok(Embedded { out: request.out.to_owned(), samples, size, files, failures, notes })
}

fn check_classes(request: &EmbedRequest, layout: Layout, labeled: bool) -> Result<(), Error> {
    if labeled {
        return Ok(());
    }
    if let Some(part) = request.part {
        let advice = "leave out --part: all samples are embedded";
        return Err(Error::request("--part", "data with classes", part.name(), advice));
    }
    if layout == Layout::Folder {
        let advice = "give a path that ends in .npy or .safetensors, or data with one folder a class";
        return Err(Error::request("--out", "data with classes for a folder", request.out.display(), advice));
    }
    Ok(())
}

/// Embeddings of a part of the data.
struct EmbeddedPart {
    part: Part,
    values: Vec<f32>,
    names: Vec<String>,
    /// The class of each, where it is known.
    labels: Option<Vec<String>>,
}

struct Gathered {
    parts: Vec<EmbeddedPart>,
    failures: Vec<Failure>,
    notes: Vec<String>,
}

impl Gathered {
    fn labeled(
        data: &RunData,
        part: Part,
        predictor: Predictor,
        watch: impl Fn(usize, usize) + 'static,
    ) -> Result<Self, Error> {
        let chosen = data.part(part)?;
        let all: usize = chosen.iter().map(|(_, samples)| samples.len()).sum();
        let watch = std::rc::Rc::new(watch);
        let mut before = 0;
        let mut predictor = predictor;
        let mut parts = Vec::new();
        for (part, samples) in chosen {
            let watch = std::rc::Rc::clone(&watch);
            predictor = predictor.watched(move |done, _| watch(before + done, all));
            parts.push(EmbeddedPart::of(part, samples, &predictor, &data.classes)?);
            before += samples.len();
        }
        Ok(Self { parts, failures: Vec::new(), notes: data.notes.clone() })
    }

    fn unlabeled(data: &DataSource, predictor: &Predictor, watch: impl Fn(usize, usize)) -> Result<Self, Error> {
        let input = predictor.config().input;
        let sources = Sources::expand(&[Source::Path(data.to_string().into())], &input)?;
        let mut part = EmbeddedPart { part: Part::All, values: Vec::new(), names: Vec::new(), labels: None };
        let failures = sources.each_piece(&input, predictor.samples_at_once(), watch, |origins, samples| {
            part.values.extend(predictor.embeddings(samples)?);
            part.names.extend(origins.iter().map(ToString::to_string));
            Ok(())
        })?;
        Ok(Self { parts: vec![part], failures, notes: sources.notes })
    }
}

impl EmbeddedPart {
    fn of(part: Part, samples: &LabeledSamples, predictor: &Predictor, classes: &[String]) -> Result<Self, Error> {
        Ok(Self {
            part,
            values: predictor.embeddings(samples.samples())?,
            names: (0..samples.len()).map(|row| samples.samples().name(row)).collect(),
            labels: Some(samples.labels().iter().map(|&label| classes[label as usize].clone()).collect()),
        })
    }

    /// All parts as one.
    fn joined(parts: &[Self]) -> Self {
        Self {
            part: Part::All,
            values: parts.iter().flat_map(|part| &part.values).copied().collect(),
            names: parts.iter().flat_map(|part| part.names.clone()).collect(),
            labels: parts.iter().map(|part| part.labels.clone()).collect::<Option<Vec<_>>>().map(|all| all.concat()),
        }
    }
}

/// How embeddings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// A `.npy` file, with the names beside it, and the labels where there are some.
    Npy,
    /// A `.safetensors` file with everything in it.
    Safetensors,
    /// A folder that `--data` takes.
    Folder,
}

/// What the file `.safetensors` says of its rows, as JSON.
#[derive(Serialize)]
struct Rows<'a> {
    names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [&'a str]>,
}

impl Layout {
    fn of(out: &Path) -> Self {
        match out.extension().and_then(|end| end.to_str()) {
            Some("npy") => Self::Npy,
            Some("safetensors") => Self::Safetensors,
            _ => Self::Folder,
        }
    }

    /// What may come to be where.
    fn places(self, out: &Path) -> Vec<PathBuf> {
        match self {
            Self::Npy => [EMBEDDINGS, LABELS, NAMES].map(|name| beside(out, name)).to_vec(),
            Self::Safetensors | Self::Folder => vec![out.to_owned()],
        }
    }

    fn write(self, out: &Path, parts: &[EmbeddedPart], size: usize) -> Result<Vec<PathBuf>, Error> {
        match self {
            Self::Npy => {
                let files = arrays(&EmbeddedPart::joined(parts), size, "")?;
                let paths: Vec<PathBuf> = files.iter().map(|(name, _)| beside(out, name)).collect();
                // The array comes last: when it is there, all is. If one fails, those written before it go.
                for (number, (path, (_, content))) in paths.iter().zip(&files).enumerate().rev() {
                    if let Err(error) = whole::write_file(path, content) {
                        paths[number + 1..].iter().for_each(|path| drop(std::fs::remove_file(path)));
                        return Err(error);
                    }
                }
                Ok(paths)
            }
            Self::Safetensors => {
                whole::write_file(out, &tensors(&EmbeddedPart::joined(parts), size)?)?;
                Ok(vec![out.to_owned()])
            }
            Self::Folder => {
                let prefix = |part: Part| if parts.len() > 1 { format!("{}-", part.name()) } else { String::new() };
                let files = parts.iter().map(|part| arrays(part, size, &prefix(part.part)));
                let files = files.collect::<Result<Vec<_>, _>>()?.concat();
                whole::write_folder(out, &files)?;
                Ok(files.iter().map(|(name, _)| out.join(name)).collect())
            }
        }
    }
}

/// The files of a folder, or those beside a `.npy` file: the embeddings first.
fn arrays(part: &EmbeddedPart, size: usize, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut files = vec![(format!("{prefix}{EMBEDDINGS}"), npy_writer::matrix(&part.values, size)?)];
    if let Some(labels) = &part.labels {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        files.push((format!("{prefix}{LABELS}"), npy_writer::texts(&labels)?));
    }
    files.push((format!("{prefix}{NAMES}"), json(&part.names)?.into_bytes()));
    Ok(files)
}

/// Where a file of a folder goes if there is no folder: `x.npy`, `x.labels.npy`, `x.names.json`.
fn beside(out: &Path, name: &str) -> PathBuf {
    if name == EMBEDDINGS { out.to_owned() } else { out.with_extension(name) }
}

fn tensors(part: &EmbeddedPart, size: usize) -> Result<Vec<u8>, Error> {
    let unwritable = |cause: &dyn std::fmt::Display| Error::failure("embeddings", "a file of tensors", cause, "");
    let values: Vec<u8> = part.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![part.names.len(), size];
    let tensor = TensorView::new(Dtype::F32, shape, &values).map_err(|cause| unwritable(&cause))?;
    let mut classes: Vec<&str> = part.labels.iter().flatten().map(String::as_str).collect();
    classes.sort_unstable();
    classes.dedup();
    let number = |name: &String| classes.binary_search(&name.as_str()).unwrap_or_default() as i64;
    let labels: Vec<u8> = part.labels.iter().flatten().flat_map(|name| number(name).to_le_bytes()).collect();
    let mut tensors = vec![("embeddings", tensor)];
    if part.labels.is_some() {
        let view = TensorView::new(Dtype::I64, vec![part.names.len()], &labels);
        tensors.push(("labels", view.map_err(|cause| unwritable(&cause))?));
    }
    let classes = part.labels.is_some().then_some(classes.as_slice());
    // One entry: several would be written in the order of a hash table.
    let rows = [("rows".to_owned(), json(&Rows { names: &part.names, classes })?)];
    safetensors::serialize(tensors, Some(rows.into())).map_err(|cause| unwritable(&cause))
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|cause| Error::failure("names", "text that JSON can hold", cause, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: Part, first: f32, labels: Option<[&str; 2]>) -> EmbeddedPart {
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
        let parts = [part(Part::Train, 0.0, Some(["a", "b"])), part(Part::Test, 1.0, Some(["b", "a"]))];
        let names = |out: &Path, parts: &[EmbeddedPart]| {
            let files = Layout::of(out).write(out, parts, 2).unwrap();
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
    fn tensors_have_labels_names_and_classes_and_are_the_same_bytes_every_time() {
        let joined = EmbeddedPart::joined(&[part(Part::Test, 5.0, Some(["z", "a"]))]);
        let bytes = tensors(&joined, 2).unwrap();
        assert_eq!(bytes, tensors(&joined, 2).unwrap());
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let rows = &metadata.metadata().as_ref().unwrap()["rows"];
        assert_eq!(rows, r#"{"names":["a/1.png","b/2.png"],"classes":["a","z"]}"#);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("embeddings").unwrap().shape(), [2, 2]);
        assert_eq!(file.tensor("embeddings").unwrap().data()[..4], 5.0_f32.to_le_bytes());
        assert_eq!(file.tensor("labels").unwrap().data(), [1_i64.to_le_bytes(), 0_i64.to_le_bytes()].concat());
        let bytes = tensors(&part(Part::All, 0.0, None), 2).unwrap();
        assert!(safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor("labels").is_err());
    }
}
