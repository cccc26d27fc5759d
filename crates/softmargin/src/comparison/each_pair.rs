//! The target against each negative, the losses added.
//!
//! ```text
//! L = sum_{j != y} g(t_j),    t_j = s z_j - u
//! dL/d(s z_j) = g'(t_j),    dL/du = -sum_j g'(t_j)
//! ```
//!
//! The target's slope grows with the number of negatives that violate the margin, down to `-(C - 1)`.

use super::{Aim, Row, RowLoss, Work, multiplier, negative_tiles};
use crate::gate::Gate;
use crate::real::Real;
use crate::simd::{Affine, GateSums, Sweeps};

pub(super) fn row<F: Real>(
    gate: Gate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    work: &mut Work<F>,
    gradient: Option<&mut [F]>,
) -> RowLoss {
    outcome(&row.aim(), &gated(gate, sweeps, row, (row.target_score(), -row.modified.shift), work, gradient))
}

/// The loss of a row from the sums over its gaps.
pub(super) fn outcome(aim: &Aim, sums: &GateSums) -> RowLoss {
    // t_j = s (z_j - psi), so sum g' z_j = sum g' t_j / s + psi sum g'.
    let negatives_scale_slope = sums.weighted / aim.scale + sums.slope * aim.psi();
    RowLoss { loss: sums.value, target_slope: -sums.slope, negatives_scale_slope }
}

/// Sums `g(s ((z_j - reference) + shift))` over the negatives and writes their gradient.
pub(super) fn gated<F: Real>(
    gate: Gate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    (reference, shift): (f64, f64),
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> GateSums {
    let sweep = match gate {
        Gate::Relu => sweeps.relu,
        Gate::Softplus => sweeps.softplus,
        Gate::Identity => sweeps.identity,
    };
    let affine = Affine {
        reference: F::round_from(reference),
        shift: F::round_from(shift),
        scale: F::round_from(row.scale),
        factor: multiplier(row.factor * row.scale),
    };
    let mut sums = GateSums::default();
    for range in negative_tiles(row.scores.len(), row.target) {
        let tile = &row.scores[range.clone()];
        let part = sweep(tile, affine, work.destination(&mut gradient, &range));
        sums.value += part.value;
        sums.slope += part.slope;
        sums.weighted += part.weighted;
    }
    sums
}
