//! Images in memory, one after the other.

use crate::error::Error;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore, check_shape, whole_samples};

/// Images in memory.
#[derive(Debug)]
pub(crate) struct ImagesInMemory {
    shape: [usize; 3],
    count: usize,
    /// In the order image, channel, row, column.
    bytes: Vec<u8>,
    names: SampleNames,
}

impl ImagesInMemory {
    /// Creates a store of images of `shape` (channels, rows, columns) from their bytes; their number follows from the
    /// length.
    pub(crate) fn new(bytes: Vec<u8>, shape: [usize; 3], names: SampleNames) -> Result<ImagesInMemory, Error> {
        check_shape(SampleKind::Image, shape)?;
        let count = whole_samples(bytes.len(), shape).ok_or_else(|| {
            let [channels, height, width] = shape;
            let expected = format!("a multiple of {channels} x {height} x {width} bytes");
            Error::failure("images", expected, format!("{} bytes", bytes.len()), "")
        })?;
        Ok(ImagesInMemory { shape, count, bytes, names })
    }
}

impl SampleStore for ImagesInMemory {
    fn kind(&self) -> SampleKind {
        SampleKind::Image
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn count(&self) -> usize {
        self.count
    }

    fn name(&self, row: usize) -> String {
        self.names.of(row)
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        let len = self.shape.iter().product::<usize>();
        Ok(Sample::Image(self.bytes[row * len..][..len].into()))
    }

    fn bytes_in_memory(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Bytes of images that are collected one after the other; running out of memory is an error.
#[derive(Default)]
pub(crate) struct ImageBytes {
    bytes: Vec<u8>,
}

impl ImageBytes {
    pub(crate) fn push(&mut self, image: &[u8]) -> Result<(), Error> {
        self.reserve(image.len())?;
        self.bytes.extend_from_slice(image);
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn reserve(&mut self, more: usize) -> Result<(), Error> {
        self.bytes.try_reserve(more).map_err(|cause| {
            let found = format!("no memory after {} bytes", self.bytes.len());
            Error::failure("images", "memory for all of them", found, "choose a smaller image size").with_source(cause)
        })
    }
}
