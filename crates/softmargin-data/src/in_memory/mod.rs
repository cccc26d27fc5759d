//! Stores of samples that are in memory.

mod embeddings;
mod images;

pub(crate) use embeddings::EmbeddingsInMemory;
pub(crate) use images::{ImageBytes, ImagesInMemory};
