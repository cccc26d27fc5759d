//! Reading files of every kind, as the commands do.

use super::file_samples::{NPY, Values};
use super::*;
use softmargin_data::error::Error;
use softmargin_data::npy_writer;
use softmargin_data::{Ink, Input, Preparation, Samples};

fn images_of(side: usize) -> Input {
    Input::Images(Preparation::new(1, side, side, Ink::AsIs).unwrap())
}

/// The origins and values of the samples, and the unreadable files.
type Everything = (Vec<SampleOrigin>, Vec<f32>, Vec<UnreadableFile>);

/// Returns everything that `work` receives for some files.
fn all(sources: &[InputFile], input: &Input) -> Result<Everything, Error> {
    let (mut origins, mut values) = (Vec::new(), Vec::new());
    let mut take = |some: &[SampleOrigin], samples: &Samples| {
        let mut batch = Vec::new();
        samples.batch_f32(&(0..samples.count()).collect::<Vec<_>>(), &mut batch)?;
        origins.extend(some.to_vec());
        values.extend(batch);
        Ok(())
    };
    let failures = InputFiles::expand(sources, input)?.for_each_chunk(input, 1, &|_, _| (), &mut take)?;
    Ok((origins, values, failures))
}

fn content(name: &str, bytes: &[u8]) -> InputFile {
    InputFile::Content(name.into(), bytes.to_vec())
}

/// A `.npy` file with an array of bytes or of single precision.
fn npy(shape: &str, values: &Values) -> Vec<u8> {
    let (kind, content) = match values {
        Values::Bytes(bytes) => ("|u1", bytes.clone()),
        Values::Floats(values) => ("<f4", values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    };
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [NPY, &[1, 0], &length, header.as_bytes(), &content].concat()
}

#[test]
fn rows_of_arrays_come_in_order_past_what_cannot_be_read() {
    let values: Vec<f32> = (0..40).map(|value| value as f32).collect();
    let array = content("a", &npy_writer::matrix(&values, 2).unwrap());
    let last = content("c", &npy_writer::matrix(&[7.0, 8.0], 2).unwrap());
    let sources = [array, content("b", b"nothing"), last];
    let (origins, read, failures) = all(&sources, &Input::Embeddings { size: 2 }).unwrap();
    assert_eq!(read, [values.as_slice(), &[7.0, 8.0]].concat());
    assert_eq!(origins.len(), 21);
    assert_eq!(origins[19], SampleOrigin { file: "a".into(), row: Some(19), name: None });
    assert_eq!((failures.len(), failures[0].file.as_str()), (1, "b"));
}

#[test]
fn nothing_that_can_be_read_is_an_error_that_counts() {
    let error = all(&[content("a", b"x"), content("b", b"y")], &images_of(8)).unwrap_err().to_string();
    assert!(error.starts_with("a: expected") && error.contains("1 more cannot be read"), "{error}");
}

#[test]
fn embeddings_of_another_shape_or_not_finite_are_rejected() {
    let rejected = |values: &[f32], columns| {
        let array = content("x", &npy_writer::matrix(values, columns).unwrap());
        all(&[array], &Input::Embeddings { size: 2 }).unwrap_err().to_string()
    };
    assert!(rejected(&[1.0, 2.0, 3.0], 3).contains("(N, 2)"));
    assert!(rejected(&[1.0, 2.0, f32::NAN, 0.0], 2).contains("NaN in row 1, column 0"));
}

#[test]
fn arrays_of_images_are_bytes_or_shares() {
    let read = |shape: &str, values: &Values| {
        let (origins, values, _) = all(&[content("x", &npy(shape, values))], &images_of(8))?;
        Ok::<_, Error>((origins.len(), values))
    };
    let bytes: Vec<u8> = (0..128).collect();
    let shares: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    assert_eq!(read("2, 8, 8", &Values::Bytes(bytes)).unwrap(), (2, shares.clone()));
    assert_eq!(read("2, 8, 8", &Values::Floats(shares.clone())).unwrap(), (2, shares));
    for value in [-0.1, 1.1, f32::NAN] {
        let message = read("2, 8, 8", &Values::Floats(vec![value; 128])).unwrap_err().to_string();
        assert!(message.contains("from 0 to 1"), "{message}");
    }
    assert_eq!(read("1, 8, 8, 3", &Values::Bytes(vec![51; 192])).unwrap(), (1, vec![0.2; 64]));
    for (shape, count) in [("128,", 128), ("2, 64", 128), ("1, 8, 8, 2", 128), ("3, 0, 8", 0)] {
        let message = read(shape, &Values::Bytes(vec![0; count])).unwrap_err().to_string();
        assert!(message.contains("(N, H, W)"), "{message}");
    }
}
