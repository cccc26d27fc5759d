//! The function whose true derivative a straight-through gradient is.
//!
//! A straight-through margin has `psi' = 1`, which is no derivative of `psi`. It is the derivative
//! of `score + (psi(score0) - score0)`, with the bracket frozen at the score `score0` where the
//! gradient is taken. With a radius the frozen number is `(psi(score0) - score0) / r0`, and the
//! function `score + r * frozen`: at a fixed radius the same. Numerical derivatives of the
//! surrogate therefore prove a straight-through gradient.
//!
//! A standardized margin value counts as a constant: the surrogate keeps the norms that it was taken at.

use crate::description::{Batch, Oracle};
use crate::error::OracleError;
use crate::loss::Outcome;
use crate::margin::{Margin, MarginGradient};

/// What of a loss has no derivative, frozen at one batch; exact margins are left as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Surrogate {
    /// The step of each row's straight-through margin.
    pub(crate) steps: Option<Vec<f64>>,
    /// The norms that standardized margin values see.
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
                straight.step(batch.row(i)[label], oracle.place(batch, i, label))
            }
            _ => 0.0,
        };
        Self { steps: Some((0..batch.rows()).map(step).collect()), norms }
    }

    /// The loss at another batch, another scale, with the same frozen.
    pub fn evaluate(&self, oracle: &Oracle, batch: &Batch) -> Result<Outcome, OracleError> {
        oracle.evaluate_frozen(batch, Some(self))
    }
}
