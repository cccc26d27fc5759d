//! Metrics of trained models: plain slices in, plain structs out. No framework, no files.
//!
//! ```
//! use softmargin_metrics::Classification;
//!
//! // Five samples of three classes; the third class has no samples.
//! let result = Classification::new(&[0, 1, 1, 0, 1], &[0, 1, 0, 0, 0], 3)?;
//! assert_eq!(result.accuracy, 0.6);
//! assert_eq!(result.classes[0].recall(), Some(0.5));
//! assert_eq!(result.classes[2].recall(), None);
//! # Ok::<(), softmargin::Error>(())
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`classification`] | accuracy; precision, recall and F1 of each class and their means |
//! | [`confusion`] | counts of a class, and of pairs of classes |
//! | [`labels`] | checks of labels and predictions |
//!
//! A new metric is one file: its formula, its domain and what is undefined in the header, the function, the tests.
//! Errors are those of the core, [`softmargin::Error`].

pub mod classification;
pub mod confusion;
pub mod labels;

pub use classification::Classification;
pub use confusion::{ClassCounts, Confusion};
