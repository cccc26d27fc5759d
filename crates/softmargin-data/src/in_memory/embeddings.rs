//! Embeddings in memory, one after the other.

use crate::error::Error;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore, whole_samples};

/// Embeddings in memory.
#[derive(Debug)]
pub(crate) struct EmbeddingsInMemory {
    size: usize,
    count: usize,
    values: Vec<f32>,
    names: SampleNames,
}

impl EmbeddingsInMemory {
    /// Creates a store of embeddings of dimension `size` from their values (N, D); their number follows from the
    /// length.
    pub(crate) fn new(values: Vec<f32>, size: usize, names: SampleNames) -> Result<EmbeddingsInMemory, Error> {
        let count = whole_samples(values.len(), [size, 1, 1]).ok_or_else(|| {
            let expected = format!("a multiple of {size} values, the embedding dimension");
            Error::failure("embeddings", expected, format!("{} values", values.len()), "")
        })?;
        Ok(EmbeddingsInMemory { size, count, values, names })
    }
}

impl SampleStore for EmbeddingsInMemory {
    fn kind(&self) -> SampleKind {
        SampleKind::Embedding
    }

    fn shape(&self) -> [usize; 3] {
        [self.size, 1, 1]
    }

    fn count(&self) -> usize {
        self.count
    }

    fn name(&self, row: usize) -> String {
        self.names.of(row)
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        Ok(Sample::Embedding(self.values[row * self.size..][..self.size].into()))
    }

    fn bytes_in_memory(&self) -> u64 {
        size_of_val(&self.values[..]) as u64
    }
}
