//! NumPy's array files, version 1 to 3: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//!
//! Nothing is allocated on the word of a header: it is held against the length of the file first. Of a stream, no more
//! is read than the header announces, plus one byte.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::f16;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use crate::error::Error;

/// Longest header that is read: NumPy's own take a few hundred bytes.
const MAX_HEADER: usize = 1 << 16;
/// Brackets within brackets in a header, of which NumPy's own have three.
const MAX_DEPTH: usize = 8;

/// An array from an `.npy` file, in C order whatever the file's.
///
/// ```
/// use softmargin_lab::data::NpyArray;
///
/// let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
/// let mut file = b"\x93NUMPY\x01\x00".to_vec();
/// file.extend((header.len() as u16).to_le_bytes());
/// file.extend(header.as_bytes());
/// file.extend([0, 3, 1, 4, 2, 5]);
/// let array = NpyArray::from_reader("x.npy", &mut &file[..])?;
/// assert_eq!(array.shape(), [2, 3]);
/// assert_eq!(array.into_bytes()?, [0, 1, 2, 3, 4, 5]);
/// # Ok::<(), softmargin_lab::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    name: String,
    layout: Layout,
    /// As in the file, in C order.
    data: Vec<u8>,
}

/// What the header of a file says.
#[derive(Clone, Debug, PartialEq)]
struct Layout {
    shape: Vec<usize>,
    element: Element,
    fortran: bool,
    /// Where the data begin.
    start: u64,
    /// Bytes of data.
    announced: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Element {
    kind: Kind,
    /// Bytes.
    size: usize,
    big_endian: bool,
    /// As NumPy writes it, such as `<f4`.
    word: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    /// UCS-4, padded with zeros.
    Unicode,
    /// Bytes, padded with zeros.
    Text,
}

/// Labels as they are in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Labels {
    Numbers(Vec<u64>),
    Names(Vec<String>),
}

impl NpyArray {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file is missing, broken or cut short, or holds something else than numbers or strings. Arrays of Python
    /// objects are refused: to read them would run what is in them.
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

    /// The length of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// The type of the elements as NumPy writes it: `<f4`, `|u1`.
    #[must_use]
    pub fn element_type(&self) -> &str {
        &self.layout.element.word
    }

    /// The bytes of an array of `uint8`.
    ///
    /// # Errors
    /// When it has elements of another type.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        match (self.layout.element.kind, self.layout.element.size) {
            (Kind::Unsigned, 1) => Ok(self.data),
            _ => Err(self.wrong_type("bytes (u1)", "save it with array.astype('uint8')")),
        }
    }

    /// The numbers of an array of `float16`, `float32` or `float64`; what single precision cannot hold becomes infinite.
    ///
    /// # Errors
    /// When it has elements of another type.
    pub fn into_f32(self) -> Result<Vec<f32>, Error> {
        self.layout.element.check_floats(&self.name)?;
        let mut values = vec![0.0; self.data.len() / self.layout.element.size.max(1)];
        self.layout.element.decode(&self.data, &mut values);
        Ok(values)
    }

    /// The labels of an array of integers or strings.
    pub(super) fn into_labels(self) -> Result<Labels, Error> {
        let Element { kind, size, .. } = self.layout.element;
        if self.shape().len() != 1 {
            let expected = "an array of one dimension, one label a row";
            let found = format!("the shape {:?}", self.shape());
            return Err(Error::failure(
                &self.name,
                expected,
                found,
                "save it with labels.argmax(axis=1) where a row has one column a class, else labels.ravel()",
            ));
        }
        let rows = self.data.chunks_exact(size.max(1)).enumerate();
        match kind {
            Kind::Signed | Kind::Unsigned => {
                rows.map(|(row, bytes)| self.number(row, bytes)).collect::<Result<_, _>>().map(Labels::Numbers)
            }
            Kind::Unicode | Kind::Text => {
                rows.map(|(row, bytes)| self.string(row, bytes)).collect::<Result<_, _>>().map(Labels::Names)
            }
            Kind::Float => Err(self.wrong_type("integers or strings", "save it with labels.astype('int64')")),
        }
    }

    fn number(&self, row: usize, bytes: &[u8]) -> Result<u64, Error> {
        let element = &self.layout.element;
        let mut word = [0; 8];
        if element.big_endian {
            bytes.iter().rev().zip(&mut word).for_each(|(&byte, place)| *place = byte);
        } else {
            bytes.iter().zip(&mut word).for_each(|(&byte, place)| *place = byte);
        }
        let value = u64::from_le_bytes(word);
        let sign = 1_u64 << (8 * bytes.len().clamp(1, 8) - 1);
        if element.kind == Kind::Signed && value & sign != 0 {
            let negative = i128::from(value) - (i128::from(sign) << 1);
            let found = format!("{negative} in row {row}");
            return Err(Error::failure(&self.name, "labels from 0", found, "number the classes from 0"));
        }
        Ok(value)
    }

    fn string(&self, row: usize, bytes: &[u8]) -> Result<String, Error> {
        let element = &self.layout.element;
        let text = if element.kind == Kind::Unicode {
            let code = |four: &[u8]| {
                let four = [four[0], four[1], four[2], four[3]];
                char::from_u32(if element.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
            };
            bytes.chunks_exact(4).map(code).collect::<Option<String>>()
        } else {
            String::from_utf8(bytes.to_vec()).ok()
        };
        let text = text.map(|text| text.trim_end_matches('\0').to_owned()).filter(|text| !text.is_empty());
        text.ok_or_else(|| {
            let found = format!("none or broken characters in row {row}");
            Error::failure(&self.name, "a name of a class in every row", found, "save strings of Unicode")
        })
    }

    fn wrong_type(&self, expected: &str, advice: &str) -> Error {
        Error::failure(&self.name, format!("an array of {expected}"), format!("type {}", self.element_type()), advice)
    }
}

/// A two-dimensional array of floating-point numbers in C order, read row by row.
#[derive(Debug)]
pub(super) struct NpyRows {
    path: PathBuf,
    file: Mutex<File>,
    layout: Layout,
}

impl PartialEq for NpyRows {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.layout) == (&other.path, &other.layout)
    }
}

impl NpyRows {
    /// Opens a file of numbers with two dimensions. It need not be in C order until it is read.
    pub(super) fn open(path: &Path) -> Result<NpyRows, Error> {
        let unreadable = |cause| Error::io(path, "a readable .npy file", cause);
        let mut file = File::open(path).map_err(unreadable)?;
        let name = path.display().to_string();
        let layout = Layout::read(&name, &mut file)?;
        let stored = file.metadata().map_err(unreadable)?.len();
        layout.check_length(&name, stored.saturating_sub(layout.start))?;
        layout.element.check_floats(&name)?;
        if layout.shape.len() != 2 {
            let found = format!("the shape {:?}", layout.shape);
            let advice = "save it with array.reshape(len(array), -1)";
            return Err(Error::failure(name, "an array of two dimensions, one embedding a row", found, advice));
        }
        Ok(NpyRows { path: path.to_owned(), file: Mutex::new(file), layout })
    }

    /// Rows and columns.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.layout.shape[0], self.layout.shape[1]]
    }

    /// Whether the rows lie one after the other.
    pub(super) fn is_by_rows(&self) -> bool {
        !self.layout.fortran || self.layout.shape.contains(&1)
    }

    /// The rows from `first` on, as many as `out` holds.
    pub(super) fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let row = self.layout.shape[1] as u64 * self.layout.element.size as u64;
        let mut bytes = vec![0; out.len() * self.layout.element.size];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.layout.start + first as u64 * row))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|cause| Error::io(&self.path, format!("the {} bytes from row {first}", bytes.len()), cause))?;
        drop(file);
        self.layout.element.decode(&bytes, out);
        Ok(())
    }
}

impl Layout {
    fn read(name: &str, reader: &mut dyn Read) -> Result<Layout, Error> {
        let text = read_header(name, reader)?;
        let broken = |found: &dyn std::fmt::Display| {
            Error::failure(name, "the header of a .npy file", found, "save the file again with numpy.save")
        };
        let header = NpyHeader::from_reader(&text[..]).map_err(|cause| broken(&cause))?;
        let element = Element::of(name, &header.dtype())?;
        let too_large = || broken(&format!("the shape {:?}", header.shape()));
        let bytes = header.shape().iter().try_fold(element.size as u64, |bytes, &side| bytes.checked_mul(side));
        let announced = bytes.filter(|&bytes| bytes < i64::MAX as u64).ok_or_else(too_large)?;
        let shape: Option<Vec<usize>> = header.shape().iter().map(|&side| usize::try_from(side).ok()).collect();
        Ok(Layout {
            shape: shape.ok_or_else(too_large)?,
            element,
            fortran: header.order() == Order::Fortran,
            start: text.len() as u64,
            announced,
        })
    }

    fn check_length(&self, name: &str, found: u64) -> Result<(), Error> {
        let expected = format!("{} bytes of data for the shape {:?}", self.announced, self.shape);
        match found.cmp(&self.announced) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                Err(Error::failure(name, expected, found, "the file is cut short: save or fetch it again"))
            }
            std::cmp::Ordering::Greater => {
                Err(Error::failure(name, expected, "more", "the file is damaged: save or fetch it again"))
            }
        }
    }
}

/// All that comes before the data, if it is no longer and no deeper than it may be.
fn read_header(name: &str, reader: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let broken = |found: &str| {
        Error::failure(name, "a .npy file, as numpy.save writes it", found, "save the file again with numpy.save")
    };
    let mut more = |text: &mut Vec<u8>, count: usize| {
        let start = text.len();
        text.resize(start + count, 0);
        reader.read_exact(&mut text[start..]).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::UnexpectedEof => broken("a header that is cut short"),
            _ => Error::io(Path::new(name), "a readable .npy file", cause),
        })
    };
    let mut text = Vec::new();
    more(&mut text, 8)?;
    if !text.starts_with(b"\x93NUMPY") {
        return Err(broken("other content"));
    }
    let digits = if text[6] == 1 { 2 } else { 4 };
    more(&mut text, digits)?;
    let length = text[8..].iter().rev().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > MAX_HEADER {
        return Err(broken(&format!("a header of {length} bytes")));
    }
    let start = text.len();
    more(&mut text, length)?;
    if !numbers_multiply(&text[start..]) {
        return Err(broken("a shape of more elements than can be counted"));
    }
    let mut depth = 0_usize;
    for byte in &text[start..] {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(broken("a header with brackets in brackets"));
        }
    }
    Ok(text)
}

/// Whether the product of all the numbers in a header, those of the shape among them, fits in 64 bits: what reads the
/// header multiplies unchecked.
fn numbers_multiply(header: &[u8]) -> bool {
    let numbers = header.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let value = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let mut values = numbers.map(value);
    values.try_fold(1_u64, |product, value| product.checked_mul(value?.max(1))).is_some()
}

impl Element {
    fn of(name: &str, kind: &DType) -> Result<Element, Error> {
        let refuse =
            |found: &str, advice: &str| Err(Error::failure(name, "an array of numbers or strings", found, advice));
        if kind.uses_pickled_array() {
            let advice = "save it with array.astype('float32') or labels.astype(str): reading Python objects would run \
                          what is in them";
            return refuse("Python objects", advice);
        }
        let DType::Plain(plain) = kind else {
            return refuse("records of several fields", "save one field of them");
        };
        let size = plain.num_bytes().unwrap_or_default();
        let known = match (plain.type_char(), size) {
            (TypeChar::Float, 2 | 4 | 8) => Some(Kind::Float),
            (TypeChar::Int, 1 | 2 | 4 | 8) => Some(Kind::Signed),
            (TypeChar::Uint, 1 | 2 | 4 | 8) => Some(Kind::Unsigned),
            (TypeChar::UnicodeStr, 1..) => Some(Kind::Unicode),
            (TypeChar::ByteStr, 1..) => Some(Kind::Text),
            _ => None,
        };
        match known {
            Some(kind) => {
                let big_endian = plain.endianness() == Endianness::Big;
                Ok(Element { kind, size, big_endian, word: plain.to_string() })
            }
            None => {
                let advice = "save embeddings with array.astype('float32'), labels with labels.astype('int64')";
                refuse(&format!("type {plain}"), advice)
            }
        }
    }

    fn check_floats(&self, name: &str) -> Result<(), Error> {
        if self.kind == Kind::Float {
            return Ok(());
        }
        let expected = "an array of floating-point numbers (f2, f4 or f8)";
        let advice = "save it with array.astype('float32')";
        Err(Error::failure(name, expected, format!("type {}", self.word), advice))
    }

    /// Floating-point numbers of 2, 4 or 8 bytes in single precision.
    fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        match (self.size, self.big_endian) {
            (2, false) => decode_with(bytes, out, |word| f16::from_le_bytes(word).to_f32()),
            (2, true) => decode_with(bytes, out, |word| f16::from_be_bytes(word).to_f32()),
            (4, false) => decode_with(bytes, out, f32::from_le_bytes),
            (4, true) => decode_with(bytes, out, f32::from_be_bytes),
            (_, false) => decode_with(bytes, out, |word| single(f64::from_le_bytes(word))),
            (_, true) => decode_with(bytes, out, |word| single(f64::from_be_bytes(word))),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "single precision is what models compute in")]
fn single(value: f64) -> f32 {
    value as f32
}

fn decode_with<const SIZE: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; SIZE]) -> f32) {
    let (words, _) = bytes.as_chunks::<SIZE>();
    words.iter().zip(out).for_each(|(word, value)| *value = number(*word));
}

/// Elements of `size` bytes from Fortran order (the first index runs fastest) to C order (the last does).
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

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
