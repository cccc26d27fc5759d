//! What changes from step to step, and how a batch is taken into it.
//!
//! ```text
//! T  <- momentum mean(score_y) + (1 - momentum) T          negatives: Curricular
//! mu <- momentum mean(a') + (1 - momentum) mu              margin values: Standardized
//! sd <- momentum deviation(a') + (1 - momentum) sd         a' = |x| within [0.001, 100]
//! ```
//!
//! Means are over the rows that count (of weight above 0); a target's infinite score has no part in the first. The deviation is
//! that of a sample (divided by n - 1), and a single row leaves it. Without rows nothing changes.

use crate::description::{Batch, Oracle};
use crate::error::OracleError;
use crate::margin_value::{NormMargin, held_norm};
use crate::negatives::Negatives;

/// The state of a loss; a loss reads it as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Steps finished.
    pub step: u64,
    /// The seed of drawn margins.
    pub seed: u64,
    /// `T`.
    pub target_mean: f64,
    /// `mu`.
    pub norm_mean: f64,
    /// `sd`.
    pub norm_std: f64,
}

impl State {
    /// Where training begins.
    pub fn initial() -> Self {
        Self { step: 0, seed: 0, target_mean: 0.0, norm_mean: 20.0, norm_std: 100.0 }
    }
}

/// `momentum * new + (1 - momentum) * old`.
fn blended(momentum: f64, new: f64, old: f64) -> f64 {
    momentum * new + (1.0 - momentum) * old
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Oracle {
    /// The state after a batch has been taken in, which comes before the batch's loss.
    pub fn update(&self, batch: &Batch) -> Result<State, OracleError> {
        self.check(batch)?;
        let weights = self.row_weights(batch);
        let rows: Vec<usize> = (0..batch.rows()).filter(|i| weights[*i] > 0.0).collect();
        let mut state = self.state;
        if let Negatives::Curricular { momentum } = self.negatives {
            let of_target = |i: &usize| batch.label(*i).map(|label| batch.row(*i)[label as usize]);
            let scores: Vec<f64> = rows.iter().filter_map(of_target).filter(|z| z.is_finite()).collect();
            if !scores.is_empty() {
                state.target_mean = blended(momentum, mean(&scores), state.target_mean);
            }
        }
        if let (Some(momentum), Some(norms)) = (self.momentum_of_norms(), &batch.embedding_norms) {
            let held: Vec<f64> = rows.iter().map(|i| held_norm(norms[*i])).collect();
            if !held.is_empty() {
                state.norm_mean = blended(momentum, mean(&held), self.state.norm_mean);
            }
            if held.len() > 1 {
                let squares: f64 = held.iter().map(|a| (a - mean(&held)) * (a - mean(&held))).sum();
                let std = (squares / (held.len() as f64 - 1.0)).sqrt();
                state.norm_std = blended(momentum, std, self.state.norm_std);
            }
        }
        Ok(state)
    }

    fn momentum_of_norms(&self) -> Option<f64> {
        self.margin.margin_values().iter().find_map(|(value, _)| match value.norm_margin() {
            Some(NormMargin::Standardized { momentum, .. }) => Some(momentum),
            _ => None,
        })
    }
}
