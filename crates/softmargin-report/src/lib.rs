//! HTML pages from plain records: a training run, an evaluation. Each page is one file that needs no other.
//!
//! ```
//! use softmargin_report::{ClassRecord, ConfusionRecord, EvaluationPage, EvaluationRecord, Fact, evaluation_page};
//!
//! let class = |name: &str, samples, correct: usize| ClassRecord {
//!     name: name.into(),
//!     samples,
//!     correct,
//!     precision: None,
//!     recall: Some(correct as f64 / samples as f64),
//!     f1: None,
//! };
//! let page = evaluation_page(&EvaluationPage {
//!     title: "birds, evaluated".into(),
//!     facts: vec![Fact::new("data", "two classes of birds")],
//!     evaluation: EvaluationRecord {
//!         samples: 5,
//!         accuracy: 0.8,
//!         loss: 0.25,
//!         mean_recall: 0.75,
//!         mean_f1: 0.76,
//!         classes: vec![class("robin", 3, 3), class("wren", 2, 1)],
//!         confusions: vec![ConfusionRecord { class: 1, predicted: 0, count: 1 }],
//!     },
//! });
//! assert!(page.contains("80.00 %"));
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`records`] | the input: structs of strings, numbers and vectors |
//! | [`pages`] | a page is a list of sections |
//! | `sections` | one file each: a function from records to HTML |
//! | `charts` | SVG pictures of curves and matrices |
//! | `html` | the frame of a page, escaping |
//!
//! The crate depends on no other crate of the project: whoever has results converts them to records. **A new section of
//! a report is one function from records to HTML**, in a file under `sections/`, and one line in the page that shows
//! it. Charts take numbers and titles, and do not know what these measure.

mod charts;
mod error;
mod html;
pub mod pages;
pub mod records;
mod sections;

pub use pages::{evaluation_page, run_page};
pub use records::{
    ClassRecord, ConfusionRecord, Ending, EpochPoint, EvaluationPage, EvaluationRecord, Fact, RunPage, TrainingRecord,
};
