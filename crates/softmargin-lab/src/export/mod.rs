//! Results as files for other programs: one file per kind of result.

mod embeddings;

pub(crate) use embeddings::{EmbeddedPart, EmbeddingFormat};
