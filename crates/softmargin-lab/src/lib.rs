//! Data, models, training, evaluation and reports: the library behind the command `softmargin`.
//!
//! ```no_run
//! use softmargin_lab::{DataSource, Destination, Request, Silent, train};
//! use std::path::Path;
//!
//! let summary = train(&Request::new(DataSource::Digits), &Destination::new(Path::new("digits-run"))?, &mut Silent)?;
//! println!("{:.2} %", 100.0 * summary.test_accuracy);
//! # Ok::<(), softmargin_lab::Error>(())
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | [`data`] | images of known classes, from the built-in digits, IDX files or a folder |
//! | [`augmentation`] | small random changes to training images |
//! | [`encoder`] | sample to embedding: convolutions, a projection, or nothing |
//! | [`network`] | the convolutions |
//! | [`model`] | network and head |
//! | [`config`] | what is asked for, and what it resolves to |
//! | [`training`] | the loop, the test, the run directory |
//! | [`evaluation`] | predicted classes against true ones |
//! | [`measuring`] | a run directory's model on samples of known classes |
//! | [`embedding`] | the embeddings that it makes, written down |
//! | [`run_data`] | data as a run's model takes them |
//! | [`inputs`] | images and arrays as they come |
//! | [`prediction`] | a run directory's model on images and arrays |
//! | [`run_dir`] | what a run leaves |
//! | [`observer`] | who is told how far it is |
//! | [`generator`] | the one source of randomness |
//! | [`device`] | where it is computed |
//! | [`error`] | what goes wrong, and the exit code of a command that ends with it |

pub mod config;
pub mod device;
pub mod embedding;
pub mod encoder;
pub mod evaluation;
pub mod inputs;
pub mod measuring;
pub mod model;
pub mod network;
pub mod observer;
pub mod prediction;
pub mod predictor;
mod report;
pub mod run_data;
pub mod run_dir;
pub mod training;
pub mod whole;

pub use softmargin::random as generator;
pub use softmargin_data as data;
use softmargin_data::npy_writer;
pub use softmargin_data::{augmentation, error};

pub use config::{Config, Request};
pub use data::DataSource;
pub use device::DeviceChoice;
pub use embedding::embed;
pub use error::Error;
pub use measuring::evaluate;
pub use observer::{Observer, Silent};
pub use prediction::predict;
pub use run_dir::Destination;
pub use training::{Summary, train};
