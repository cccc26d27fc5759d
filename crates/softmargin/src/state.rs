//! The state of a loss: the values that change between training steps, saved with the model.
//!
//! Only [`Loss::update`](crate::Loss::update) and [`LossState::advance`] change it. In a training step, `update` adds
//! the batch to the moving averages, the loss is computed, and `advance` counts the step. Evaluation only reads the
//! state. So value and gradient are functions of the state and the batch.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The state of a loss; created by [`Loss::initial_state`](crate::Loss::initial_state).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct LossState {
    /// The number of finished training steps.
    pub step: u64,
    /// The seed of training, which decides the drawn margins.
    pub seed: u64,
    /// The moving average of the targets' cosines, for [`Negatives::Curricular`](crate::Negatives::Curricular).
    pub target_mean: f64,
    /// The moving average of the embedding norms, for [`NormMargin::Standardized`](crate::NormMargin::Standardized).
    pub norm_mean: f64,
    /// The moving average of the standard deviation of those norms.
    pub norm_std: f64,
}

impl Default for LossState {
    fn default() -> Self {
        Self { step: 0, seed: 0, target_mean: 0.0, norm_mean: 20.0, norm_std: 100.0 }
    }
}

impl LossState {
    /// Returns the same state with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Counts a finished training step.
    pub fn advance(&mut self) {
        self.step = self.step.saturating_add(1);
    }

    /// Checks that the averages are values that training can produce, for a state that was read from a file.
    ///
    /// # Errors
    /// If an average is not finite, or a norm or standard deviation is below 0. The message names the field.
    pub fn check(&self) -> Result<()> {
        let numbers = [
            ("state.target-mean", self.target_mean, f64::NEG_INFINITY, "a finite number"),
            ("state.norm-mean", self.norm_mean, 0.0, "a finite number, 0 or above"),
            ("state.norm-std", self.norm_std, 0.0, "a finite number, 0 or above"),
        ];
        let bad = numbers.into_iter().find(|(_, number, least, _)| !(number.is_finite() && number >= least));
        let Some((name, number, _, expected)) = bad else { return Ok(()) };
        let advice = "use a state that Loss::initial_state and Loss::update have made";
        Err(Error::new(ErrorKind::Number, name, expected, number.to_string(), advice))
    }
}
