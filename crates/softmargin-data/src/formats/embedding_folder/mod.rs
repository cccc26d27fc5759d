//! Folders of embeddings: `embeddings.npy` (N, D) and `labels.npy` (N), or such pairs whose names begin with `train-`,
//! `validation-` and `test-`. A file `names.json` beside a pair has a list of names, one for each row.

mod classes;
mod folder;
mod npy_embeddings;
mod pair;

pub(crate) use folder::EmbeddingFolder;
