//! Configurations: the request of a user, and the complete configuration that it resolves to.
//!
//! A [`ConfigRequest`] is a configuration in which anything may be left open; a file for `--config` contains any part
//! of one. [`Config::resolve`] looks at the data, closes every gap by one rule each, and checks everything before any
//! work begins. The result is written to `config.toml`, in the same layout: as a request it makes the same run again.
//!
//! | file | content |
//! |---|---|
//! | `request.rs` | the request: any part of a configuration; flags over a file |
//! | `resolved.rs`, `recipe.rs`, `network_plan.rs` | the complete configuration |
//! | `resolve.rs` | from a request and the data to a configuration |
//! | `check.rs` | the ranges of all values |
//! | `keys.rs`, `renamed.rs` | all keys with their meanings; old names and new ones |
//! | `file.rs`, `text.rs`, `tables.rs` | reading, writing, merging TOML |

mod check;
mod file;
mod keys;
mod network_plan;
mod recipe;
mod renamed;
mod request;
mod resolve;
mod resolved;
mod tables;
mod text;

pub(crate) use check::Fault;
pub use keys::{KEYS, Key, reference};
pub use network_plan::{Convolution, ConvolutionalPlan, EncoderPlan};
pub use recipe::{OptimizerConfig, Recipe, Schedule};
pub(crate) use renamed::old_name;
pub use renamed::{RENAMED, current_name};
pub use request::{ConfigRequest, DataRequest, NetworkRequest, OptimizerRequest, TrainingRequest};
pub use resolved::{Config, DataConfig, FORMAT, NamedLoss};
pub use softmargin::request::{DEFAULT_LOSS, LossRequest};
