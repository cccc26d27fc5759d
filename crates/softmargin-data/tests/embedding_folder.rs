//! Folders of embeddings: what is read, and the messages of what is rejected.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

use std::fs;
use std::path::Path;

use softmargin_data::Error;
use softmargin_data::{DataSource, Dataset, HoldOut, Input, LabeledSamples, LoadOptions, Normalization, Sizing};
use tempfile::TempDir;

/// A file as `numpy.save` writes it.
fn npy(descr: &str, fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let shape: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Embedding `i` is (i + 1, -i, 0.5).
fn numbers(count: usize) -> Vec<f32> {
    (0..count).flat_map(|i| [i as f32 + 1.0, -(i as f32), 0.5]).collect()
}

fn write(folder: &TempDir, name: &str, bytes: Vec<u8>) {
    fs::write(folder.path().join(name), bytes).unwrap();
}

fn write_pair(folder: &TempDir, prefix: &str, count: usize, labels: &[i64]) {
    let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    write(folder, &format!("{prefix}embeddings.npy"), npy("<f4", false, &[count, 3], &f32s(&numbers(count))));
    write(folder, &format!("{prefix}labels.npy"), npy("<i8", false, &[labels.len()], &bytes));
}

/// Twenty embeddings of class 7 and twenty of class 40, by turns.
fn forty() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let labels: Vec<i64> = (0..40).map(|row| if row % 2 == 0 { 40 } else { 7 }).collect();
    write_pair(&folder, "", 40, &labels);
    folder
}

fn load_with(folder: &Path, options: &LoadOptions) -> Result<Dataset, Error> {
    Dataset::load(&DataSource::Path(folder.to_owned()), options)
}

fn load(folder: &TempDir) -> Result<Dataset, Error> {
    load_with(folder.path(), &LoadOptions::default())
}

#[track_caller]
fn rejection(folder: &TempDir, named: &str, exit_code: u8) -> String {
    let error = load(folder).unwrap_err();
    let message = error.to_string();
    let path = folder.path().join(named);
    let start = if named.is_empty() { folder.path().display().to_string() } else { path.display().to_string() };
    assert!(message.starts_with(&format!("{start}: ")), "{start} is named: {message}");
    assert_eq!(error.exit_code(), exit_code, "{message}");
    message
}

fn names(part: &LabeledSamples) -> Vec<String> {
    (0..part.len()).map(|row| part.samples().name(row)).collect()
}

fn values(part: &LabeledSamples) -> Vec<f32> {
    let mut values = Vec::new();
    part.samples().batch_f32(&(0..part.len()).collect::<Vec<_>>(), &mut values).unwrap();
    values
}

#[test]
fn data_embeddings_are_divided_by_the_rules() {
    let data = load(&forty()).unwrap();
    assert_eq!((data.input, data.input.shape()), (Input::Embeddings { size: 3 }, [3, 1, 1]));
    assert_eq!(data.classes, ["7", "40"], "in the order of the numbers");
    assert_eq!(names(&data.test)[..3], ["embedding 8", "embedding 9", "embedding 18"]);
    assert_eq!(data.test.labels()[..3], [1, 0, 1]);
    assert_eq!(values(&data.test)[..3], [9.0, -8.0, 0.5]);
    let validation = data.validation.unwrap();
    assert_eq!(
        (names(&validation), data.train.len()),
        (vec!["embedding 22".to_owned(), "embedding 23".to_owned()], 30)
    );
    assert_eq!(data.description, "40 embeddings of dimension 3, 2 classes");
    assert!(
        data.split
            .starts_with("test set: every 5th embedding of each class in the order of the rows (the 5th, the 10th")
    );
    assert!(data.notes.is_empty(), "{:?}", data.notes);
    let options = LoadOptions { test_split: Some(HoldOut::Last(1)), ..LoadOptions::default() };
    assert_eq!(names(&load_with(forty().path(), &options).unwrap().test), ["embedding 38", "embedding 39"]);
}

#[test]
fn data_embeddings_parts_are_taken_as_given() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(&folder, "train-", 6, &[0, 1, 2, 0, 1, 2]);
    write_pair(&folder, "test-", 2, &[2, 1]);
    let data = load(&folder).unwrap();
    assert_eq!((data.train.len(), data.test.labels(), &data.validation), (6, &[2, 1][..], &None));
    assert_eq!(names(&data.test), ["test 0", "test 1"]);
    assert_eq!(data.split, "test set: test-embeddings.npy; validation set: none; training set: all other embeddings");
    assert_eq!(
        data.notes,
        [
            "no validation set: every class has at most 9 embeddings in the training set",
            "1 class without an embedding in the test set"
        ]
    );
    write_pair(&folder, "validation-", 3, &[0, 1, 2]);
    let data = load(&folder).unwrap();
    assert_eq!((data.validation.unwrap().labels(), data.train.len()), (&[0, 1, 2][..], 6));
    assert_eq!(data.description, "11 embeddings of dimension 3, 3 classes");
    assert_eq!(
        data.split,
        "test set: test-embeddings.npy; validation set: validation-embeddings.npy; training set: all other embeddings"
    );
    let none = LoadOptions { validation_split: Some(HoldOut::None), ..LoadOptions::default() };
    assert_eq!(load_with(folder.path(), &none).unwrap().validation, None);

    write_pair(&folder, "", 3, &[0, 1, 2]);
    assert!(rejection(&folder, "", 2).contains("expected either embeddings.npy or train-embeddings.npy, found both"));
    let only_test = tempfile::tempdir().unwrap();
    write_pair(&only_test, "test-", 2, &[0, 1]);
    assert!(rejection(&only_test, "", 2).contains("found neither"));
}

#[test]
fn data_embeddings_of_every_width_and_order_are_the_same() {
    let folder = forty();
    let expected = load(&folder).unwrap();
    let columns: Vec<f32> = (0..3).flat_map(|column| numbers(40).into_iter().skip(column).step_by(3)).collect();
    let doubles = |values: &[f32]| values.iter().flat_map(|&value| f64::from(value).to_be_bytes()).collect::<Vec<u8>>();
    let halves =
        |values: &[f32]| values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect::<Vec<u8>>();
    for file in [
        npy("<f4", true, &[40, 3], &f32s(&columns)),
        npy(">f8", false, &[40, 3], &doubles(&numbers(40))),
        npy(">f8", true, &[40, 3], &doubles(&columns)),
        npy("<f2", false, &[40, 3], &halves(&numbers(40))),
        npy("<f2", true, &[40, 3], &halves(&columns)),
    ] {
        write(&folder, "embeddings.npy", file);
        assert_eq!(load(&folder).unwrap(), expected);
    }
}

#[test]
fn data_embeddings_have_labels_of_strings_too() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(&folder, "", 4, &[0; 4]);
    write(&folder, "labels.npy", npy("|S3", false, &[4], b"ox\0cat\x65\x6c\x6bcat"));
    let data = load(&folder).unwrap();
    assert_eq!(data.classes, ["cat", "elk", "ox"]);
    assert_eq!((data.train.labels(), data.test.labels()), (&[2, 0, 1][..], &[0][..]));
    assert_eq!(data.notes[0], "2 classes with one embedding only: in the training set, not in the test set");
    write_pair(&folder, "test-", 1, &[0]);
    let message = rejection(&folder, "test-labels.npy", 1);
    assert!(message.contains("found numbers, but strings in the training set"), "{message}");
}

#[test]
fn data_embeddings_streamed_and_in_memory_give_the_same_bits() {
    let folder = forty();
    let load = |memory| load_with(folder.path(), &LoadOptions { memory: Some(memory), ..LoadOptions::default() });
    let (kept, streamed) = (load(480).unwrap(), load(479).unwrap());
    assert!(!kept.train.samples().is_streamed() && streamed.train.samples().is_streamed());
    assert_eq!(values(&kept.train), values(&streamed.train));
    assert_eq!(values(&kept.test), values(&streamed.test));
    let normalization = |data: &Dataset| Normalization::of(data.train.samples()).unwrap();
    assert_eq!(normalization(&kept), normalization(&streamed));
    assert_eq!(normalization(&kept).mean, 0.0);
    write(&folder, "embeddings.npy", npy("<f4", true, &[40, 3], &f32s(&numbers(40))));
    let error = load(479).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("numpy.ascontiguousarray"), "{error}");
}

#[test]
fn data_embeddings_that_are_no_numbers_or_zero_are_rejected_by_their_place() {
    let folder = forty();
    for (value, words) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut numbers = numbers(40);
        numbers[3 * 17 + 2] = value;
        write(&folder, "embeddings.npy", npy("<f4", false, &[40, 3], &f32s(&numbers)));
        let expected = format!("finite values of single precision, found {words} in row 17, column 2");
        assert!(rejection(&folder, "embeddings.npy", 1).contains(&expected));
        let streamed = load_with(folder.path(), &LoadOptions { memory: Some(0), ..LoadOptions::default() });
        assert!(streamed.unwrap_err().to_string().contains(&expected));
    }
    let large: Vec<u8> = (0..120).flat_map(|at| if at == 5 { 1e39_f64 } else { 1.0 }.to_le_bytes()).collect();
    write(&folder, "embeddings.npy", npy("<f8", false, &[40, 3], &large));
    assert!(rejection(&folder, "embeddings.npy", 1).contains("found inf in row 1, column 2"));
    let mut numbers = numbers(40);
    numbers[3 * 39..].fill(0.0);
    write(&folder, "embeddings.npy", npy("<f4", false, &[40, 3], &f32s(&numbers)));
    assert!(rejection(&folder, "embeddings.npy", 1).contains("found zeros only in row 39"));
}

#[test]
fn data_embeddings_of_another_shape_or_type_are_rejected() {
    let folder = forty();
    let whole = fs::read(folder.path().join("embeddings.npy")).unwrap();
    let data = f32s(&numbers(40));
    for (file, words) in [
        (
            npy("<i4", false, &[40, 3], &data),
            "expected an array of floating-point numbers (f2, f4 or f8), found type <i4",
        ),
        (npy("<f4", false, &[120], &data), "expected an array of two dimensions, one embedding a row"),
        (npy("<f4", false, &[40, 3, 1], &data), "expected an array of two dimensions, one embedding a row"),
        (npy("<f4", false, &[0, 3], &[]), "expected one row or more"),
        (npy("<f4", false, &[40, 0], &[]), "expected one row or more, of 1 to 65536 values, found the shape [40, 0]"),
        (npy("|O", false, &[40, 3], b"\x80\x04."), "found Python objects"),
        (npy("<f4", false, &[1 << 40, 3], &data), "the file is cut short"),
        (whole[..whole.len() - 1].to_vec(), "the file is cut short"),
        (whole[..40].to_vec(), "a header that is cut short"),
        (b"not an array".to_vec(), "found other content"),
        ([&whole[..], b"x"].concat(), "found more; the file is damaged"),
    ] {
        write(&folder, "embeddings.npy", file);
        let message = rejection(&folder, "embeddings.npy", 1);
        assert!(message.contains(words), "{words}: {message}");
    }
    let options = LoadOptions { sizing: Sizing::Side(16), ..LoadOptions::default() };
    let error = load_with(forty().path(), &options).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("leave the image size out"), "{error}");
}

#[test]
fn data_embeddings_may_have_names() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(&folder, "", 4, &[0, 1, 0, 1]);
    write_pair(&folder, "test-", 2, &[0, 1]);
    write(&folder, "names.json", br#"["a/1.png", "b/1.png", "a/2.png", "b/2.png"]"#.to_vec());
    let data = load(&folder).unwrap();
    assert_eq!((names(&data.train)[1].as_str(), names(&data.test)[1].as_str()), ("b/1.png", "test 1"));
    write(&folder, "names.json", br#"["a/1.png", "b/1.png", "a/2.png"]"#.to_vec());
    assert!(rejection(&folder, "names.json", 1).contains("expected 4 names, one for each row of"));
    write(&folder, "names.json", b"a/1.png".to_vec());
    assert!(rejection(&folder, "names.json", 1).contains("expected a list of names in JSON"));
}

#[test]
fn data_embeddings_of_all_parts_share_the_memory() {
    let folder = forty();
    write_pair(&folder, "test-", 2, &[7, 40]);
    let load = |memory| load_with(folder.path(), &LoadOptions { memory: Some(memory), ..LoadOptions::default() });
    let streamed = |data: Dataset| [data.train.samples().is_streamed(), data.test.samples().is_streamed()];
    assert_eq!(streamed(load(480 + 24).unwrap()), [false, false]);
    assert_eq!(streamed(load(480 + 23).unwrap()), [true, true]);
}

#[test]
fn data_embeddings_and_labels_must_belong_together() {
    let folder = forty();
    write(&folder, "labels.npy", npy("|u1", false, &[39], &[1; 39]));
    assert!(rejection(&folder, "labels.npy", 1).contains("expected 40 labels, one for each row of"));
    write(&folder, "labels.npy", npy("|u1", false, &[40], &[1; 40]));
    assert!(rejection(&folder, "labels.npy", 1).contains("expected two or more classes, found one class, 1"));
    write(&folder, "labels.npy", npy("|i1", false, &[40], &[255; 40]));
    assert!(rejection(&folder, "labels.npy", 1).contains("found -1 in row 0"));
    fs::remove_file(folder.path().join("labels.npy")).unwrap();
    assert!(rejection(&folder, "labels.npy", 2).contains("expected a file beside embeddings.npy, found none"));

    let folder = forty();
    write_pair(&folder, "test-", 2, &[7, 8]);
    assert!(
        rejection(&folder, "test-labels.npy", 1)
            .contains("expected labels of classes in the training set, found 8 in row 1")
    );
    write_pair(&folder, "test-", 2, &[7, 40]);
    write(&folder, "test-embeddings.npy", npy("<f4", false, &[2, 2], &f32s(&[1.0; 4])));
    assert!(rejection(&folder, "test-embeddings.npy", 1).contains("expected rows of 3 values as in"));
}
