//! Each pair over given scores; the equation is in `rows/comparison/each_pair.rs`.

use super::row::{Row, Work, multiplier, negative_tiles};
use crate::axes::gate::Gate;
use crate::number::Real;
use crate::rows::comparison::{RowLoss, each_pair};
use crate::simd::{Affine, GateSums, Sweeps};

pub(super) fn row<F: Real>(
    gate: Gate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    work: &mut Work<F>,
    gradient: Option<&mut [F]>,
) -> RowLoss {
    each_pair::outcome(&row.aim(), &gated(gate, sweeps, row, (row.target_score(), -row.modified.shift), work, gradient))
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
        sums.derivative += part.derivative;
        sums.weighted += part.weighted;
    }
    sums
}
