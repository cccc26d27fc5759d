//! IDX folders: what is read, and the messages of what is rejected.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use softmargin_data::Error;
use softmargin_data::{
    DataSource, Dataset, HoldOut, Ink, Input, LabeledSamples, LoadOptions, Normalization, Preparation, Samples, Sizing,
};
use tempfile::TempDir;

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

fn idx(dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Three images to train with and two to test with, of 2 x 3 pixels, in three classes.
fn small() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
    write(IMAGES, idx(&[3, 2, 3], &(0..18).collect::<Vec<u8>>()));
    write(LABELS, idx(&[3], &[2, 0, 1]));
    write(TEST_IMAGES, idx(&[2, 2, 3], &(100..112).collect::<Vec<u8>>()));
    write(TEST_LABELS, idx(&[2], &[1, 2]));
    folder
}

fn load_as(folder: &Path, options: &LoadOptions) -> Result<Dataset, Error> {
    Dataset::load(&DataSource::Path(folder.to_owned()), options)
}

fn load(folder: &Path) -> Result<Dataset, Error> {
    load_as(folder, &LoadOptions::default())
}

/// The bytes of all images.
fn pixels(samples: &Samples) -> Vec<u8> {
    (0..samples.count()).flat_map(|row| samples.image(row).unwrap().into_owned()).collect()
}

fn prepared(height: usize, width: usize) -> Input {
    Input::Images(Preparation::new(1, height, width, Ink::LightOnDark).unwrap())
}

/// The message and the exit code after one file was replaced.
fn rejection(file: &str, bytes: &[u8]) -> (String, u8) {
    let folder = small();
    fs::write(folder.path().join(file), bytes).unwrap();
    let error = load(folder.path()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(file), "names the file: {message}");
    (message, error.exit_code())
}

#[test]
fn data_idx_plain() {
    let folder = small();
    let data = load(folder.path()).unwrap();
    assert_eq!((data.train.len(), data.train.samples().shape()), (3, [1, 2, 3]));
    assert_eq!(*data.train.samples().image(1).unwrap(), [6, 7, 8, 9, 10, 11]);
    assert_eq!((data.train.samples().name(1), data.test.samples().name(0)), ("train 1".into(), "test 0".into()));
    assert_eq!(data.train.labels(), [2, 0, 1]);
    assert_eq!(pixels(data.test.samples()), (100..112).collect::<Vec<u8>>());
    assert_eq!(data.test.labels(), [1, 2]);
    assert_eq!(data.classes, ["0", "1", "2"]);
    let notes = [
        "no image of class 0 among the test images",
        "no validation set: every class has at most 9 images in the training set",
    ];
    assert_eq!(data.notes, notes);
    assert_eq!((data.input, data.validation), (prepared(2, 3), None));
    assert_eq!(data.split, "test set: t10k-images-idx3-ubyte; validation set: none; training set: all other images");
    assert_eq!(data.name, folder.path().file_name().unwrap().to_str().unwrap());
}

#[test]
fn data_idx_gzipped_dotted_and_mixed_give_the_same() {
    let plain = small();
    let expected = load(plain.path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str| fs::read(plain.path().join(name)).unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
    write("train-images.idx3-ubyte", bytes(IMAGES));
    write("train-labels-idx1-ubyte.gz", gz(&bytes(LABELS)));
    write("t10k-images.idx3-ubyte.gz", gz(&bytes(TEST_IMAGES)));
    // Unpacked by name, still packed by content; and in two members, as some tools write them.
    let labels = bytes(TEST_LABELS);
    write(TEST_LABELS, [gz(&labels[..5]), gz(&labels[5..])].concat());
    let data = load(folder.path()).unwrap();
    assert_eq!((data.train, data.test, data.classes), (expected.train, expected.test, expected.classes));
}

#[test]
fn data_idx_missing_files_are_named() {
    let folder = small();
    fs::remove_file(folder.path().join(LABELS)).unwrap();
    fs::remove_file(folder.path().join(TEST_IMAGES)).unwrap();
    let error = load(folder.path()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("expected the four IDX files train-images-idx3-ubyte, train-labels"), "{message}");
    assert!(message.contains("found no train-labels-idx1-ubyte, no t10k-images-idx3-ubyte"), "{message}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn data_idx_wrong_magic_is_named() {
    // Images where labels belong, another type, four dimensions, and no IDX file at all.
    let (message, code) = rejection(LABELS, &idx(&[3, 2, 3], &[0; 18]));
    assert!(message.contains("expected the magic number 0x00000801"), "{message}");
    assert!(message.contains("found 0x00000803"), "{message}");
    assert_eq!(code, 1);
    let mut floats = idx(&[3, 2, 3], &[0; 72]);
    floats[2] = 0x0d;
    assert!(rejection(IMAGES, &floats).0.contains("found 0x00000d03"));
    assert!(rejection(IMAGES, &idx(&[3, 2, 3, 1], &[0; 18])).0.contains("found 0x00000804"));
    assert!(rejection(IMAGES, b"<html>Not found</html>").0.contains("found 0x3c68746d"));
}

#[test]
fn data_idx_a_header_cut_short_is_rejected() {
    for len in 0..16 {
        let (message, code) = rejection(IMAGES, &idx(&[3, 2, 3], &[])[..len]);
        assert!(message.contains("expected an IDX header of 16 bytes"), "{len}: {message}");
        assert_eq!(code, 1);
    }
}

#[test]
fn data_idx_lying_counts_are_rejected_plain_and_gzipped() {
    let lies: [[u32; 3]; 4] =
        [[u32::MAX, 2, 3], [u32::MAX, u32::MAX, u32::MAX], [4_000_000, 28, 28], [60_000, 1 << 20, 1 << 20]];
    for lie in lies {
        let file = idx(&lie, &[0; 18]);
        for bytes in [gz(&file), file] {
            let (message, code) = rejection(IMAGES, &bytes);
            assert!(message.contains("found a file that is too small for them"), "{message}");
            assert_eq!(code, 1);
        }
    }
    // Small enough to be packed in so many bytes, so that only unpacking shows the lie.
    let folder = small();
    fs::write(folder.path().join(IMAGES), gz(&idx(&[4, 2, 3], &[0; 18]))).unwrap();
    fs::write(folder.path().join(LABELS), idx(&[4], &[2, 0, 1, 1])).unwrap();
    let message = load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("expected 4 x 2 x 3 bytes of data as its header says, found 18"), "{message}");
}

#[test]
fn data_idx_cut_short_or_with_bytes_to_spare_is_rejected() {
    let whole = idx(&[3, 2, 3], &[7; 18]);
    let (message, _) = rejection(IMAGES, &whole[..whole.len() - 1]);
    assert!(message.contains("expected 3 x 2 x 3 bytes of data as its header says, found 17"), "{message}");
    let longer = [&whole[..], &[0]].concat();
    for bytes in [gz(&longer), longer] {
        let (message, _) = rejection(IMAGES, &bytes);
        assert!(message.contains("found more; the file is damaged"), "{message}");
    }
    // A small file that unpacks to a hundred megabytes is not unpacked beyond what the header says.
    let (message, _) = rejection(IMAGES, &gz(&[&whole[..], &vec![0; 100 << 20]].concat()));
    assert!(message.contains("found more"), "{message}");
    // Packed bytes cut short, or damaged.
    let packed = gz(&whole);
    let (message, code) = rejection(IMAGES, &packed[..packed.len() - 9]);
    assert!(message.contains("expected 18 readable bytes of data"), "{message}");
    assert_eq!(code, 1);
    let mut damaged = packed.clone();
    let checksum = damaged.len() - 6;
    damaged[checksum] ^= 1;
    assert!(rejection(IMAGES, &damaged).0.contains("expected 18 readable bytes of data"));
}

#[test]
fn data_idx_counts_and_shapes_must_agree() {
    let (message, code) = rejection(LABELS, &idx(&[2], &[0, 1]));
    assert!(message.contains("expected 3 labels, one for each image of train-images-idx3-ubyte, found 2"), "{message}");
    assert_eq!(code, 1);
    let (message, _) = rejection(TEST_IMAGES, &idx(&[2, 3, 2], &[0; 12]));
    assert!(message.contains("expected images of 2 x 3 as in train-images-idx3-ubyte, found 3 x 2"), "{message}");
    let (message, _) = rejection(LABELS, &idx(&[3], &[1, 1, 1]));
    assert!(message.contains("expected two or more classes, found one"), "{message}");
}

#[test]
fn data_idx_empty_or_oversized_images_are_rejected() {
    assert!(rejection(IMAGES, &idx(&[0, 2, 3], &[])).0.contains("expected one or more images, found none"));
    assert!(rejection(IMAGES, &idx(&[3, 0, 3], &[])).0.contains("sides from 1 to 1024 pixels, found 0 x 3"));
    assert!(rejection(IMAGES, &idx(&[0, 5000, 3], &[])).0.contains("found 5000 x 3"));
}

#[test]
fn data_idx_gaps_between_classes_are_named() {
    let folder = small();
    fs::write(folder.path().join(LABELS), idx(&[3], &[255, 1, 3])).unwrap();
    fs::write(folder.path().join(TEST_LABELS), idx(&[2], &[3, 3])).unwrap();
    let data = load(folder.path()).unwrap();
    assert_eq!(data.classes.len(), 256);
    assert!(data.notes[0].starts_with("no image of class 0, 2, 4, 5, 6,"), "{}", data.notes[0]);
    assert!(data.notes[1].starts_with("no image of class 0, 1, 2, 4, 5,"), "{}", data.notes[1]);
}

#[test]
fn data_idx_images_are_brought_to_another_size() {
    let folder = small();
    let square = load_as(folder.path(), &LoadOptions { sizing: Sizing::Side(8), ..LoadOptions::default() }).unwrap();
    assert_eq!(square.train.samples().shape(), [1, 8, 8]);
    assert_eq!(square.description, "5 gray images of 2 x 3 pixels in IDX files, brought to 8 x 8 pixels");
    assert_eq!(square.input, prepared(8, 8));
}

#[test]
fn data_idx_a_test_class_that_nothing_trains_is_rejected() {
    let (message, code) = rejection(TEST_LABELS, &idx(&[2], &[1, 9]));
    assert!(
        message.contains("expected labels that train-labels-idx1-ubyte has too, found class 9 of image 1"),
        "{message}"
    );
    assert_eq!(code, 1);
}

/// 40 images to train with and 5 to test with, of 4 x 6 pixels, in two classes.
fn larger() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
    let noise = |count: u32| (0..24 * count).map(|at| (at * at * 7 % 251) as u8).collect::<Vec<u8>>();
    write(IMAGES, idx(&[40, 4, 6], &noise(40)));
    write(LABELS, idx(&[40], &(0..40).map(|row| row % 2).collect::<Vec<u8>>()));
    write(TEST_IMAGES, idx(&[5, 4, 6], &noise(5)));
    write(TEST_LABELS, idx(&[5], &[0, 1, 0, 1, 0]));
    folder
}

#[test]
fn data_idx_streamed_and_in_memory_give_the_same_bits() {
    let folder = larger();
    for sizing in [Sizing::Automatic, Sizing::Side(9)] {
        let options = |memory| LoadOptions { sizing, memory, ..LoadOptions::default() };
        let kept = load_as(folder.path(), &options(None)).unwrap();
        let streamed = load_as(folder.path(), &options(Some(24 * 45 - 1))).unwrap();
        assert!(!kept.train.samples().is_streamed() && streamed.train.samples().is_streamed());
        assert!(streamed.notes.iter().any(|note| note.contains("read batch by batch")), "{:?}", streamed.notes);
        for (kept, streamed) in [(&kept.train, &streamed.train), (&kept.test, &streamed.test)] {
            assert_eq!(pixels(kept.samples()), pixels(streamed.samples()));
            assert_eq!(kept.labels(), streamed.labels());
            let rows: Vec<usize> = (0..kept.len()).rev().chain([0, 0]).collect();
            let (mut first, mut second) = (Vec::new(), vec![1.0; 5]);
            kept.samples().batch_f32(&rows, &mut first).unwrap();
            streamed.samples().batch_f32(&rows, &mut second).unwrap();
            assert_eq!(first, second);
        }
        let normalization = |data: &Dataset| Normalization::of(data.train.samples()).unwrap();
        assert_eq!((normalization(&kept), kept.input), (normalization(&streamed), streamed.input));
    }
}

#[test]
fn data_idx_packed_files_have_to_fit_in_memory() {
    let folder = larger();
    let path = folder.path().join(IMAGES);
    fs::write(&path, gz(&fs::read(&path).unwrap())).unwrap();
    let options = |memory| LoadOptions { memory: Some(memory), ..LoadOptions::default() };
    let error = load_as(folder.path(), &options(959)).unwrap_err();
    assert!(error.to_string().contains("at most 959 bytes, which fit in memory, found 960 bytes; unpack"), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(load_as(folder.path(), &options(960)).is_ok());
}

#[test]
fn data_idx_a_file_that_shrinks_while_it_is_streamed_is_named() {
    let folder = larger();
    let options = LoadOptions { memory: Some(0), ..LoadOptions::default() };
    let data = load_as(folder.path(), &options).unwrap();
    let path = folder.path().join(IMAGES);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(16 + 24 * 30).unwrap();
    assert!(data.train.samples().batch_f32(&[0, 1], &mut Vec::new()).is_ok());
    let last = data.train.len() - 1;
    let error = data.train.samples().batch_f32(&[0, last - 1, last], &mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert!(error.to_string().ends_with("1 more of the batch fail"), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn data_idx_every_tenth_of_a_class_validates() {
    let folder = larger();
    let data = load(folder.path()).unwrap();
    let names = |part: &LabeledSamples| (0..part.len()).map(|row| part.samples().name(row)).collect::<Vec<_>>();
    let validation = data.validation.unwrap();
    assert_eq!(names(&validation), ["train 18", "train 19", "train 38", "train 39"]);
    assert_eq!((validation.labels(), data.train.len()), (&[0, 1, 0, 1][..], 36));
    let expected = "test set: t10k-images-idx3-ubyte; validation set: every 10th of the other images of each class; \
                    training set: all other images";
    assert_eq!(data.split, expected);
    let rule = |validation| LoadOptions { validation_split: validation, ..LoadOptions::default() };
    let data = load_as(folder.path(), &rule(Some(HoldOut::Last(2)))).unwrap();
    assert_eq!(names(&data.validation.unwrap()), ["train 36", "train 37", "train 38", "train 39"]);
    assert_eq!(load_as(folder.path(), &rule(Some(HoldOut::None))).unwrap().train.len(), 40);
    let error = load_as(folder.path(), &LoadOptions { test_split: Some(HoldOut::Last(1)), ..LoadOptions::default() });
    assert!(error.unwrap_err().to_string().contains("no rule for the test set, which is t10k-images-idx3-ubyte"));
}

#[test]
fn data_digits_are_brought_to_another_size() {
    let sized = |sizing| Dataset::load(&DataSource::Digits, &LoadOptions { sizing, ..LoadOptions::default() });
    let digits = sized(Sizing::Automatic).unwrap();
    let larger = sized(Sizing::Side(28)).unwrap();
    assert_eq!((larger.test.len(), larger.test.samples().shape()), (599, [1, 28, 28]));
    assert_eq!(larger.test.labels(), digits.test.labels());
    assert_eq!((larger.input, digits.input), (prepared(28, 28), prepared(8, 8)));
    let color = Preparation::new(3, 10, 12, Ink::AsIs).unwrap();
    let prepared = sized(Sizing::Prepared(color)).unwrap();
    assert_eq!((prepared.train.samples().shape(), prepared.input), ([3, 10, 12], Input::Images(color)));
    for side in [0, 7, 513, usize::MAX] {
        let error = sized(Sizing::Side(side)).unwrap_err();
        assert!(error.to_string().starts_with("image size: expected a side from 8 to 512 pixels"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
