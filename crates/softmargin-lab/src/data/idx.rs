//! IDX files, the format of MNIST and its relatives: <http://yann.lecun.com/exdb/mnist/>.
//!
//! A file is two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension as a big-endian
//! 32-bit number, and the data. Files may be gzipped, which the content shows. Nothing is allocated on the word of a
//! header: it is held against the length of the file first, and of a compressed file no more is unpacked than the
//! header announces, plus one byte.
//!
//! Images of a plain file that do not fit in memory are read from it one by one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;

use super::picture::Picture;
use super::preparation::MAX_SIDE;
use super::samples::{LabeledSamples, Names, Samples, Store, Values};
use super::split::Undivided;
use super::{Dataset, Ink, Input, LoadOptions, Preparation, fitting};
use crate::error::Error;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// Deflate cannot pack tighter than this, so that a small file cannot hold what a lying header announces.
const MOST_PER_PACKED_BYTE: u64 = 1032;

/// The four files of an IDX folder.
#[derive(Debug)]
pub(super) struct IdxFolder {
    train: [PathBuf; 2],
    test: [PathBuf; 2],
}

impl IdxFolder {
    /// The four files, if the folder has at least one of them.
    ///
    /// # Errors
    /// When some of them are there and others are missing.
    pub(super) fn find(folder: &Path) -> Result<Option<IdxFolder>, Error> {
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

    pub(super) fn load(&self, name: String, options: &LoadOptions) -> Result<Dataset, Error> {
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
    let stores = stores([&train, &test], options)?;
    let [train_samples, test_samples] = stores.samples.map(Samples::all);
    let division = Undivided {
        source: name.clone(),
        labels: &train.labels,
        own_test: Some(format!("{TEST_IMAGES} tests")),
        own_validation: None,
        sample: "image",
        order: "the order of the file",
    }
    .divide(options)?;
    notes.extend(division.notes.iter().cloned());
    notes.extend(train_samples.note_of_streaming());
    let (train, validation, _) = division.of(&LabeledSamples::new(train_samples, train.labels)?);
    Ok(Dataset {
        description: format!("{count} gray images of {height} x {width} pixels in IDX files{}", stores.sides),
        split: division.sentence,
        classes: (0..classes).map(|class| class.to_string()).collect(),
        train,
        validation,
        test: LabeledSamples::new(test_samples, test.labels)?,
        input: Input::Images(stores.preparation),
        notes,
        name,
    })
}

struct Stores {
    samples: [Store; 2],
    preparation: Preparation,
    sides: String,
}

/// The images of both files, in memory if they fit there together. What is packed has to.
fn stores(parts: [&Part; 2], options: &LoadOptions) -> Result<Stores, Error> {
    let [height, width] = parts[0].sides;
    let memory = options.memory();
    let [train, test] = [parts[0].store(memory)?, parts[1].store(memory)?];
    let ink = Ink::of(&train)?;
    let (fit, preparation, sides) = fitting(options.sizing, Preparation::new(1, height, width, ink)?)?;
    let [train, test] = [train.fitted(fit)?, test.fitted(fit)?];
    let fits = train.bytes().saturating_add(test.bytes()) <= memory;
    let samples = if fits { [train.into_memory()?, test.into_memory()?] } else { [train, test] };
    Ok(Stores { samples, preparation, sides })
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

/// What no training image shows cannot be recognized.
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

/// Classes without images: allowed, since some published sets count from 1, and worth saying.
fn gaps(parts: &[(&str, &[u32])], classes: usize) -> Vec<String> {
    let notes = parts.iter().filter_map(|(part, labels)| {
        let mut there = vec![false; classes];
        labels.iter().for_each(|&label| there[label as usize] = true);
        let empty: Vec<String> = (0..classes).filter(|&class| !there[class]).map(|class| class.to_string()).collect();
        (!empty.is_empty()).then(|| format!("no image of class {} among the {part} images", empty.join(", ")))
    });
    notes.collect()
}

/// A file of images, whose data are not read yet, and its labels.
struct Part {
    name: &'static str,
    images: PathBuf,
    count: usize,
    sides: [usize; 2],
    labels: Vec<u32>,
}

impl Part {
    fn open(name: &'static str, [images, labels]: &[PathBuf; 2]) -> Result<Part, Error> {
        let [count, height, width] = Idx::open::<3>(images)?.dimensions;
        if [height, width].iter().any(|side| !(1..=MAX_SIDE as u64).contains(side)) {
            let expected = format!("images with sides from 1 to {MAX_SIDE} pixels");
            return Err(Error::failure(images.display(), expected, format!("{height} x {width}"), ""));
        }
        if count == 0 {
            return Err(Error::failure(images.display(), "one or more images", "none", ""));
        }
        let labels_file = Idx::open::<1>(labels)?;
        let [label_count] = labels_file.dimensions;
        let read = labels_file.read()?;
        if label_count != count {
            let expected = format!("{count} labels, one for each image of {}", file_name(images));
            return Err(Error::failure(labels.display(), expected, label_count, "take both from one data set"));
        }
        // The sides are at most MAX_SIDE, and there are as many images as labels in memory.
        let sides = [height as usize, width as usize];
        let labels: Vec<u32> = read.into_iter().map(u32::from).collect();
        Ok(Part { name, images: images.clone(), count: labels.len(), sides, labels })
    }

    /// The images, not read yet; those of a packed file are in memory.
    fn store(&self, memory: u64) -> Result<Store, Error> {
        let file = Idx::open::<3>(&self.images)?;
        let [height, width] = self.sides;
        let values = if file.packed {
            if file.announced > memory {
                let expected = format!("packed images of at most {memory} bytes, which fit in memory");
                let found = format!("{} bytes", file.announced);
                let advice = "unpack the file: plain files are read bit by bit";
                return Err(Error::request(self.images.display(), expected, found, advice));
            }
            Values::Bytes(file.read()?)
        } else {
            Values::Idx(file.into_images(self.sides)?)
        };
        let names = Names::Numbered(self.name.to_owned());
        Ok(Store { shape: [1, height, width], count: self.count, names, values })
    }
}

/// The images of a plain IDX file, read one by one.
#[derive(Debug)]
pub(super) struct IdxImages {
    path: PathBuf,
    file: Mutex<File>,
    start: u64,
    sides: [usize; 2],
    /// How an image is brought to another size.
    fit: Option<Preparation>,
}

impl PartialEq for IdxImages {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.start, self.sides, self.fit) == (&other.path, other.start, other.sides, other.fit)
    }
}

impl IdxImages {
    pub(super) fn fitted(self, fit: Preparation) -> IdxImages {
        IdxImages { fit: Some(fit), ..self }
    }

    pub(super) fn read(&self, row: usize) -> Result<Vec<u8>, Error> {
        let [height, width] = self.sides;
        let mut bytes = vec![0; height * width];
        let at = self.start + row as u64 * bytes.len() as u64;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|cause| Error::io(&self.path, format!("the {} bytes of image {row}", bytes.len()), cause))?;
        drop(file);
        match self.fit {
            Some(fit) => fit_gray(&bytes, self.sides, fit),
            None => Ok(bytes),
        }
    }
}

/// A gray image of so many rows and columns, prepared.
pub(super) fn fit_gray(bytes: &[u8], [height, width]: [usize; 2], fit: Preparation) -> Result<Vec<u8>, Error> {
    let picture = Picture::from_gray(height, width, bytes);
    let broken = || Error::failure("image", format!("{height} x {width} bytes"), bytes.len(), "");
    picture.map(|picture| fit.apply(picture)).ok_or_else(broken)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// An IDX file of unsigned bytes with `RANK` dimensions, of which the header has been read.
struct Idx<const RANK: usize> {
    path: PathBuf,
    reader: Box<dyn Read>,
    packed: bool,
    dimensions: [u64; RANK],
    /// Bytes of data by the header.
    announced: u64,
    /// Bytes of the file as it is stored.
    stored: u64,
}

impl Idx<0> {
    fn open<const RANK: usize>(path: &Path) -> Result<Idx<RANK>, Error> {
        let unreadable = |cause| Error::io(path, "a readable IDX file", cause);
        let file = File::open(path).map_err(unreadable)?;
        let stored = file.metadata().map_err(unreadable)?.len();
        let mut reader = BufReader::new(file);
        let packed = reader.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let mut reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
        let dimensions = read_header::<RANK>(path, &mut reader)?;
        let announced = dimensions.iter().try_fold(1_u64, |product, &side| product.checked_mul(side));
        let at_most = if packed { stored.saturating_mul(MOST_PER_PACKED_BYTE) } else { stored };
        match announced {
            Some(announced) if announced <= at_most => {
                Ok(Idx { path: path.to_owned(), reader, packed, dimensions, announced, stored })
            }
            _ => Err(wrong_length(path, dimensions, "a file that is too small for them", "fetch the file again")),
        }
    }
}

impl<const RANK: usize> Idx<RANK> {
    /// The data.
    fn read(self) -> Result<Vec<u8>, Error> {
        let mut data = Vec::new();
        self.reader
            .take(self.announced.saturating_add(1))
            .read_to_end(&mut data)
            .map_err(|cause| Error::io(&self.path, format!("{} readable bytes of data", self.announced), cause))?;
        check_length(&self.path, self.dimensions, self.announced, data.len() as u64)?;
        Ok(data)
    }

    /// The images of a plain file, left where they are.
    fn into_images(self, sides: [usize; 2]) -> Result<IdxImages, Error> {
        let start = 4 + 4 * RANK as u64;
        check_length(&self.path, self.dimensions, self.announced, self.stored.saturating_sub(start))?;
        let file = File::open(&self.path).map_err(|cause| Error::io(&self.path, "a readable IDX file", cause))?;
        Ok(IdxImages { path: self.path, file: Mutex::new(file), start, sides, fit: None })
    }
}

fn check_length<const RANK: usize>(path: &Path, sides: [u64; RANK], announced: u64, found: u64) -> Result<(), Error> {
    match found.cmp(&announced) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(wrong_length(path, sides, found, "the file is cut short: fetch it again")),
        std::cmp::Ordering::Greater => Err(wrong_length(path, sides, "more", "the file is damaged: fetch it again")),
    }
}

fn wrong_length<const RANK: usize>(
    path: &Path,
    sides: [u64; RANK],
    found: impl std::fmt::Display,
    advice: &str,
) -> Error {
    let sides = sides.map(|side| side.to_string()).join(" x ");
    Error::failure(path.display(), format!("{sides} bytes of data as its header says"), found, advice)
}

fn read_header<const RANK: usize>(path: &Path, reader: &mut dyn Read) -> Result<[u64; RANK], Error> {
    let header_cut = |cause| Error::io(path, format!("an IDX header of {} bytes", 4 + 4 * RANK), cause);
    let mut word = [0; 4];
    reader.read_exact(&mut word).map_err(header_cut)?;
    let (found, expected) = (u32::from_be_bytes(word), 0x0800 + RANK as u32);
    if found != expected {
        let expected = format!("the magic number {expected:#010x} (unsigned bytes, dimensions: {RANK})");
        return Err(Error::failure(path.display(), expected, format!("{found:#010x}"), "is it the right file?"));
    }
    let mut dimensions = [0; RANK];
    for dimension in &mut dimensions {
        reader.read_exact(&mut word).map_err(header_cut)?;
        *dimension = u64::from(u32::from_be_bytes(word));
    }
    Ok(dimensions)
}
