//! Values carried from step to step, and their update with a batch.
//!
//! ```text
//! T  <- momentum mean(score_y) + (1 - momentum) T          negatives: Curricular
//! mu <- momentum mean(a') + (1 - momentum) mu              margin values: Standardized
//! sd <- momentum std(a') + (1 - momentum) sd         a' = |x| clamped to [0.001, 100]
//! ```
//!
//! Means are over the valid rows (those of weight above 0); `T` excludes infinite scores. The standard deviation is the
//! sample standard deviation (divisor n - 1); a single row leaves it unchanged. Without valid rows nothing changes.

use crate::description::{Batch, Oracle};
use crate::error::OracleError;
use crate::margin_value::{NormMargin, clamped_norm};
use crate::negatives::Negatives;

/// State of a loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Number of finished steps.
    pub step: u64,
    /// Seed of drawn margins.
    pub seed: u64,
    /// `T`, the running mean of the targets' scores.
    pub target_mean: f64,
    /// `mu`, the running mean of the norms.
    pub norm_mean: f64,
    /// `sd`, the running standard deviation of the norms.
    pub norm_std: f64,
}

impl State {
    /// Returns the state before training.
    pub fn initial() -> Self {
        Self { step: 0, seed: 0, target_mean: 0.0, norm_mean: 20.0, norm_std: 100.0 }
    }
}

/// Returns `momentum * new + (1 - momentum) * old`.
fn running_average(momentum: f64, new: f64, old: f64) -> f64 {
    momentum * new + (1.0 - momentum) * old
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Oracle {
    /// Returns the state updated with a batch; the update precedes the loss of the batch.
    pub fn update(&self, batch: &Batch) -> Result<State, OracleError> {
        self.check(batch)?;
        let weights = self.row_weights(batch);
        let rows: Vec<usize> = (0..batch.rows()).filter(|i| weights[*i] > 0.0).collect();
        let mut state = self.state;
        if let Negatives::Curricular { momentum } = self.negatives {
            let of_target = |i: &usize| batch.label(*i).map(|label| batch.row(*i)[label as usize]);
            let scores: Vec<f64> = rows.iter().filter_map(of_target).filter(|z| z.is_finite()).collect();
            if !scores.is_empty() {
                state.target_mean = running_average(momentum, mean(&scores), state.target_mean);
            }
        }
        if let (Some(momentum), Some(norms)) = (self.norm_momentum(), &batch.embedding_norms) {
            let clamped: Vec<f64> = rows.iter().map(|i| clamped_norm(norms[*i])).collect();
            if !clamped.is_empty() {
                state.norm_mean = running_average(momentum, mean(&clamped), self.state.norm_mean);
            }
            if clamped.len() > 1 {
                let squares: f64 = clamped.iter().map(|a| (a - mean(&clamped)) * (a - mean(&clamped))).sum();
                let std = (squares / (clamped.len() as f64 - 1.0)).sqrt();
                state.norm_std = running_average(momentum, std, self.state.norm_std);
            }
        }
        Ok(state)
    }

    fn norm_momentum(&self) -> Option<f64> {
        self.margin.margin_values().iter().find_map(|(value, _)| match value.norm_margin() {
            Some(NormMargin::Standardized { momentum, .. }) => Some(momentum),
            _ => None,
        })
    }
}
