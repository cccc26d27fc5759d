//! Log-sum-exp over given scores; the equation is in `rows/comparison/log_sum_exp.rs`.

use super::row::{Row, Work, multiplier, negative_tiles};
use crate::axes::comparison::SmoothGate;
use crate::number::Real;
use crate::rows::comparison::{Outcome, RowLoss, log_sum_exp};
use crate::rows::{Exponentials, Present};
use crate::simd::{ExpSums, Sweeps};

pub(super) fn row<F: Real>(
    gate: SmoothGate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    max: F,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> RowLoss {
    let sums = exponentials(sweeps, row, max, work, gradient.as_deref_mut());
    let smooths = gate.label_smoothing() > 0.0;
    let present = if smooths { present(sweeps, row, max) } else { Present::default() };
    let Outcome { row: loss, slope, share } =
        log_sum_exp::outcome(gate, &row.aim(), &Exponentials { reference: max.widen(), sums, present });
    if let Some(gradient) = gradient {
        let factor = multiplier(row.factor * row.scale * slope);
        (sweeps.multiply)(&mut gradient[..row.target], factor);
        (sweeps.multiply)(&mut gradient[row.target + 1..], factor);
        if smooths {
            let share: F = multiplier(row.factor * row.scale * share);
            for (slope, &score) in gradient.iter_mut().zip(row.scores) {
                // The entry of the target is overwritten later.
                *slope -= if score > F::neg_infinity() { share } else { F::zero() };
            }
        }
    }
    loss
}

/// Sums over the negatives of a row that are not masked.
fn present<F: Real>(sweeps: &Sweeps<F>, row: &Row<'_, F>, reference: F) -> Present {
    let mut present = Present::default();
    for range in negative_tiles(row.scores.len(), row.target) {
        let (part, count) = (sweeps.sum_finite)(&row.scores[range], reference);
        present.above_reference += part;
        present.count += count;
    }
    present
}

/// Writes `e^(s (z_j - max))` for the negatives and returns its sums.
pub(super) fn exponentials<F: Real>(
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    max: F,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> ExpSums {
    let scale = F::round_from(row.scale);
    let mut sums = ExpSums::default();
    for range in negative_tiles(row.scores.len(), row.target) {
        let tile = &row.scores[range.clone()];
        let part = (sweeps.exp)(tile, max, scale, work.destination(&mut gradient, &range));
        sums.exp += part.exp;
        sums.weighted += part.weighted;
    }
    sums
}
