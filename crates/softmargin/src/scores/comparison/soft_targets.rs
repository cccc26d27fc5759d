//! Softmax cross-entropy against a distribution `P` over the classes.
//!
//! ```text
//! L = LSE_all(s z) - s sum_k P_k z_k,    dL/d(s z_k) = softmax(s z)_k - P_k
//! ```
//!
//! The class of the largest score has the role of the target in `log_sum_exp.rs`, so that the result is precise if it
//! has nearly all the probability. With label smoothing `P <- (1 - eps) P + eps / C`; the z-loss is the same. A class
//! of score minus infinity is masked. If `P_k > 0` for a masked class, the loss is infinite.

use super::log_sum_exp::exponentials;
use super::row::{Row, Work, multiplier, scan};
use crate::axes::comparison::Comparison;
use crate::axes::margin::ModifiedTarget;
use crate::number::Real;
use crate::rows::comparison::RowLoss;
use crate::rows::comparison::log_sum_exp::z_loss_slope;
use crate::scores::faults::RowFault;
use crate::simd::Sweeps;
use crate::smooth::{arg_max, sigmoid, softplus};

/// The scores of a row and its target distribution.
pub(crate) struct SoftRow<'a, F> {
    pub(crate) scores: &'a [F],
    pub(crate) targets: &'a [F],
    pub(crate) scale: f64,
    pub(crate) factor: f64,
}

/// Computes the loss of a row and its derivative with respect to the scale. If `gradient` is given, writes the gradient
/// (all C entries).
pub(crate) fn soft_row<F: Real>(
    comparison: Comparison,
    sweeps: &Sweeps<F>,
    soft: &SoftRow<'_, F>,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> Result<RowLoss, RowFault> {
    let Some(best) = arg_max(soft.scores) else { return Err(RowFault::Nan) };
    let row = Row {
        scores: soft.scores,
        target: best,
        modified: ModifiedTarget::UNCHANGED,
        scale: soft.scale,
        factor: soft.factor,
    };
    let max = soft.scores[best].widen();
    if soft.scores.len() == 1 || max == f64::NEG_INFINITY {
        gradient.iter_mut().for_each(|gradient| gradient.fill(F::zero()));
        return Ok(RowLoss::default());
    }
    if max == f64::INFINITY {
        return infinite(comparison, soft, gradient);
    }
    let (label_smoothing, z_loss) = comparison.cross_entropy_options().unwrap_or_default();
    let second = scan(sweeps, soft.scores, best).max;
    let wants_masked = soft.scores.iter().zip(soft.targets).any(|(z, p)| *z == F::neg_infinity() && *p > F::zero());
    if second == F::neg_infinity() && !wants_masked {
        // With all classes but one masked, the row has no negatives.
        gradient.iter_mut().for_each(|gradient| gradient.fill(F::zero()));
        return Ok(RowLoss::default());
    }
    let (gap, exp_sum, mean_score) = if second == F::neg_infinity() {
        gradient.iter_mut().for_each(|gradient| gradient.fill(F::zero()));
        (f64::NEG_INFINITY, 1.0, 0.0)
    } else {
        let sums = exponentials(sweeps, &row, second, work, gradient.as_deref_mut());
        let mean_score = second.widen() + sums.weighted / sums.exp / soft.scale;
        (row.gap(second.widen()) + sums.exp.ln(), sums.exp, mean_score)
    };
    let lse = soft.scale * max + softplus(gap);
    let mut loss = softplus(gap);
    let by_lse = 1.0 + if z_loss > 0.0 { z_loss_slope(&mut loss, z_loss, lse) } else { 0.0 };
    let expected = Expected::of(soft, label_smoothing, max);
    // LSE - s sum P z = softplus(gap) + s max (1 - sum P) + s sum P (max - z)
    loss += soft.scale * (max * (1.0 - expected.mass) + expected.below_max);
    let negatives_slope = by_lse * sigmoid(gap);
    let best_slope = by_lse * sigmoid(-gap);
    let score_sum = max * expected.mass - expected.below_max;
    if let Some(gradient) = gradient {
        gradient[best] = F::zero();
        let factor = soft.factor * soft.scale;
        (sweeps.multiply)(gradient, multiplier(factor * negatives_slope / exp_sum));
        for ((slope, &z), &p) in gradient.iter_mut().zip(soft.scores).zip(soft.targets) {
            *slope -= F::round_from(factor * expected.share(z, p));
        }
        // 1 - P first, then the probability of the negatives: both are precise if P is near 1.
        let off = 1.0 - expected.share(soft.scores[best], soft.targets[best]);
        let own = if z_loss > 0.0 { off - 1.0 + best_slope } else { off - sigmoid(gap) };
        gradient[best] = F::round_from(factor * own);
    }
    Ok(RowLoss {
        loss,
        target_slope: 0.0,
        negatives_scale_slope: negatives_slope * mean_score + best_slope * max - score_sum,
    })
}

/// The target distribution after label smoothing, and its sums with the scores.
struct Expected {
    label_smoothing: f64,
    /// The number of classes that are not masked.
    classes: f64,
    /// `sum P_k`
    mass: f64,
    /// `sum P_k (max - z_k)`
    below_max: f64,
}

impl Expected {
    fn of<F: Real>(soft: &SoftRow<'_, F>, label_smoothing: f64, max: f64) -> Self {
        let classes = soft.scores.iter().filter(|z| **z > F::neg_infinity()).count() as f64;
        let mut expected = Self { label_smoothing, classes, mass: 0.0, below_max: 0.0 };
        for (&z, &p) in soft.scores.iter().zip(soft.targets) {
            let share = expected.share(z, p);
            if share > 0.0 {
                expected.mass += share;
                expected.below_max += share * (max - z.widen());
            }
        }
        expected
    }

    fn share<F: Real>(&self, z: F, p: F) -> f64 {
        let given = (1.0 - self.label_smoothing) * p.widen();
        if z > F::neg_infinity() { given + self.label_smoothing / self.classes } else { given }
    }
}

/// Computes a row whose largest score is plus infinity, which has all the probability; several have equal shares. The
/// loss is 0 if `P` agrees, else infinite. Several infinite scores are a contradiction if `P > 0` for one of them.
fn infinite<F: Real>(
    comparison: Comparison,
    soft: &SoftRow<'_, F>,
    gradient: Option<&mut [F]>,
) -> Result<RowLoss, RowFault> {
    let (label_smoothing, z_loss) = comparison.cross_entropy_options().unwrap_or_default();
    let expected = Expected::of(soft, label_smoothing, f64::INFINITY);
    let shares = || soft.scores.iter().zip(soft.targets).map(|(&z, &p)| (z == F::infinity(), expected.share(z, p)));
    let winners = shares().filter(|(wins, _)| *wins).count();
    if winners > 1 && soft.scores.iter().zip(soft.targets).any(|(z, p)| *z == F::infinity() && *p > F::zero()) {
        return Err(RowFault::Contradiction);
    }
    let agrees = z_loss == 0.0 && shares().all(|(wins, share)| wins || share == 0.0);
    if let Some(gradient) = gradient {
        let own = 1.0 / winners as f64 + if z_loss > 0.0 { f64::INFINITY } else { 0.0 };
        for (slope, (wins, share)) in gradient.iter_mut().zip(shares()) {
            let probability = if wins { own } else { 0.0 };
            *slope = F::round_from(soft.factor * soft.scale * (probability - share));
        }
    }
    let loss = if agrees { 0.0 } else { f64::INFINITY };
    Ok(RowLoss { loss, target_slope: 0.0, negatives_scale_slope: loss })
}
