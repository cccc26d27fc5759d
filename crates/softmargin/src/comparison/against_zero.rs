//! Every score against zero: a binary question for each class.
//!
//! ```text
//! L = g(-u) + sum_{j != y} g(s z_j)
//! dL/du = -g'(-u),    dL/d(s z_j) = g'(s z_j)
//! ```

use super::{Aim, Row, RowLoss, Work, each_pair};
use crate::gate::Gate;
use crate::real::Real;
use crate::simd::{GateSums, Sweeps};

pub(super) fn row<F: Real>(
    gate: Gate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    work: &mut Work<F>,
    gradient: Option<&mut [F]>,
) -> RowLoss {
    outcome(gate, &row.aim(), &each_pair::gated(gate, sweeps, row, (0.0, 0.0), work, gradient))
}

/// The loss of a row from the sums over its negatives.
pub(super) fn outcome(gate: Gate, aim: &Aim, sums: &GateSums) -> RowLoss {
    let (loss, slope) = gate.apply(-aim.scale * aim.psi());
    RowLoss { loss: loss + sums.value, target_slope: -slope, negatives_scale_slope: sums.weighted / aim.scale }
}
