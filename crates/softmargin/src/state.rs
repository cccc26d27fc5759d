//! What changes from step to step: read by evaluation, changed only by [`Loss::update`](crate::Loss::update), saved
//! with the model.

use serde::{Deserialize, Serialize};

/// The state of a loss that has one; see [`Loss::initial_state`](crate::Loss::initial_state).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct LossState {
    /// Training steps taken.
    pub step: u64,
}
