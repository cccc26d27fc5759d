//! Embeddings of a file, each read on request.

use crate::error::Error;
use crate::npy::NpyRows;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore};

/// The rows of a file as embeddings.
#[derive(Debug)]
pub(super) struct NpyEmbeddings {
    rows: NpyRows,
    names: SampleNames,
}

impl NpyEmbeddings {
    /// Creates a store of the embeddings in a file whose rows are contiguous; nothing is read yet.
    pub(super) fn new(rows: NpyRows, names: SampleNames) -> NpyEmbeddings {
        NpyEmbeddings { rows, names }
    }
}

impl SampleStore for NpyEmbeddings {
    fn kind(&self) -> SampleKind {
        SampleKind::Embedding
    }

    fn shape(&self) -> [usize; 3] {
        [self.rows.shape()[1], 1, 1]
    }

    fn count(&self) -> usize {
        self.rows.shape()[0]
    }

    fn name(&self, row: usize) -> String {
        self.names.of(row)
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        let mut values = vec![0.0; self.rows.shape()[1]];
        self.rows.read(row, &mut values)?;
        Ok(Sample::Embedding(values.into()))
    }
}
