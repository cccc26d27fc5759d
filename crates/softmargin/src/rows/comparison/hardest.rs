//! The target against its strongest negative.
//!
//! ```text
//! t = s max_{j != y} z_j - u,    L = g(t)
//! dL/du = -g'(t),    dL/d(s z_k) = g'(t) for the first largest k, 0 for the others
//! ```
//!
//! At most two scores of a row have a derivative other than 0. This bounds the gradient, but few prototypes learn from
//! a row.

use super::super::target::Aim;
use super::row_loss::{Outcome, RowLoss};
use crate::axes::gate::Gate;

/// Computes the loss of a row from the score of its strongest negative.
pub(crate) fn outcome(gate: Gate, aim: &Aim, max: f64) -> Outcome {
    let (loss, slope) = gate.apply(aim.gap(max));
    let row = RowLoss { loss, target_slope: -slope, negatives_scale_slope: slope * max };
    Outcome { row, slope, share: 0.0 }
}
