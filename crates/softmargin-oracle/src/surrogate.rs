//! The function whose derivative is a straight-through gradient.
//!
//! A straight-through margin uses `psi' = 1`, which is not the derivative of `psi`. It is the derivative of
//! `score + (psi(score0) - score0)`, with the bracket frozen at the score `score0` at which the gradient is computed.
//! With a radius, the frozen number is `(psi(score0) - score0) / r0` and the function is `score + r * frozen`, which is
//! the same at a fixed radius. Numerical derivatives of the surrogate therefore verify a straight-through gradient.
//!
//! A standardized margin value is treated as a constant: the surrogate stores the norms at which it was computed.

use crate::description::{Batch, Oracle};
use crate::error::OracleError;
use crate::loss::LossOutput;
use crate::margin::{Margin, MarginGradient};

/// The parts of a loss that are not differentiated, frozen at one batch; exact margins are not frozen.
#[derive(Debug, Clone, PartialEq)]
pub struct Surrogate {
    /// Step of the straight-through margin of each row.
    pub(crate) steps: Option<Vec<f64>>,
    /// Norms used by standardized margin values.
    pub(crate) norms: Option<Vec<f64>>,
}

impl Surrogate {
    /// Freezes `oracle` at `batch`.
    pub fn frozen_at(oracle: &Oracle, batch: &Batch) -> Self {
        let norms = batch.embedding_norms.clone();
        let straight = match &oracle.margin {
            Margin::Angle(angle) if angle.gradient == MarginGradient::StraightThrough => angle,
            _ => return Self { steps: None, norms },
        };
        let step = |i: usize| match batch.label(i) {
            Some(label) if (0..batch.classes as i64).contains(&label) => {
                let label = label as usize;
                straight.step(batch.row(i)[label], oracle.row_context(batch, i, label))
            }
            _ => 0.0,
        };
        Self { steps: Some((0..batch.rows()).map(step).collect()), norms }
    }

    /// Returns the loss at another batch or another scale, with the same frozen parts.
    pub fn evaluate(&self, oracle: &Oracle, batch: &Batch) -> Result<LossOutput, OracleError> {
        oracle.evaluate_frozen(batch, Some(self))
    }
}
