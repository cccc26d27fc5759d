//! Files of unlabeled samples: images and arrays from files, folders or standard input. A file that cannot be read does
//! not stop the others.

mod embedding_array;
mod expanded;
mod file_samples;
mod folder_walk;
mod image_array;
mod image_layout;
mod input_file;
mod names_file;

pub(crate) use expanded::InputFiles;
pub(crate) use input_file::SampleOrigin;
pub use input_file::{InputFile, UnreadableFile};

#[cfg(test)]
mod tests;
