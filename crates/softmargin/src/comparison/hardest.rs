//! The target against its strongest negative.
//!
//! ```text
//! t = s max_{j != y} z_j - u,    L = g(t)
//! dL/du = -g'(t),    dL/d(s z_k) = g'(t) for the first largest k, 0 for the others
//! ```
//!
//! At most one pair of slopes a row, so the size of the gradient is bounded, but few scores learn from a row.

use super::{Aim, Outcome, Row, RowLoss};
use crate::gate::Gate;
use crate::real::Real;

pub(super) fn row<F: Real>(gate: Gate, row: &Row<'_, F>, max: F, gradient: Option<&mut [F]>) -> RowLoss {
    let Outcome { row: loss, slope, .. } = outcome(gate, &row.aim(), max.widen());
    if let Some(gradient) = gradient {
        gradient.fill(F::zero());
        let strongest = |(class, score): (usize, &F)| class != row.target && *score == max;
        if let Some(class) = row.scores.iter().enumerate().position(strongest) {
            gradient[class] = F::round_from(row.factor * row.scale * slope);
        }
    }
    loss
}

/// The loss of a row from the score of its strongest negative.
pub(super) fn outcome(gate: Gate, aim: &Aim, max: f64) -> Outcome {
    let (loss, slope) = gate.apply(aim.gap(max));
    let row = RowLoss { loss, target_slope: -slope, negatives_scale_slope: slope * max };
    Outcome { row, slope, share: 0.0 }
}
