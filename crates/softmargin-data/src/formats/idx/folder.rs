//! Folders of IDX files: images and labels of a training set and of a test set.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::IdxFile;
use super::images::IdxImages;
use crate::dataset::{Dataset, Input};
use crate::error::Error;
use crate::formats::gray_images::GrayFit;
use crate::images::{Ink, MAX_SIDE, Preparation};
use crate::in_memory::ImagesInMemory;
use crate::labeled_samples::LabeledSamples;
use crate::load_options::LoadOptions;
use crate::sample_names::SampleNames;
use crate::samples::Samples;
use crate::split::Undivided;
use crate::wording::counted;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// The four files of an IDX folder.
#[derive(Debug)]
pub(crate) struct IdxFolder {
    train: [PathBuf; 2],
    test: [PathBuf; 2],
}

impl IdxFolder {
    /// Finds the four files, if the folder has at least one of them.
    ///
    /// # Errors
    /// If some of them exist and others are missing.
    pub(crate) fn find(folder: &Path) -> Result<Option<IdxFolder>, Error> {
        let names = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS];
        let found = names.map(|name| find_spelling(folder, name));
        let missing: Vec<&str> =
            names.iter().zip(&found).filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
        match found {
            [Some(train_images), Some(train_labels), Some(test_images), Some(test_labels)] => {
                Ok(Some(IdxFolder { train: [train_images, train_labels], test: [test_images, test_labels] }))
            }
            _ if missing.len() == names.len() => Ok(None),
            _ => Err(Error::request(
                folder.display(),
                format!("the four IDX files {} (each plain or .gz)", names.join(", ")),
                format!("no {}", missing.join(", no ")),
                "add what is missing",
            )),
        }
    }

    /// Reads the data set. It comes with a test set.
    ///
    /// # Errors
    /// If a file is unreadable or broken, the files do not fit each other, or a split rule does not fit them.
    pub(crate) fn load(&self, name: String, options: &LoadOptions) -> Result<Dataset, Error> {
        let [train, test] = [Part::open("train", &self.train)?, Part::open("test", &self.test)?];
        if train.sides != test.sides {
            let [height, width] = train.sides;
            let expected = format!("images of {height} x {width} as in {TRAIN_IMAGES}");
            let found = format!("{} x {}", test.sides[0], test.sides[1]);
            return Err(Error::failure(self.test[0].display(), expected, found, "take both from one data set"));
        }
        let classes = number_of_classes(&self.train[1], &train.labels)?;
        check_test_labels(&self.test[1], &train.labels, &test.labels)?;
        let notes = gaps(&[("train", &train.labels), ("test", &test.labels)], classes);
        build(name, classes, notes, train, test, options)
    }
}

fn build(
    name: String,
    classes: usize,
    mut notes: Vec<String>,
    train: Part,
    test: Part,
    options: &LoadOptions,
) -> Result<Dataset, Error> {
    let [height, width] = train.sides;
    let count = train.labels.len() + test.labels.len();
    let images = images([&train, &test], options)?;
    let [train_samples, test_samples] = images.samples;
    let division = Undivided {
        source: name.clone(),
        labels: &train.labels,
        own_test: Some(TEST_IMAGES.to_owned()),
        own_validation: None,
        sample: "image",
        order: "the order of the file",
    }
    .divide(options.test_split, options.validation_split)?;
    notes.extend(division.notes.iter().cloned());
    notes.extend(train_samples.note_of_streaming());
    let (train, validation, _) = division.of(&LabeledSamples::new(train_samples, train.labels)?);
    Ok(Dataset {
        description: format!(
            "{} of {height} x {width} pixels in IDX files{}",
            counted(count, "gray image"),
            images.clause
        ),
        split: division.sentence,
        classes: (0..classes).map(|class| class.to_string()).collect(),
        train,
        validation,
        test: LabeledSamples::new(test_samples, test.labels)?,
        input: Input::Images(images.preparation),
        notes,
        name,
    })
}

/// The images of both files.
struct PreparedImages {
    /// Those of the training file and those of the test file.
    samples: [Samples; 2],
    preparation: Preparation,
    /// The clause on their size for the description.
    clause: String,
}

/// Returns the images of both files, in memory if they fit there together; gzipped ones must fit.
fn images(parts: [&Part; 2], options: &LoadOptions) -> Result<PreparedImages, Error> {
    let [height, width] = parts[0].sides;
    let memory = options.memory();
    let [train, test] = [parts[0].images(memory)?, parts[1].images(memory)?];
    let ink = Ink::of(&train)?;
    let fit = GrayFit::new(options.sizing, Preparation::new(1, height, width, ink)?)?;
    let [train, test] = [fit.apply(train, parts[0].names())?, fit.apply(test, parts[1].names())?];
    let fits = train.store_bytes().saturating_add(test.store_bytes()) <= memory;
    let into_memory = |images: Samples, part: &Part| {
        if fits && images.is_streamed() { images.read_into_memory(part.names()) } else { Ok(images) }
    };
    let samples = [into_memory(train, parts[0])?, into_memory(test, parts[1])?];
    Ok(PreparedImages { samples, preparation: fit.preparation, clause: fit.clause })
}

fn find_spelling(folder: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    let spellings = [name.to_owned(), dotted.clone(), format!("{name}.gz"), format!("{dotted}.gz")];
    spellings.iter().map(|spelling| folder.join(spelling)).find(|path| path.is_file())
}

fn number_of_classes(path: &Path, train: &[u32]) -> Result<usize, Error> {
    if train.iter().all(|label| train.first() == Some(label)) {
        return Err(Error::failure(path.display(), "two or more classes", "one", "a classifier needs a choice"));
    }
    Ok(train.iter().max().map_or(0, |&label| label as usize) + 1)
}

/// Checks that every class in the test set is also in the training set.
fn check_test_labels(path: &Path, train: &[u32], test: &[u32]) -> Result<(), Error> {
    let mut trained = [false; 256];
    train.iter().for_each(|&label| trained[label as usize] = true);
    match test.iter().position(|&label| !trained[label as usize]) {
        Some(row) => {
            let expected = format!("labels that {TRAIN_LABELS} has too");
            let found = format!("class {} of image {row}", test[row]);
            Err(Error::failure(path.display(), expected, found, "take both from one data set"))
        }
        None => Ok(()),
    }
}

/// Returns notes on classes without images, which are allowed: some published sets count from 1.
fn gaps(parts: &[(&str, &[u32])], classes: usize) -> Vec<String> {
    let notes = parts.iter().filter_map(|(part, labels)| {
        let mut there = vec![false; classes];
        labels.iter().for_each(|&label| there[label as usize] = true);
        let empty: Vec<String> = (0..classes).filter(|&class| !there[class]).map(|class| class.to_string()).collect();
        (!empty.is_empty()).then(|| format!("no image of class {} among the {part} images", empty.join(", ")))
    });
    notes.collect()
}

/// A file of images, which are not read yet, and its labels.
struct Part {
    /// The word in the names of its images.
    name: &'static str,
    images_path: PathBuf,
    count: usize,
    sides: [usize; 2],
    labels: Vec<u32>,
}

impl Part {
    fn open(name: &'static str, [images, labels]: &[PathBuf; 2]) -> Result<Part, Error> {
        let [count, height, width] = IdxFile::open::<3>(images)?.dimensions;
        if [height, width].iter().any(|side| !(1..=MAX_SIDE as u64).contains(side)) {
            let expected = format!("images with sides from 1 to {MAX_SIDE} pixels");
            return Err(Error::failure(images.display(), expected, format!("{height} x {width}"), ""));
        }
        if count == 0 {
            return Err(Error::failure(images.display(), "one or more images", "none", ""));
        }
        let labels_file = IdxFile::open::<1>(labels)?;
        let [label_count] = labels_file.dimensions;
        let read = labels_file.read()?;
        if label_count != count {
            let expected = format!("{count} labels, one for each image of {}", file_name(images));
            return Err(Error::failure(labels.display(), expected, label_count, "take both from one data set"));
        }
        // The sides are at most MAX_SIDE, and there are as many images as labels in memory.
        let sides = [height as usize, width as usize];
        let labels: Vec<u32> = read.into_iter().map(u32::from).collect();
        Ok(Part { name, images_path: images.clone(), count: labels.len(), sides, labels })
    }

    fn names(&self) -> SampleNames {
        SampleNames::Numbered(self.name)
    }

    /// Returns the images, not read yet; those of a gzipped file are in memory.
    fn images(&self, memory: u64) -> Result<Samples, Error> {
        let path = &self.images_path;
        let file = IdxFile::open::<3>(path)?;
        let [height, width] = self.sides;
        if !file.packed {
            return Samples::new(Arc::new(IdxImages::new(path, &file, self.count, self.sides, self.names())?));
        }
        if file.announced > memory {
            let expected = format!("packed images of at most {memory} bytes, which fit in memory");
            let found = format!("{} bytes", file.announced);
            let advice = "unpack the file: plain files are read in parts";
            return Err(Error::request(path.display(), expected, found, advice));
        }
        Samples::new(Arc::new(ImagesInMemory::new(file.read()?, [1, height, width], self.names())?))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}
