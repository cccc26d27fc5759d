//! IDX files, the format of MNIST and its relatives: <http://yann.lecun.com/exdb/mnist/>.
//!
//! A file is two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension as a big-endian
//! 32-bit number, and the data. Files may be gzipped, which is recognized by content. No allocation trusts a header: it
//! is compared with the length of the file first, and of a compressed file no more is unpacked than the header
//! announces, plus one byte.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::error::Error;

/// Largest ratio that deflate can reach: a small file cannot hold what a false header announces.
const MOST_PER_PACKED_BYTE: u64 = 1032;

/// An IDX file of unsigned bytes with `RANK` dimensions, whose header has been read.
pub(super) struct IdxFile<const RANK: usize> {
    path: PathBuf,
    reader: Box<dyn Read>,
    /// True if the file is gzipped.
    pub(super) packed: bool,
    pub(super) dimensions: [u64; RANK],
    /// Bytes of data according to the header.
    pub(super) announced: u64,
    /// Bytes of the file itself.
    stored: u64,
}

impl IdxFile<0> {
    /// Opens a file and reads its header.
    pub(super) fn open<const RANK: usize>(path: &Path) -> Result<IdxFile<RANK>, Error> {
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
                Ok(IdxFile { path: path.to_owned(), reader, packed, dimensions, announced, stored })
            }
            _ => Err(wrong_length(path, dimensions, "a file that is too small for them", "fetch the file again")),
        }
    }
}

impl<const RANK: usize> IdxFile<RANK> {
    /// Reads the data.
    pub(super) fn read(self) -> Result<Vec<u8>, Error> {
        let mut data = Vec::new();
        self.reader
            .take(self.announced.saturating_add(1))
            .read_to_end(&mut data)
            .map_err(|cause| Error::io(&self.path, format!("{} readable bytes of data", self.announced), cause))?;
        check_length(&self.path, self.dimensions, self.announced, data.len() as u64)?;
        Ok(data)
    }

    /// Checks that the data of a plain file are complete, and returns the offset at which they start.
    pub(super) fn check_data(&self) -> Result<u64, Error> {
        let start = 4 + 4 * RANK as u64;
        check_length(&self.path, self.dimensions, self.announced, self.stored.saturating_sub(start))?;
        Ok(start)
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
