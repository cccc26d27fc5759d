//! What changes from step to step, and how a batch is taken into it.
//!
//! ```text
//! T  <- momentum mean(score_y) + (1 - momentum) T          rivals: Curricular
//! mu <- momentum mean(a') + (1 - momentum) mu              amounts: Standardised
//! sd <- momentum deviation(a') + (1 - momentum) sd         a' = |x| within [0.001, 100]
//! ```
//!
//! Means are over the rows that count (of weight above 0); a target's infinite score has no part in the first. The deviation is
//! that of a sample (divided by n - 1), and a single row leaves it. Without rows nothing changes.

use crate::amount::{NormAmount, held_norm};
use crate::description::{Batch, Oracle};
use crate::error::OracleError;
use crate::rivals::Rivals;

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
    pub norm_deviation: f64,
}

impl State {
    /// Where training begins.
    pub fn initial() -> Self {
        Self { step: 0, seed: 0, target_mean: 0.0, norm_mean: 20.0, norm_deviation: 100.0 }
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
        if let Rivals::Curricular { momentum } = self.rivals {
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
                let deviation = (squares / (held.len() as f64 - 1.0)).sqrt();
                state.norm_deviation = blended(momentum, deviation, self.state.norm_deviation);
            }
        }
        Ok(state)
    }

    fn momentum_of_norms(&self) -> Option<f64> {
        self.margin.amounts().iter().find_map(|(amount, _)| match amount.norm_amount() {
            Some(NormAmount::Standardised { momentum, .. }) => Some(momentum),
            _ => None,
        })
    }
}
