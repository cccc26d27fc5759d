//! A whole array, read into memory.
//!
//! No allocation trusts a header: it is compared with the length of the file first. Of a stream, no more is read than
//! the header announces, plus one byte.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::layout::{ElementKind, Layout};
use crate::error::Error;

/// An array from an `.npy` file, in C order whatever the order of the file.
///
/// ```
/// use softmargin_data::NpyArray;
///
/// let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
/// let mut file = b"\x93NUMPY\x01\x00".to_vec();
/// file.extend((header.len() as u16).to_le_bytes());
/// file.extend(header.as_bytes());
/// file.extend([0, 3, 1, 4, 2, 5]);
/// let array = NpyArray::from_reader("x.npy", &mut &file[..])?;
/// assert_eq!(array.shape(), [2, 3]);
/// assert_eq!(array.into_bytes()?, [0, 1, 2, 3, 4, 5]);
/// # Ok::<(), softmargin_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    /// For messages.
    pub(super) name: String,
    pub(super) layout: Layout,
    /// The bytes of the file's elements, in C order.
    pub(super) data: Vec<u8>,
}

impl NpyArray {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file is missing, broken or cut short, or contains other elements than numbers or strings. Arrays of
    /// Python objects are rejected: reading them would run code from the file.
    pub fn read(path: &Path) -> Result<NpyArray, Error> {
        let unreadable = |cause| Error::io(path, "a readable .npy file", cause);
        let file = File::open(path).map_err(unreadable)?;
        let stored = file.metadata().map_err(unreadable)?.len();
        let name = path.display().to_string();
        let mut reader = BufReader::new(file);
        let layout = Layout::read(&name, &mut reader)?;
        layout.check_length(&name, stored.saturating_sub(layout.start))?;
        NpyArray::from_data(name, layout, &mut reader)
    }

    /// Reads a file's content from anywhere; `name` is for messages.
    ///
    /// # Errors
    /// As [`read`](NpyArray::read).
    pub fn from_reader(name: &str, reader: &mut dyn Read) -> Result<NpyArray, Error> {
        let layout = Layout::read(name, reader)?;
        NpyArray::from_data(name.to_owned(), layout, reader)
    }

    fn from_data(name: String, layout: Layout, reader: &mut dyn Read) -> Result<NpyArray, Error> {
        let mut data = Vec::new();
        let unreadable = |cause| Error::io(Path::new(&name), "readable data of a .npy file", cause);
        reader.take(layout.announced.saturating_add(1)).read_to_end(&mut data).map_err(unreadable)?;
        layout.check_length(&name, data.len() as u64)?;
        if layout.fortran {
            data = c_order(&data, &layout.shape, layout.element.size);
        }
        Ok(NpyArray { name, layout, data })
    }

    /// Returns the length of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Returns the type of the elements as NumPy writes it: `<f4`, `|u1`.
    #[must_use]
    pub fn element_type(&self) -> &str {
        &self.layout.element.word
    }

    /// Returns the bytes of an array of `uint8`.
    ///
    /// # Errors
    /// If it has elements of another type.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        match (self.layout.element.kind, self.layout.element.size) {
            (ElementKind::Unsigned, 1) => Ok(self.data),
            _ => Err(self.wrong_type("bytes (u1)", "save it with array.astype('uint8')")),
        }
    }

    /// Returns the values of an array of `float16`, `float32` or `float64`; values too large for single precision
    /// become infinite.
    ///
    /// # Errors
    /// If it has elements of another type.
    pub fn into_f32(self) -> Result<Vec<f32>, Error> {
        self.layout.element.check_floats(&self.name)?;
        let mut values = vec![0.0; self.data.len() / self.layout.element.size.max(1)];
        self.layout.element.decode(&self.data, &mut values);
        Ok(values)
    }

    pub(super) fn wrong_type(&self, expected: &str, advice: &str) -> Error {
        Error::failure(&self.name, format!("an array of {expected}"), format!("type {}", self.element_type()), advice)
    }
}

/// Reorders elements of `size` bytes from Fortran order (the first index runs fastest) to C order (the last does).
fn c_order(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(data.len());
    let mut index = vec![0_usize; shape.len()];
    let strides: Vec<usize> = shape
        .iter()
        .scan(size, |stride, side| {
            let this = *stride;
            *stride *= side;
            Some(this)
        })
        .collect();
    let mut at = 0;
    while ordered.len() < data.len() {
        ordered.extend_from_slice(&data[at..at + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    ordered
}
