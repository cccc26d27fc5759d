//! Folders of embeddings: `embeddings.npy` (N, D) and `labels.npy` (N), or such pairs whose names begin with `train-`,
//! `validation-` and `test-`. A file `names.json` beside a pair has a list of names, one for each row.

use std::path::{Path, PathBuf};

use super::hold_out::HoldOut;
use super::npy::{Labels, NpyArray, NpyRows};
use super::samples::{LabeledSamples, Names, Samples, Store, Values};
use super::split::{Division, Undivided, counted};
use super::{Dataset, Input, LoadOptions, Sizing};
use crate::error::Error;

const EMBEDDINGS: &str = "embeddings.npy";
const LABELS: &str = "labels.npy";
const NAMES: &str = "names.json";
/// Most numbers in an embedding.
const MAX_SIZE: usize = 1 << 16;
/// Values that are checked at a time.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// The pairs of files of a folder.
#[derive(Debug)]
pub(super) struct EmbeddingFolder {
    folder: PathBuf,
    /// The pair that trains, and of which others are held out.
    train: Pair,
    validation: Option<Pair>,
    test: Option<Pair>,
}

#[derive(Debug)]
struct Pair {
    /// What its rows are called.
    name: &'static str,
    embeddings: PathBuf,
    labels: PathBuf,
    names: PathBuf,
}

impl EmbeddingFolder {
    /// The pairs, if the folder has one of their files.
    ///
    /// # Errors
    /// When one file of a pair is missing, or there is none to train with, or two.
    pub(super) fn find(folder: &Path) -> Result<Option<EmbeddingFolder>, Error> {
        let plain = Pair::find(folder, "", "embedding")?;
        let named = Pair::find(folder, "train-", "train")?;
        let validation = Pair::find(folder, "validation-", "validation")?;
        let test = Pair::find(folder, "test-", "test")?;
        let refuse = |found: &str| {
            let expected = format!("either {EMBEDDINGS} or train-{EMBEDDINGS}");
            Err(Error::request(folder.display(), expected, found, "keep the one that is to train"))
        };
        match (plain, named) {
            (Some(_), Some(_)) => refuse("both"),
            (None, None) if validation.is_some() || test.is_some() => refuse("neither"),
            (None, None) => Ok(None),
            (Some(train), None) | (None, Some(train)) => {
                Ok(Some(EmbeddingFolder { folder: folder.to_owned(), train, validation, test }))
            }
        }
    }

    pub(super) fn load(self, name: String, options: &LoadOptions) -> Result<Dataset, Error> {
        if options.sizing != Sizing::Automatic {
            let advice = "leave the image size out";
            return Err(Error::request(self.folder.display(), "images, which have a size", "embeddings", advice));
        }
        // Asked for no validation, the pair that would validate is left out.
        let wanted = options.validation_split != Some(HoldOut::None);
        let train = self.train.read()?;
        let read = |pair: Option<&Pair>| pair.map(|pair| pair.read_beside(&train)).transpose();
        let (validation, test) = (read(self.validation.as_ref().filter(|_| wanted))?, read(self.test.as_ref())?);
        let labels = Classes::of(&train)?.labels(&train)?;
        let division = Undivided {
            source: self.folder.display().to_string(),
            labels: &labels,
            own_test: test.as_ref().map(|_| format!("test-{EMBEDDINGS} tests")),
            own_validation: validation.as_ref().map(|_| format!("validation-{EMBEDDINGS} validates")),
            sample: "embedding",
            order: "the order of the rows",
        }
        .divide(options)?;
        build(name, division, labels, train, [validation, test], options)
    }
}

fn build(
    name: String,
    division: Division,
    labels: Vec<u32>,
    train: Rows,
    [validation, test]: [Option<Rows>; 2],
    options: &LoadOptions,
) -> Result<Dataset, Error> {
    let parts = || [Some(&train), validation.as_ref(), test.as_ref()].into_iter().flatten();
    let count: usize = parts().map(Rows::count).sum();
    let limits = Limits { all: parts().map(Rows::bytes).fold(0, u64::saturating_add), memory: options.memory() };
    let (size, classes) = (train.rows.shape()[1], Classes::of(&train)?);
    let mut notes = division.notes.clone();
    let mut beside = |rows: Option<Rows>| rows.map(|rows| rows.labeled(&classes, limits, &mut notes)).transpose();
    let (validation, test) = (beside(validation)?, beside(test)?);
    let all = LabeledSamples::new(train.into_samples(limits)?, labels)?;
    notes.extend(all.samples().note_of_streaming());
    let (train, held_out, tests) = division.of(&all);
    Ok(Dataset {
        description: format!("{count} embeddings of {size} numbers, {}", counted(classes.count(), "class")),
        name,
        split: division.sentence,
        classes: classes.names(),
        train,
        validation: validation.or(held_out),
        test: test.unwrap_or(tests),
        input: Input::Embeddings { size },
        notes,
    })
}

impl Pair {
    fn find(folder: &Path, prefix: &str, name: &'static str) -> Result<Option<Pair>, Error> {
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

    fn read(&self) -> Result<Rows, Error> {
        let rows = NpyRows::open(&self.embeddings)?;
        let [count, size] = rows.shape();
        if count == 0 || !(1..=MAX_SIZE).contains(&size) {
            let expected = format!("one row or more, of 1 to {MAX_SIZE} numbers");
            let found = format!("the shape [{count}, {size}]");
            return Err(Error::failure(self.embeddings.display(), expected, found, ""));
        }
        let labels = NpyArray::read(&self.labels)?.into_labels()?;
        let labeled = match &labels {
            Labels::Numbers(numbers) => numbers.len(),
            Labels::Names(names) => names.len(),
        };
        self.check_count(&self.labels, "labels", count, labeled)?;
        let names = self.read_names(count)?;
        Ok(Rows {
            part: self.name,
            path: self.embeddings.clone(),
            labels_path: self.labels.clone(),
            rows,
            labels,
            names,
        })
    }

    /// Beside another pair of the same data.
    fn read_beside(&self, train: &Rows) -> Result<Rows, Error> {
        let rows = self.read()?;
        let (expected, [_, size]) = (train.rows.shape()[1], rows.rows.shape());
        if size != expected {
            let expected = format!("rows of {expected} numbers as in {}", train.path.display());
            return Err(Error::failure(rows.path.display(), expected, size, "make both with one model"));
        }
        Ok(rows)
    }

    /// What the rows are called: by the file of names, if there is one, otherwise by their numbers.
    fn read_names(&self, count: usize) -> Result<Names, Error> {
        if !self.names.is_file() {
            return Ok(Names::Numbered(self.name.to_owned()));
        }
        let unreadable = |cause| Error::io(&self.names, "a readable file of names", cause);
        let text = std::fs::read_to_string(&self.names).map_err(unreadable)?;
        let names: Vec<PathBuf> = serde_json::from_str(&text).map_err(|cause| {
            let expected = "a list of names in JSON, one for each embedding";
            Error::failure(self.names.display(), expected, &cause, "write it again, or remove it").with_source(cause)
        })?;
        self.check_count(&self.names, "names", count, names.len())?;
        Ok(Names::Files(names))
    }

    fn check_count(&self, path: &Path, what: &str, expected: usize, found: usize) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        let expected = format!("{expected} {what}, one for each row of {}", self.embeddings.display());
        Err(Error::failure(path.display(), expected, found, "save both from one data set"))
    }
}

/// Bytes of all embeddings in memory, and those that they may take.
#[derive(Clone, Copy)]
struct Limits {
    all: u64,
    memory: u64,
}

/// A pair of files, the embeddings not read yet.
struct Rows {
    part: &'static str,
    path: PathBuf,
    labels_path: PathBuf,
    rows: NpyRows,
    labels: Labels,
    names: Names,
}

impl Rows {
    fn count(&self) -> usize {
        self.rows.shape()[0]
    }

    /// Bytes of the embeddings in memory.
    fn bytes(&self) -> u64 {
        self.rows.shape().iter().fold(size_of::<f32>() as u64, |bytes, &side| bytes.saturating_mul(side as u64))
    }

    /// A part that validates or tests.
    fn labeled(self, classes: &Classes, limits: Limits, notes: &mut Vec<String>) -> Result<LabeledSamples, Error> {
        let (part, labels) = (self.part, classes.labels(&self)?);
        let samples = LabeledSamples::new(self.into_samples(limits)?, labels)?;
        let without = samples.class_counts(classes.count()).iter().filter(|&&count| count == 0).count();
        if without > 0 {
            notes.push(format!("{} without an embedding in the {part} part", counted(without, "class")));
        }
        Ok(samples)
    }

    /// The embeddings, every one of them checked, in memory if they fit there.
    fn into_samples(self, limits: Limits) -> Result<Samples, Error> {
        let [count, size] = self.rows.shape();
        let values = if limits.all <= limits.memory {
            let values = NpyArray::read(&self.path)?.into_f32()?;
            check(&self.path, 0, &values, size)?;
            Values::Floats(values)
        } else if self.rows.is_by_rows() {
            self.check_by_rows()?;
            Values::Npy(self.rows)
        } else {
            let expected = format!("at most {} bytes of embeddings by columns, which fit in memory", limits.memory);
            let advice = "save them by rows, with numpy.ascontiguousarray: then they are read bit by bit";
            return Err(Error::request(self.path.display(), expected, format!("{} bytes", limits.all), advice));
        };
        Ok(Samples::all(Store { shape: [size, 1, 1], count, names: self.names, values }))
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

/// Refuses numbers that are none, and embeddings without a direction.
fn check(path: &Path, first: usize, values: &[f32], size: usize) -> Result<(), Error> {
    for (row, embedding) in (first..).zip(values.chunks_exact(size)) {
        if let Some(column) = embedding.iter().position(|value| !value.is_finite()) {
            let found = format!("{} in row {row}, column {column}", embedding[column]);
            let advice = "leave the row out, or make the embedding again";
            return Err(Error::failure(path.display(), "finite numbers of single precision", found, advice));
        }
        if embedding.iter().all(|&value| value == 0.0) {
            let found = format!("zeros only in row {row}");
            let advice = "leave the row out: it has no direction";
            return Err(Error::failure(path.display(), "embeddings that are not zero", found, advice));
        }
    }
    Ok(())
}

/// The classes that train, in the order of their numbers or names.
enum Classes {
    Numbers(Vec<u64>),
    Names(Vec<String>),
}

impl Classes {
    fn of(train: &Rows) -> Result<Classes, Error> {
        let classes = match &train.labels {
            Labels::Numbers(numbers) => Classes::Numbers(distinct(numbers)),
            Labels::Names(names) => Classes::Names(distinct(names)),
        };
        if classes.count() == 1 {
            let found = format!("one class, {}", classes.names().join(", "));
            let advice = "a classifier needs a choice";
            return Err(Error::failure(train.labels_path.display(), "two or more classes", found, advice));
        }
        Ok(classes)
    }

    fn count(&self) -> usize {
        match self {
            Classes::Numbers(numbers) => numbers.len(),
            Classes::Names(names) => names.len(),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Classes::Numbers(numbers) => numbers.iter().map(u64::to_string).collect(),
            Classes::Names(names) => names.clone(),
        }
    }

    /// The place of each label among the classes.
    fn labels(&self, part: &Rows) -> Result<Vec<u32>, Error> {
        let unknown = |found: String| {
            let expected = "labels of classes that train";
            Error::failure(part.labels_path.display(), expected, found, "take both from one data set")
        };
        match (self, &part.labels) {
            (Classes::Numbers(classes), Labels::Numbers(labels)) => places(classes, labels).map_err(unknown),
            (Classes::Names(classes), Labels::Names(labels)) => places(classes, labels).map_err(unknown),
            (Classes::Numbers(_), _) => Err(unknown("strings where those are numbers".to_owned())),
            (Classes::Names(_), _) => Err(unknown("numbers where those are strings".to_owned())),
        }
    }
}

fn distinct<T: Ord + Clone>(labels: &[T]) -> Vec<T> {
    let mut distinct = labels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// The place of each label, or the first that has none.
fn places<T: Ord + std::fmt::Debug>(classes: &[T], labels: &[T]) -> Result<Vec<u32>, String> {
    let place = |(row, label): (usize, &T)| {
        let place = classes.binary_search(label).ok().and_then(|place| u32::try_from(place).ok());
        place.ok_or_else(|| format!("{label:?} in row {row}"))
    };
    labels.iter().enumerate().map(place).collect()
}
