//! The function whose true derivative a straight-through gradient is.
//!
//! A straight-through margin has `psi' = 1`, which is no derivative of `psi`. It is the derivative
//! of `score + (psi(score0) - score0)`, with the bracket frozen at the score `score0` where the
//! gradient is taken. With a radius the frozen number is `(psi(score0) - score0) / r0`, and the
//! function `score + r * frozen`: at a fixed radius the same. Numerical derivatives of the
//! surrogate therefore prove a straight-through gradient.

use crate::description::{Batch, Oracle};
use crate::error::OracleError;
use crate::loss::Outcome;
use crate::margin::{Margin, MarginGradient};

/// A loss with its straight-through margins frozen at one batch; exact margins are left as they
/// are.
#[derive(Debug, Clone, PartialEq)]
pub struct Surrogate {
    frozen: Option<Vec<f64>>,
}

impl Surrogate {
    /// Freezes the margins of `oracle` at `batch`.
    pub fn frozen_at(oracle: &Oracle, batch: &Batch) -> Self {
        let Margin::Angle(angle) = &oracle.margin else {
            return Self { frozen: None };
        };
        if angle.gradient == MarginGradient::Exact {
            return Self { frozen: None };
        }
        let step = |i: usize| match batch.label(i) {
            Some(label) if (0..batch.classes as i64).contains(&label) => {
                let label = label as usize;
                angle.step(batch.row(i)[label], oracle.place(batch, i, label))
            }
            _ => 0.0,
        };
        Self { frozen: Some((0..batch.rows()).map(step).collect()) }
    }

    /// The loss at another batch, another scale, under the frozen margins.
    pub fn evaluate(&self, oracle: &Oracle, batch: &Batch) -> Result<Outcome, OracleError> {
        oracle.evaluate_frozen(batch, self.frozen.as_deref())
    }
}
