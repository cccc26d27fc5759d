//! Run directories: all files of a training run.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the complete configuration |
//! | `model.safetensors` | the weights of encoder and head of the best epoch |
//! | `classes.json` | the names of the classes, in the order of the scores |
//! | `metrics.jsonl` | one line per epoch, and a last one with the result on the test set and what is missing |
//! | `report.html` | the run at a glance |
//! | `checkpoint/last.safetensors` | the weights after the last step |
//! | `checkpoint/state.json` | epochs, steps, the reason for the end, the loss state of the best epoch |
//!
//! The checkpoint contains what the evaluation of a loss with a state needs. Training cannot be resumed from it: the
//! momentum of the optimizer is missing.
//!
//! A [`Draft`] is assembled beside its final place and moved there in one step, so that a run directory is complete or
//! absent. The draft is updated after each epoch and is itself a usable run directory: if the process is killed,
//! `.NAME.partial-...` is left, and at most one epoch is lost. The next run beside it names it ([`UnfinishedRun`]). Any
//! other failure after the first epoch ends with a run directory whose last metrics and report say what is missing.

pub mod atomic_write;
mod checkpoint;
mod destination;
mod directory;
mod draft;
mod folder_lock;
mod layout;
mod records;
mod unfinished;

pub use checkpoint::Checkpoint;
pub use destination::Destination;
pub use directory::Run;
pub use draft::{Draft, FinishedRun};
pub(crate) use layout::{MODEL, STATE, damaged};
pub(crate) use records::{EndRecord, lines};
pub use records::{EpochRecord, Stopped};
pub use unfinished::UnfinishedRun;
