//! Writes arrays in NumPy's format.

use crate::error::Error;
use npyz::{DType, WriteOptions, WriterBuilder};
use std::io::Write;

/// Returns the content of a file with an array (N, D) of single precision, D being `columns`.
///
/// # Errors
/// If the array does not fit the format.
pub fn matrix(values: &[f32], columns: usize) -> Result<Vec<u8>, Error> {
    let rows = values.len() / columns.max(1);
    let content = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    file("<f4", &[rows as u64, columns as u64], content)
}

/// Returns the content of a file with an array (N) of strings.
///
/// # Errors
/// If the array does not fit the format.
pub fn texts(texts: &[&str]) -> Result<Vec<u8>, Error> {
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default().max(1);
    let padded = |text: &str| text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width).collect::<Vec<_>>();
    let content = texts.iter().flat_map(|text| padded(text)).flat_map(u32::to_le_bytes).collect();
    file(&format!("<U{width}"), &[texts.len() as u64], content)
}

fn file(kind: &str, shape: &[u64], content: Vec<u8>) -> Result<Vec<u8>, Error> {
    let unwritable = |cause: String| Error::failure("an array", "one that .npy can hold", cause, "");
    let kind = kind.parse().map_err(|cause: npyz::ParseTypeStrError| unwritable(cause.to_string()))?;
    let mut file = Vec::with_capacity(content.len() + 128);
    let header = WriteOptions::new_header_only().dtype(DType::Plain(kind)).shape(shape).writer(&mut file);
    header.write_header_only().map_err(|cause| unwritable(cause.to_string()))?;
    file.write_all(&content).map_err(|cause| unwritable(cause.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::array::NpyArray;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let values = vec![1.0, -2.5, 3.0, 0.0, f32::MAX, 1e-30];
        let array = NpyArray::from_reader("x", &mut &matrix(&values, 3).unwrap()[..]).unwrap();
        assert_eq!(array.shape(), [2, 3]);
        assert_eq!(array.into_f32().unwrap(), values);
    }

    #[test]
    fn texts_are_as_wide_as_the_longest() {
        let file = texts(&["a", "äöü"]).unwrap();
        let array = NpyArray::from_reader("x", &mut &file[..]).unwrap();
        assert_eq!((array.shape(), array.element_type()), ([2].as_slice(), "<U3"));
        let content: Vec<u8> = "a\0\0äöü".chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
        assert!(file.ends_with(&content));
        assert!(texts(&[]).is_ok());
    }
}
