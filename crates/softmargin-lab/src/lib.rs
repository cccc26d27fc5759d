//! The training library behind the command `softmargin`: configuration, network, training, run directories.
//!
//! ```no_run
//! use softmargin_lab::{ConfigRequest, DataSource, Destination, Silent, train};
//! use std::path::Path;
//!
//! let request = ConfigRequest::new(DataSource::Digits);
//! let summary = train(&request, &Destination::new(Path::new("digits-run"))?, &mut Silent)?;
//! println!("{:.2} %", 100.0 * summary.test_accuracy.unwrap_or(f64::NAN));
//! # Ok::<(), softmargin_lab::Error>(())
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`commands`] | train, evaluate, predict, embed: ties the other modules together |
//! | [`config`] | the request, and the complete configuration that it resolves to |
//! | [`data`] | the crate `softmargin-data`: images and embeddings with labels, and the error type |
//! | [`input_files`] | unlabeled images and arrays |
//! | [`network`] | encoder and head |
//! | `training` | the training loop |
//! | [`predictor`] | inference in batches |
//! | [`run`] | run directories and atomic writes |
//! | `export` | results as files for other programs |
//! | [`metrics`] | the crate `softmargin-metrics`, whose types are part of results |
//! | [`observer`] | events of training, for progress displays |
//! | `panics` | panics as errors |
//! | [`device`] | devices and threads |
//!
//! Dependence goes one way: `commands` uses all others; `training` uses `predictor`, which uses `network`, which uses
//! `run` and `config`.

pub mod commands;
pub mod config;
pub mod device;
mod export;
pub mod input_files;
pub mod network;
pub mod observer;
mod panics;
pub mod predictor;
pub mod run;
mod training;

pub use commands::{TrainSummary, embed, evaluate, predict, train};
pub use config::{Config, ConfigRequest};
pub use data::DataSource;
pub use data::Error;
pub use device::DeviceChoice;
pub use observer::{Observer, Silent};
pub use run::Destination;
pub use softmargin_data as data;
pub use softmargin_metrics as metrics;
