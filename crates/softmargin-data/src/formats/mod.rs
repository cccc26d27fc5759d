//! One reader per format. Readers do not know each other; `load` chooses among them.

pub(crate) mod digits;
mod embedding_folder;
mod gray_images;
mod idx;
pub(crate) mod image_folder;

pub(crate) use embedding_folder::EmbeddingFolder;
pub(crate) use idx::IdxFolder;
