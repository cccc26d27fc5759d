//! Every score against zero: a binary question for each class.
//!
//! ```text
//! L = g(-u) + sum_{j != y} g(s z_j)
//! dL/du = -g'(-u),    dL/d(s z_j) = g'(s z_j)
//! ```

use super::{Row, RowLoss, Work, each_pair};
use crate::gate::Gate;
use crate::real::Real;
use crate::simd::Sweeps;

pub(super) fn row<F: Real>(
    gate: Gate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    work: &mut Work<F>,
    gradient: Option<&mut [F]>,
) -> RowLoss {
    let sums = each_pair::gated(gate, sweeps, row, (0.0, 0.0), work, gradient);
    let (loss, slope) = gate.apply(-row.scale * row.psi());
    RowLoss { loss: loss + sums.value, target_slope: -slope, rivals_scale_slope: sums.weighted / row.scale }
}
