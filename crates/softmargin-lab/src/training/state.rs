//! The state of training, as one plain struct: everything that is carried from epoch to epoch except tensors.
//!
//! The order of the samples, augmentation and draws are functions of the seed and of the counts here, so a resumed run
//! needs this, the parameters and the state of the optimizer.

use super::best::BestEpoch;
use crate::run::{EpochRecord, Stopped};
use softmargin::LossState;

/// The state of training after an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrainingState {
    /// The epochs so far; the last may have been interrupted.
    pub(crate) epochs: Vec<EpochRecord>,
    /// The number of steps.
    pub(crate) steps: u64,
    /// The number of samples, all epochs together.
    pub(crate) images: usize,
    /// The best epoch.
    pub(crate) best: BestEpoch,
    /// The state of the loss at the best epoch, for losses that have one.
    pub(crate) best_loss_state: Option<LossState>,
    /// The reason why training ended; `None` while it goes on.
    pub(crate) stopped: Option<Stopped>,
}
