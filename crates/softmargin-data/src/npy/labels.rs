//! Labels from an array of integers or strings.

use super::array::NpyArray;
use super::layout::{Element, ElementKind};
use crate::error::Error;

/// Labels as they are in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Labels {
    Numbers(Vec<u64>),
    Names(Vec<String>),
}

impl Labels {
    /// Returns the number of labels.
    pub(crate) fn len(&self) -> usize {
        match self {
            Labels::Numbers(numbers) => numbers.len(),
            Labels::Names(names) => names.len(),
        }
    }
}

impl NpyArray {
    /// Returns the labels of an array of integers or strings.
    pub(crate) fn into_labels(self) -> Result<Labels, Error> {
        let Element { kind, size, .. } = self.layout.element;
        if self.shape().len() != 1 {
            let expected = "an array of one dimension, one label per row";
            let found = format!("the shape {:?}", self.shape());
            return Err(Error::failure(
                &self.name,
                expected,
                found,
                "save it with labels.argmax(axis=1) where a row has one column per class, else labels.ravel()",
            ));
        }
        let rows = self.data.chunks_exact(size.max(1)).enumerate();
        match kind {
            ElementKind::Signed | ElementKind::Unsigned => {
                rows.map(|(row, bytes)| self.number(row, bytes)).collect::<Result<_, _>>().map(Labels::Numbers)
            }
            ElementKind::Unicode | ElementKind::Text => {
                rows.map(|(row, bytes)| self.string(row, bytes)).collect::<Result<_, _>>().map(Labels::Names)
            }
            ElementKind::Float => Err(self.wrong_type("integers or strings", "save it with labels.astype('int64')")),
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
        if element.kind == ElementKind::Signed && value & sign != 0 {
            let negative = i128::from(value) - (i128::from(sign) << 1);
            let found = format!("{negative} in row {row}");
            return Err(Error::failure(&self.name, "labels from 0", found, "number the classes from 0"));
        }
        Ok(value)
    }

    fn string(&self, row: usize, bytes: &[u8]) -> Result<String, Error> {
        let element = &self.layout.element;
        let text = if element.kind == ElementKind::Unicode {
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
}
