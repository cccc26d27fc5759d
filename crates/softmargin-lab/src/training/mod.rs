//! Training: batches, schedule, optimizer, the best model. Files are written by others: see [`Trainer::fit`].

mod batches;
mod best;
mod clipping;
mod fit;
mod learner;
mod nesterov;
mod optimizer;
mod schedule;
mod state;

pub(crate) use fit::{EpochEnd, FittedModel, Trainer};
pub(crate) use state::TrainingState;
