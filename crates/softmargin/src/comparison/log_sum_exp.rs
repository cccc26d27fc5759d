//! The target against the smooth maximum of the rivals.
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

use super::{Row, RowLoss, SmoothGate, Work, multiplier, rival_tiles};
use crate::real::Real;
use crate::simd::{ExpSums, Sweeps};
use crate::smooth::{sigmoid, softplus};

pub(super) fn row<F: Real>(
    gate: SmoothGate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    max: F,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> RowLoss {
    let sums = exponentials(sweeps, row, max, work, gradient.as_deref_mut());
    let gap = row.gap(max.widen()) + sums.exp.ln();
    let mean_score = max.widen() + sums.weighted / sums.exp / row.scale;
    let (loss, slope) = gate.gate().apply(gap);
    let mut outcome = RowLoss { loss, target_slope: -slope, rivals_scale_slope: 0.0 };
    let mut rivals_slope = slope;
    let mut smoothing = None;
    if let SmoothGate::Softplus { label_smoothing, z_loss } = gate {
        if z_loss > 0.0 {
            let by_lse = z_loss_slope(&mut outcome.loss, z_loss, row.scale * row.psi() + softplus(gap));
            outcome.target_slope += by_lse * sigmoid(-gap);
            rivals_slope += by_lse * sigmoid(gap);
        }
        if label_smoothing > 0.0 {
            smoothing = Some(Smoothing::of(label_smoothing, sweeps, row, max));
        }
    }
    outcome.rivals_scale_slope = rivals_slope * mean_score;
    if let Some(gradient) = gradient.as_deref_mut() {
        let factor = multiplier(row.factor * row.scale * rivals_slope / sums.exp);
        (sweeps.multiply)(&mut gradient[..row.target], factor);
        (sweeps.multiply)(&mut gradient[row.target + 1..], factor);
    }
    if let Some(smoothing) = smoothing {
        smoothing.add(row, &mut outcome, gradient);
    }
    outcome
}

/// Adds `lambda LSE^2` to the loss and returns its slope by the log-sum-exp.
pub(super) fn z_loss_slope(loss: &mut f64, lambda: f64, log_sum_exp: f64) -> f64 {
    *loss += lambda * log_sum_exp * log_sum_exp;
    2.0 * lambda * log_sum_exp
}

/// Writes `e^(s (z_j - max))` for the rivals and sums it.
pub(super) fn exponentials<F: Real>(
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    max: F,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> ExpSums {
    let scale = F::round_from(row.scale);
    let mut sums = ExpSums::default();
    for range in rival_tiles(row.scores.len(), row.target) {
        let tile = &row.scores[range.clone()];
        let part = (sweeps.exp)(tile, max, scale, work.destination(&mut gradient, &range));
        sums.exp += part.exp;
        sums.weighted += part.weighted;
    }
    sums
}

/// What label smoothing adds to a row.
struct Smoothing {
    /// `eps / C`, the probability that each class is given.
    share: f64,
    /// Rivals that take part.
    rivals: f64,
    /// The sum of their scores.
    score_sum: f64,
    /// `sum_{j != y} (u - s z_j)`
    gap_sum: f64,
}

impl Smoothing {
    fn of<F: Real>(label_smoothing: f64, sweeps: &Sweeps<F>, row: &Row<'_, F>, max: F) -> Self {
        let (mut below_max, mut count) = (0.0, 0);
        for range in rival_tiles(row.scores.len(), row.target) {
            let (part, present) = (sweeps.sum_finite)(&row.scores[range], max);
            below_max += part;
            count += present;
        }
        let rivals = count as f64;
        Self {
            share: label_smoothing / (rivals + 1.0),
            rivals,
            score_sum: below_max + rivals * max.widen(),
            gap_sum: -(rivals * row.gap(max.widen()) + row.scale * below_max),
        }
    }

    fn add<F: Real>(&self, row: &Row<'_, F>, outcome: &mut RowLoss, gradient: Option<&mut [F]>) {
        outcome.loss += self.share * self.gap_sum;
        outcome.target_slope += self.share * self.rivals;
        outcome.rivals_scale_slope -= self.share * self.score_sum;
        let Some(gradient) = gradient else { return };
        let share: F = multiplier(row.factor * row.scale * self.share);
        for (slope, &score) in gradient.iter_mut().zip(row.scores) {
            // The target's own entry is written afterwards.
            *slope -= if score > F::neg_infinity() { share } else { F::zero() };
        }
    }
}
