//! The command `embed`: embeddings of samples, written for other programs.

use super::matched_dataset::{MatchedDataset, NewClasses, Part};
use super::saved_model::predictor;
use crate::device::DeviceChoice;
use crate::export::{EmbeddedPart, EmbeddingFormat};
use crate::input_files::{InputFile, InputFiles, UnreadableFile};
use crate::predictor::{Predictor, Progress};
use crate::run::{Run, atomic_write};
use serde::Serialize;
use softmargin_data::error::Error;
use softmargin_data::{DataSource, LabeledSamples};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The samples to embed, and the destination.
#[derive(Clone, Debug)]
pub struct EmbedRequest<'a> {
    /// The run directory.
    pub run: &'a Path,
    /// Data with classes, or images or arrays without.
    pub data: &'a DataSource,
    /// The part of data with classes; all by default.
    pub part: Option<Part>,
    /// A path that ends in `.npy` or `.safetensors`, or the path of a new folder.
    pub out: &'a Path,
    /// The device to compute on.
    pub device: DeviceChoice,
}

/// The written embeddings: the output of `embed --json`.
#[derive(Debug, Serialize)]
pub struct EmbedSummary {
    /// The file or the folder.
    pub out: PathBuf,
    /// The number of embeddings.
    pub samples: usize,
    /// The embedding dimension.
    pub size: usize,
    /// All files.
    pub files: Vec<PathBuf>,
    /// The files that could not be read.
    #[serde(skip)]
    pub failures: Vec<UnreadableFile>,
    /// Remarks on the data.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Embeds samples and writes the embeddings. `progress` is called with the number of completed samples and of all
/// samples.
///
/// # Errors
/// If the run directory or the data cannot be read, the path exists or has the ending of another format, or a folder is
/// requested for samples of unknown classes. Then nothing is left behind.
pub fn embed(request: &EmbedRequest, progress: Progress) -> Result<EmbedSummary, Error> {
    let format = EmbeddingFormat::of(request.out)?;
    format.paths(request.out).iter().try_for_each(|path| atomic_write::check_new_path(path))?;
    let device = request.device.open()?;
    let run = Run::read(request.run)?;
    let labeled = request.data.has_classes()?;
    check_classes(request, format, labeled)?;
    let data = labeled.then(|| MatchedDataset::load(&run, Some(request.data), NewClasses::Added)).transpose()?;
    let Run { config, model, checkpoint, .. } = run;
    let size = config.network.embedding();
    let predictor = predictor(config, model, &checkpoint, device)?;
    let gathered = match data {
        Some(data) => Gathered::labeled(&data, request.part.unwrap_or(Part::All), predictor, progress)?,
        None => Gathered::unlabeled(request.data, &predictor, &*progress)?,
    };
    let files = format.write(request.out, &gathered.parts, size)?;
    let samples = gathered.parts.iter().map(|part| part.names.len()).sum();
    let Gathered { failures, notes, .. } = gathered;
    Ok(EmbedSummary { out: request.out.to_owned(), samples, size, files, failures, notes })
}

fn check_classes(request: &EmbedRequest, format: EmbeddingFormat, labeled: bool) -> Result<(), Error> {
    if labeled {
        return Ok(());
    }
    if let Some(part) = request.part {
        let advice = "omit --part: all samples are embedded";
        return Err(Error::request("--part", "data with classes", part.name(), advice));
    }
    if format == EmbeddingFormat::Folder {
        let advice = "give a path that ends in .npy or .safetensors, or data with one folder per class";
        return Err(Error::request("--out", "data with classes for a folder", request.out.display(), advice));
    }
    Ok(())
}

/// The embeddings before they are written.
struct Gathered {
    parts: Vec<EmbeddedPart>,
    failures: Vec<UnreadableFile>,
    notes: Vec<String>,
}

impl Gathered {
    fn labeled(data: &MatchedDataset, part: Part, predictor: Predictor, progress: Progress) -> Result<Self, Error> {
        let chosen = data.part(part)?;
        let all: usize = chosen.iter().map(|(_, samples)| samples.len()).sum();
        let mut before = 0;
        let mut predictor = predictor;
        let mut parts = Vec::new();
        for (part, samples) in chosen {
            let progress = Rc::clone(&progress);
            predictor = predictor.with_progress(Rc::new(move |done, _| progress(before + done, all)));
            parts.push(embedded(part, samples, &predictor, &data.classes)?);
            before += samples.len();
        }
        Ok(Self { parts, failures: Vec::new(), notes: data.notes.clone() })
    }

    fn unlabeled(data: &DataSource, predictor: &Predictor, progress: &dyn Fn(usize, usize)) -> Result<Self, Error> {
        let input = predictor.config().input;
        let mut files = InputFiles::expand(&[InputFile::Path(data.to_string().into())], &input)?;
        let mut part = EmbeddedPart { part: Part::All.name(), values: Vec::new(), names: Vec::new(), labels: None };
        let failures = files.for_each_chunk(&input, predictor.batch_size(), progress, &mut |origins, samples| {
            part.values.extend(predictor.embeddings(samples)?);
            part.names.extend(origins.iter().map(ToString::to_string));
            Ok(())
        })?;
        Ok(Self { parts: vec![part], failures, notes: files.notes })
    }
}

fn embedded(
    part: Part,
    samples: &LabeledSamples,
    predictor: &Predictor,
    classes: &[String],
) -> Result<EmbeddedPart, Error> {
    Ok(EmbeddedPart {
        part: part.name(),
        values: predictor.embeddings(samples.samples())?,
        names: (0..samples.len()).map(|row| samples.samples().name(row)).collect(),
        labels: Some(samples.labels().iter().map(|&label| classes[label as usize].clone()).collect()),
    })
}
