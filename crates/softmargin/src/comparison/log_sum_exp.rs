//! The target against the smooth maximum of the negatives.
//!
//! ```text
//! t = ln sum_{j != y} e^(s z_j) - u,    L = g(t)
//! dL/du = -g'(t),    dL/d(s z_j) = g'(t) q_j,    q = softmax over j != y
//! ```
//!
//! Under softplus this is softmax cross-entropy, written so that nothing is lost as `p_y -> 1`. Its options add
//!
//! ```text
//! label smoothing  eps/C sum_{j != y} (u - s z_j)
//! z-loss           lambda LSE_all^2,  LSE_all = u + softplus(t)
//! ```
//!
//! where C counts the classes that take part: one of score minus infinity is as if it were not there.
//! The mean `sum_j q_j z_j`, for the slope by `s`, comes out of the same sweep.

use super::{Aim, Outcome, Row, RowLoss, SmoothGate, Work, multiplier, negative_tiles};
use crate::real::Real;
use crate::simd::{ExpSums, Sweeps};
use crate::smooth::{sigmoid, softplus};

/// All that the loss of a row takes from the scores of its negatives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NegativeSums {
    /// The largest, or any number near it: what the exponentials are relative to.
    pub(crate) reference: f64,
    pub(crate) sums: ExpSums,
    /// What label smoothing looks at.
    pub(crate) present: Present,
}

/// The negatives whose scores are above minus infinity.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present {
    /// `sum (z_j - reference)`
    pub(crate) above_reference: f64,
    pub(crate) count: usize,
}

/// The loss of a row from the sums over its negatives.
pub(crate) fn outcome(gate: SmoothGate, aim: &Aim, negatives: &NegativeSums) -> Outcome {
    let NegativeSums { reference, sums, present } = negatives;
    let gap = aim.gap(*reference) + sums.exp.ln();
    let mean_score = reference + sums.weighted / sums.exp / aim.scale;
    let (loss, slope) = gate.gate().apply(gap);
    let mut row = RowLoss { loss, target_slope: -slope, negatives_scale_slope: 0.0 };
    let (mut negatives_slope, mut share) = (slope, 0.0);
    let SmoothGate::Softplus { label_smoothing, z_loss } = gate else {
        row.negatives_scale_slope = negatives_slope * mean_score;
        return Outcome { row, slope: negatives_slope / sums.exp, share };
    };
    if z_loss > 0.0 {
        let by_lse = z_loss_slope(&mut row.loss, z_loss, aim.scale * aim.psi() + softplus(gap));
        row.target_slope += by_lse * sigmoid(-gap);
        negatives_slope += by_lse * sigmoid(gap);
    }
    row.negatives_scale_slope = negatives_slope * mean_score;
    if label_smoothing > 0.0 {
        let count = present.count as f64;
        share = label_smoothing / (count + 1.0);
        // sum_{j != y} (u - s z_j)
        let gap_sum = -(count * aim.gap(*reference) + aim.scale * present.above_reference);
        row.loss += share * gap_sum;
        row.target_slope += share * count;
        row.negatives_scale_slope -= share * (present.above_reference + count * reference);
    }
    Outcome { row, slope: negatives_slope / sums.exp, share }
}

pub(super) fn row<F: Real>(
    gate: SmoothGate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    max: F,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> RowLoss {
    let sums = exponentials(sweeps, row, max, work, gradient.as_deref_mut());
    let smooths = matches!(gate, SmoothGate::Softplus { label_smoothing, .. } if label_smoothing > 0.0);
    let present = if smooths { Present::of(sweeps, row, max) } else { Present::default() };
    let Outcome { row: loss, slope, share } =
        outcome(gate, &row.aim(), &NegativeSums { reference: max.widen(), sums, present });
    if let Some(gradient) = gradient {
        let factor = multiplier(row.factor * row.scale * slope);
        (sweeps.multiply)(&mut gradient[..row.target], factor);
        (sweeps.multiply)(&mut gradient[row.target + 1..], factor);
        if smooths {
            let share: F = multiplier(row.factor * row.scale * share);
            for (slope, &score) in gradient.iter_mut().zip(row.scores) {
                // The target's own entry is written afterwards.
                *slope -= if score > F::neg_infinity() { share } else { F::zero() };
            }
        }
    }
    loss
}

impl Present {
    fn of<F: Real>(sweeps: &Sweeps<F>, row: &Row<'_, F>, reference: F) -> Self {
        let mut present = Self::default();
        for range in negative_tiles(row.scores.len(), row.target) {
            let (part, count) = (sweeps.sum_finite)(&row.scores[range], reference);
            present.above_reference += part;
            present.count += count;
        }
        present
    }
}

/// Adds `lambda LSE^2` to the loss and returns its slope by the log-sum-exp.
pub(super) fn z_loss_slope(loss: &mut f64, lambda: f64, log_sum_exp: f64) -> f64 {
    *loss += lambda * log_sum_exp * log_sum_exp;
    2.0 * lambda * log_sum_exp
}

/// Writes `e^(s (z_j - max))` for the negatives and sums it.
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
