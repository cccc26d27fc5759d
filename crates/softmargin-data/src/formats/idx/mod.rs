//! IDX folders, as MNIST and its relatives are published.

mod file;
mod folder;
mod images;

pub(crate) use folder::IdxFolder;
