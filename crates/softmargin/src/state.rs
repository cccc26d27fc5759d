//! What changes from step to step: read by the loss, changed only by [`Loss::update`](crate::Loss::update) and
//! [`LossState::advance`], saved with the model.
//!
//! A step of training is: `update` takes the batch into the averages, the loss is computed, `advance` counts the step.
//! Evaluation reads the state as it is. So value and gradient are functions of the state and the batch.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The state of a loss that has one; see [`Loss::initial_state`](crate::Loss::initial_state).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct LossState {
    /// Training steps finished.
    pub step: u64,
    /// Which margins are drawn: the seed of training.
    pub seed: u64,
    /// The average cosine of the targets, for [`Negatives::Curricular`](crate::Negatives::Curricular).
    pub target_mean: f64,
    /// The average norm of the embeddings, for [`NormMargin::Standardized`](crate::NormMargin::Standardized).
    pub norm_mean: f64,
    /// The average standard deviation of those norms.
    pub norm_std: f64,
}

impl Default for LossState {
    fn default() -> Self {
        Self { step: 0, seed: 0, target_mean: 0.0, norm_mean: 20.0, norm_std: 100.0 }
    }
}

impl LossState {
    /// The same state with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Counts a step that is finished.
    pub fn advance(&mut self) {
        self.step = self.step.saturating_add(1);
    }

    /// Refuses numbers that no training makes, as a file may have them.
    ///
    /// # Errors
    /// On an average that is not finite, and a norm or deviation below 0; the message names it.
    pub fn check(&self) -> Result<()> {
        let numbers = [
            ("state.target-mean", self.target_mean, f64::NEG_INFINITY, "a finite number"),
            ("state.norm-mean", self.norm_mean, 0.0, "a finite number, 0 or above"),
            ("state.norm-std", self.norm_std, 0.0, "a finite number, 0 or above"),
        ];
        let bad = numbers.into_iter().find(|(_, number, least, _)| !(number.is_finite() && number >= least));
        let Some((name, number, _, expected)) = bad else { return Ok(()) };
        let advice = "take a state that Loss::initial_state and Loss::update have made";
        Err(Error::new(ErrorKind::Number, name, expected, number.to_string(), advice))
    }
}
