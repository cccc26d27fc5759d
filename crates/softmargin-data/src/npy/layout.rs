//! The header of an array file: shape, type and order of the elements.
//!
//! Format, version 1 to 3: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::Read;
use std::path::Path;

use half::f16;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use crate::error::Error;

/// Longest header that is read, in bytes; NumPy's own take a few hundred.
const MAX_HEADER: usize = 1 << 16;
/// Deepest nesting of brackets in a header; NumPy's own have three levels.
const MAX_DEPTH: usize = 8;

/// The header of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    pub(super) fortran: bool,
    /// Offset of the data, in bytes.
    pub(super) start: u64,
    /// Bytes of data.
    pub(super) announced: u64,
}

/// The type of the elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Element {
    pub(super) kind: ElementKind,
    /// In bytes.
    pub(super) size: usize,
    pub(super) big_endian: bool,
    /// As NumPy writes it, such as `<f4`.
    pub(super) word: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementKind {
    Float,
    Signed,
    Unsigned,
    /// UCS-4, padded with zeros.
    Unicode,
    /// Bytes, padded with zeros.
    Text,
}

impl Layout {
    /// Reads the header.
    pub(super) fn read(name: &str, reader: &mut dyn Read) -> Result<Layout, Error> {
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

    /// Compares the number of bytes of data with the header.
    pub(super) fn check_length(&self, name: &str, found: u64) -> Result<(), Error> {
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

/// Reads everything before the data, if it is within the limits of length and depth.
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

/// Returns whether the product of all the numbers in a header, including those of the shape, fits in 64 bits: the
/// parser of the header multiplies unchecked.
fn numbers_multiply(header: &[u8]) -> bool {
    let numbers = header.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let value = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let mut values = numbers.map(value);
    values.try_fold(1_u64, |product, value| product.checked_mul(value?.max(1))).is_some()
}

impl Element {
    fn of(name: &str, kind: &DType) -> Result<Element, Error> {
        let reject =
            |found: &str, advice: &str| Err(Error::failure(name, "an array of numbers or strings", found, advice));
        if kind.uses_pickled_array() {
            let advice = "save it with array.astype('float32') or labels.astype(str): reading Python objects would run \
                          what is in them";
            return reject("Python objects", advice);
        }
        let DType::Plain(plain) = kind else {
            return reject("records of several fields", "save one field of them");
        };
        let size = plain.num_bytes().unwrap_or_default();
        let known = match (plain.type_char(), size) {
            (TypeChar::Float, 2 | 4 | 8) => Some(ElementKind::Float),
            (TypeChar::Int, 1 | 2 | 4 | 8) => Some(ElementKind::Signed),
            (TypeChar::Uint, 1 | 2 | 4 | 8) => Some(ElementKind::Unsigned),
            (TypeChar::UnicodeStr, 1..) => Some(ElementKind::Unicode),
            (TypeChar::ByteStr, 1..) => Some(ElementKind::Text),
            _ => None,
        };
        match known {
            Some(kind) => {
                let big_endian = plain.endianness() == Endianness::Big;
                Ok(Element { kind, size, big_endian, word: plain.to_string() })
            }
            None => {
                let advice = "save embeddings with array.astype('float32'), labels with labels.astype('int64')";
                reject(&format!("type {plain}"), advice)
            }
        }
    }

    /// Rejects other types than floating-point numbers.
    pub(super) fn check_floats(&self, name: &str) -> Result<(), Error> {
        if self.kind == ElementKind::Float {
            return Ok(());
        }
        let expected = "an array of floating-point numbers (f2, f4 or f8)";
        let advice = "save it with array.astype('float32')";
        Err(Error::failure(name, expected, format!("type {}", self.word), advice))
    }

    /// Decodes floating-point numbers of 2, 4 or 8 bytes to single precision.
    pub(super) fn decode(&self, bytes: &[u8], out: &mut [f32]) {
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
