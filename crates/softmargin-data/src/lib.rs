//! Samples of known classes to train a classifier with: images, or embeddings that another model has made.
//!
//! A [`Dataset`] comes from the digits built into the crate, from a folder of IDX files (MNIST and its relatives), from
//! a folder of PNG and JPEG images with one sub-folder per class, or from a folder with `embeddings.npy` and
//! `labels.npy`. Its [`Input`] describes what a model receives, and is saved with the model.
//!
//! Some samples are held out of training: the validation set, by which the best model is chosen, and the test set,
//! which is measured once at the end. [`HoldOut`] selects them where the data do not.
//!
//! Images that fit in memory are decoded once. Larger sets are streamed: [`Samples::batch_f32`] reads them from their
//! files, and [`ahead`] prepares the next batches in the background. Data of any other origin need one implementation
//! of [`SampleStore`].
//!
//! ```
//! use softmargin_data::{DataSource, Dataset, LoadOptions};
//!
//! let digits = Dataset::load(&DataSource::Digits, &LoadOptions::default())?;
//! assert_eq!(digits.input.shape(), [1, 8, 8]);
//! assert_eq!((digits.classes.len(), digits.test.len()), (10, 599));
//! # Ok::<(), softmargin_data::Error>(())
//! ```
//!
//! Every module uses only modules above it:
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | the error type, with the exit code of a command that ends with it |
//! | [`wording`] | numbers, nouns and names in messages |
//! | `memory_limit` | how much memory decoded samples may take |
//! | `parallel_read` | reads many items on all threads, results in order |
//! | `read_ahead` | prepares results in the background |
//! | [`augmentation`] | small random changes to training images |
//! | `sample_store` | the trait [`SampleStore`]: the place where samples are stored |
//! | `sample_names` | names of samples |
//! | `in_memory` | stores in memory: images, embeddings |
//! | `samples` | [`Samples`]: some rows of a store; batches |
//! | `labeled_samples` | samples with their classes |
//! | `normalization` | mean and standard deviation of the inputs |
//! | `images` | decoding of image files, and their preparation for a model |
//! | `npy` | NumPy's array files, read and written |
//! | `folder_listing` | the contents of a folder |
//! | `split` | training, validation and test sets |
//! | `load_options` | options for [`Dataset::load`] |
//! | `dataset` | [`Dataset`] and [`Input`] |
//! | `formats` | one reader per format |
//! | `data_source` | built-in or a folder |
//! | `load` | [`Dataset::load`]: chooses the reader |

pub mod augmentation;
mod data_source;
mod dataset;
pub mod error;
mod folder_listing;
mod formats;
mod images;
mod in_memory;
mod labeled_samples;
mod load;
mod load_options;
mod memory_limit;
mod normalization;
mod npy;
mod parallel_read;
mod read_ahead;
mod sample_names;
mod sample_store;
mod samples;
mod split;
pub mod wording;

pub use augmentation::Augmentation;
pub use data_source::DataSource;
pub use dataset::{Dataset, Input};
pub use error::Error;
pub use folder_listing::{SampleFiles, image_files, sample_files};
pub use images::{Ink, Preparation};
pub use labeled_samples::LabeledSamples;
pub use load_options::{LoadOptions, SIDES, Sizing};
pub use normalization::Normalization;
pub use npy::NpyArray;
pub use npy::writer as npy_writer;
pub use read_ahead::ahead;
pub use sample_names::read_row_names;
pub use sample_store::{Sample, SampleKind, SampleStore};
pub use samples::Samples;
pub use split::HoldOut;
