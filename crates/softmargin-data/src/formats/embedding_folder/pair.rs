//! A file of embeddings with its labels and names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::Classes;
use super::npy_embeddings::NpyEmbeddings;
use crate::error::Error;
use crate::in_memory::EmbeddingsInMemory;
use crate::labeled_samples::LabeledSamples;
use crate::npy::{Labels, NpyArray, NpyRows};
use crate::sample_names::{SampleNames, read_row_names};
use crate::samples::Samples;
use crate::wording::counted;

/// The file name of embeddings, after a prefix.
pub(super) const EMBEDDINGS: &str = "embeddings.npy";
const LABELS: &str = "labels.npy";
const NAMES: &str = "names.json";
/// Largest embedding dimension.
const MAX_SIZE: usize = 1 << 16;
/// Values that are checked at a time.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// A file of embeddings and the files beside it.
#[derive(Debug)]
pub(super) struct Pair {
    /// The word in the names of its rows.
    name: &'static str,
    embeddings: PathBuf,
    labels: PathBuf,
    names: PathBuf,
}

impl Pair {
    /// Finds the files that begin with `prefix`, if there are any.
    pub(super) fn find(folder: &Path, prefix: &str, name: &'static str) -> Result<Option<Pair>, Error> {
        let path = |file: &str| folder.join(format!("{prefix}{file}"));
        let (embeddings, labels) = (path(EMBEDDINGS), path(LABELS));
        let (missing, there) = match (embeddings.is_file(), labels.is_file()) {
            (true, true) => return Ok(Some(Pair { name, embeddings, labels, names: path(NAMES) })),
            (false, false) => return Ok(None),
            (true, false) => (&labels, EMBEDDINGS),
            (false, true) => (&embeddings, LABELS),
        };
        let expected = format!("a file beside {prefix}{there}");
        Err(Error::request(missing.display(), expected, "none", "save both with numpy.save"))
    }

    /// Opens the embeddings and reads labels and names.
    pub(super) fn open(&self) -> Result<OpenPair, Error> {
        let rows = NpyRows::open(&self.embeddings)?;
        let [count, size] = rows.shape();
        if count == 0 || !(1..=MAX_SIZE).contains(&size) {
            let expected = format!("one row or more, of 1 to {MAX_SIZE} values");
            let found = format!("the shape [{count}, {size}]");
            return Err(Error::failure(self.embeddings.display(), expected, found, ""));
        }
        let labels = NpyArray::read(&self.labels)?.into_labels()?;
        self.check_count(&self.labels, "labels", count, labels.len())?;
        let names = self.read_names(count)?;
        Ok(OpenPair {
            part: self.name,
            path: self.embeddings.clone(),
            labels_path: self.labels.clone(),
            rows,
            labels,
            names,
        })
    }

    /// Does the same as [`open`](Pair::open), beside the training pair: both must have one embedding dimension.
    pub(super) fn open_beside(&self, train: &OpenPair) -> Result<OpenPair, Error> {
        let open = self.open()?;
        let (expected, size) = (train.size(), open.size());
        if size != expected {
            let expected = format!("rows of {expected} values as in {}", train.path.display());
            return Err(Error::failure(open.path.display(), expected, size, "make both with one model"));
        }
        Ok(open)
    }

    /// Returns the names of the rows: from the file of names, if there is one, otherwise their numbers.
    fn read_names(&self, count: usize) -> Result<SampleNames, Error> {
        if !self.names.is_file() {
            return Ok(SampleNames::Numbered(self.name));
        }
        let names = read_row_names(&self.names, &self.embeddings, count)?;
        Ok(SampleNames::Listed(names))
    }

    fn check_count(&self, path: &Path, what: &str, expected: usize, found: usize) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        let expected = format!("{expected} {what}, one for each row of {}", self.embeddings.display());
        Err(Error::failure(path.display(), expected, found, "save both from one data set"))
    }
}

/// Bytes of all embeddings, and those that they may take in memory.
#[derive(Clone, Copy)]
pub(super) struct MemoryUse {
    pub(super) all: u64,
    pub(super) limit: u64,
}

/// A pair of files whose embeddings are not read yet.
pub(super) struct OpenPair {
    part: &'static str,
    path: PathBuf,
    pub(super) labels_path: PathBuf,
    rows: NpyRows,
    pub(super) labels: Labels,
    names: SampleNames,
}

impl OpenPair {
    /// Returns the number of embeddings.
    pub(super) fn count(&self) -> usize {
        self.rows.shape()[0]
    }

    /// Returns the embedding dimension.
    pub(super) fn size(&self) -> usize {
        self.rows.shape()[1]
    }

    /// Returns the number of bytes that the embeddings take in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.rows.shape().iter().fold(size_of::<f32>() as u64, |bytes, &side| bytes.saturating_mul(side as u64))
    }

    /// Returns the samples of a validation or test set.
    pub(super) fn labeled(
        self,
        classes: &Classes,
        memory: MemoryUse,
        notes: &mut Vec<String>,
    ) -> Result<LabeledSamples, Error> {
        let (part, labels) = (self.part, classes.indices(&self.labels, &self.labels_path)?);
        let samples = LabeledSamples::new(self.into_samples(memory)?, labels)?;
        let without = samples.class_counts(classes.count()).iter().filter(|&&count| count == 0).count();
        if without > 0 {
            notes.push(format!("{} without an embedding in the {part} set", counted(without, "class")));
        }
        Ok(samples)
    }

    /// Returns the embeddings, every one of them checked, in memory if they fit there.
    pub(super) fn into_samples(self, memory: MemoryUse) -> Result<Samples, Error> {
        let size = self.size();
        if memory.all <= memory.limit {
            let values = NpyArray::read(&self.path)?.into_f32()?;
            check(&self.path, 0, &values, size)?;
            return Samples::new(Arc::new(EmbeddingsInMemory::new(values, size, self.names)?));
        }
        if self.rows.is_by_rows() {
            self.check_by_rows()?;
            return Samples::new(Arc::new(NpyEmbeddings::new(self.rows, self.names)));
        }
        let expected = format!("at most {} bytes of embeddings by columns, which fit in memory", memory.limit);
        let advice = "save them by rows, with numpy.ascontiguousarray: then they are read in parts";
        Err(Error::request(self.path.display(), expected, format!("{} bytes", memory.all), advice))
    }

    fn check_by_rows(&self) -> Result<(), Error> {
        let [count, size] = self.rows.shape();
        let at_once = (CHECKED_AT_ONCE / size).max(1);
        for first in (0..count).step_by(at_once) {
            let mut values = vec![0.0; at_once.min(count - first) * size];
            self.rows.read(first, &mut values)?;
            check(&self.path, first, &values, size)?;
        }
        Ok(())
    }
}

/// Rejects values that are not finite, and embeddings without a direction.
fn check(path: &Path, first: usize, values: &[f32], size: usize) -> Result<(), Error> {
    for (row, embedding) in (first..).zip(values.chunks_exact(size)) {
        if let Some(column) = embedding.iter().position(|value| !value.is_finite()) {
            let found = format!("{} in row {row}, column {column}", embedding[column]);
            let advice = "leave the row out, or make the embedding again";
            return Err(Error::failure(path.display(), "finite values of single precision", found, advice));
        }
        if embedding.iter().all(|&value| value == 0.0) {
            let found = format!("zeros only in row {row}");
            let advice = "leave the row out: it has no direction";
            return Err(Error::failure(path.display(), "embeddings that are not zero", found, advice));
        }
    }
    Ok(())
}
