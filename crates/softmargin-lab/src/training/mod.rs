//! Training: batches, schedule, optimizer, the best model. It writes no files; the callback of [`Trainer::fit`] does.

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
