//! Folders of images: one sub-folder per class, or `train/` and `test/` (and `validation/` or `val/`) with one
//! sub-folder per class in each.

mod choose_preparation;
mod class_folders;
mod folder;
mod image_files;

pub(crate) use folder::load;
