//! IDX files, the format of MNIST and its relatives: <http://yann.lecun.com/exdb/mnist/>.
//!
//! A file is two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension as a big-endian
//! 32-bit number, and the data. Files may be gzipped, which the content shows. Nothing is allocated on the word of a
//! header: it is held against the length of the file first, and of a compressed file no more is unpacked than the
//! header announces, plus one byte.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::preparation::MAX_SIDE;
use super::{Dataset, Images, Ink, LabelledImages, Preparation};
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

    pub(super) fn load(&self, name: String) -> Result<Dataset, Error> {
        let train = read_part(&self.train)?;
        let test = read_part(&self.test)?;
        let [_, channels, height, width] = train.images().shape();
        if test.images().shape()[1..] != [channels, height, width] {
            let [_, _, test_height, test_width] = test.images().shape();
            let expected = format!("images of {height} x {width} as in {TRAIN_IMAGES}");
            let found = format!("{test_height} x {test_width}");
            return Err(Error::failure(self.test[0].display(), expected, found, "take both from one data set"));
        }
        let classes = number_of_classes(&self.train[1], &train, &test)?;
        Ok(Dataset {
            description: format!("{} grey images of {height} x {width} pixels in IDX files", train.len() + test.len()),
            split: format!("{TRAIN_IMAGES} trains, {TEST_IMAGES} tests"),
            classes: (0..classes).map(|class| class.to_string()).collect(),
            preparation: Preparation::new(1, height, width, Ink::of(train.images()))?,
            notes: gaps(&train, &test, classes),
            name,
            train,
            test,
        })
    }
}

fn find_spelling(folder: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    let spellings = [name.to_owned(), dotted.clone(), format!("{name}.gz"), format!("{dotted}.gz")];
    spellings.iter().map(|spelling| folder.join(spelling)).find(|path| path.is_file())
}

fn number_of_classes(path: &Path, train: &LabelledImages, test: &LabelledImages) -> Result<usize, Error> {
    let largest = train.labels().iter().chain(test.labels()).max().map_or(0, |&label| label as usize);
    if train.labels().iter().all(|label| train.labels().first() == Some(label)) {
        return Err(Error::failure(path.display(), "two or more classes", "one", "a classifier needs a choice"));
    }
    Ok(largest + 1)
}

/// Classes without images: allowed, since some published sets count from 1, and worth saying.
fn gaps(train: &LabelledImages, test: &LabelledImages, classes: usize) -> Vec<String> {
    let parts = [("train", train), ("test", test)];
    let notes = parts.into_iter().filter_map(|(part, images)| {
        let counts = images.class_counts(classes);
        let empty: Vec<String> = (0..classes).filter(|&class| counts[class] == 0).map(|c| c.to_string()).collect();
        (!empty.is_empty()).then(|| format!("no image of class {} among the {part} images", empty.join(", ")))
    });
    notes.collect()
}

fn read_part([images, labels]: &[PathBuf; 2]) -> Result<LabelledImages, Error> {
    let ([count, height, width], pixels) = read_idx::<3>(images)?;
    if [height, width].iter().any(|side| !(1..=MAX_SIDE as u64).contains(side)) {
        let expected = format!("images with sides from 1 to {MAX_SIDE} pixels");
        return Err(Error::failure(images.display(), expected, format!("{height} x {width}"), ""));
    }
    if count == 0 {
        return Err(Error::failure(images.display(), "one or more images", "none", ""));
    }
    let ([label_count], labels_read) = read_idx::<1>(labels)?;
    if label_count != count {
        let expected = format!("{count} labels, one for each image of {}", file_name(images));
        return Err(Error::failure(labels.display(), expected, label_count, "take both from one data set"));
    }
    // The sides are at most MAX_SIDE.
    let pixels = Images::new(pixels, 1, height as usize, width as usize)?;
    LabelledImages::new(pixels, labels_read.into_iter().map(u32::from).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// The dimensions and the data of an IDX file of unsigned bytes with `RANK` dimensions.
fn read_idx<const RANK: usize>(path: &Path) -> Result<([u64; RANK], Vec<u8>), Error> {
    let unreadable = |cause| Error::io(path, "a readable IDX file", cause);
    let file = File::open(path).map_err(unreadable)?;
    let stored = file.metadata().map_err(unreadable)?.len();
    let mut reader = BufReader::new(file);
    if reader.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]) {
        read_content(path, &mut MultiGzDecoder::new(reader), stored.saturating_mul(MOST_PER_PACKED_BYTE))
    } else {
        read_content(path, &mut reader, stored)
    }
}

/// `at_most` bytes are all that the file can hold, however it is packed.
fn read_content<const RANK: usize>(
    path: &Path,
    reader: &mut dyn Read,
    at_most: u64,
) -> Result<([u64; RANK], Vec<u8>), Error> {
    let dimensions = read_header::<RANK>(path, reader)?;
    let announced = dimensions.iter().try_fold(1_u64, |product, &side| product.checked_mul(side));
    let wrong_length = |found: &dyn std::fmt::Display, advice: &str| {
        let sides = dimensions.map(|side| side.to_string()).join(" x ");
        Error::failure(path.display(), format!("{sides} bytes of data as its header says"), found, advice)
    };
    let Some(announced) = announced.filter(|&bytes| bytes <= at_most) else {
        return Err(wrong_length(&"a file that is too small for them", "fetch the file again"));
    };
    let mut data = Vec::new();
    reader
        .take(announced.saturating_add(1))
        .read_to_end(&mut data)
        .map_err(|cause| Error::io(path, format!("{announced} readable bytes of data"), cause))?;
    match (data.len() as u64).cmp(&announced) {
        std::cmp::Ordering::Equal => Ok((dimensions, data)),
        std::cmp::Ordering::Less => Err(wrong_length(&data.len(), "the file is cut short: fetch it again")),
        std::cmp::Ordering::Greater => Err(wrong_length(&"more", "the file is damaged: fetch it again")),
    }
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
