//! Every score against zero: a binary classification for each class.
//!
//! ```text
//! L = g(-u) + sum_{j != y} g(s z_j)
//! dL/du = -g'(-u),    dL/d(s z_j) = g'(s z_j)
//! ```

use super::super::target::Aim;
use super::row_loss::RowLoss;
use crate::axes::gate::Gate;
use crate::simd::GateSums;

/// Computes the loss of a row from the sums over its negatives.
pub(crate) fn outcome(gate: Gate, aim: &Aim, sums: &GateSums) -> RowLoss {
    let (loss, slope) = gate.apply(-aim.scale * aim.psi());
    RowLoss { loss: loss + sums.value, target_slope: -slope, negatives_scale_slope: sums.weighted / aim.scale }
}
