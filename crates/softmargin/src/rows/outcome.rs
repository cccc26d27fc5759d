//! From the accumulators of a row to its loss and the factors of its derivatives.

use super::accumulators::Accumulators;
use super::comparison::{self, Outcome, RowLoss};
use super::plan::RowPlan;
use super::target::Target;
use crate::number::Real;

/// The loss of a row and the factors of its derivatives, without the row's weight; created by [`RowPlan::outcome`].
///
/// Let `f` be the row's [factor](RowPlan::row_factor), `s` the [scale](RowPlan::scale) and `e_j` the value that the
/// sweep has computed for a negative: an exponential, the derivative of a gate, or, for the hardest, 1 at the first
/// largest score and 0 elsewhere. The derivative of the batch's loss with respect to the score of a negative is `f s
/// (negatives e_j - share) t_j`, where `t_j` is the derivative of its [transform](Target::negatives). The derivative
/// with respect to the target's score is `f target`. The derivative of a masked negative is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RowOutcome {
    /// The loss, without the regularizer's term.
    pub loss: f64,
    /// The derivative of the loss with respect to the target's score, scale included.
    pub target: f64,
    /// The factor of `e_j` in the derivative of every negative, scale not included.
    pub negatives: f64,
    /// The value that label smoothing subtracts from `negatives e_j` of each negative above minus infinity; 0 without
    /// it.
    pub share: f64,
    /// The derivative with respect to the scale `s`, temperature included.
    pub scale: f64,
    /// True if the target's score is the largest of its row: the argument `correct` of [`RowPlan::outcome`].
    pub correct: bool,
    /// The derivative with respect to `r`, the product of the norms that the scores keep.
    pub(super) norm_slope: f64,
    /// The derivative with respect to the norm of the embedding, through margin values that depend on it.
    pub(super) value_slope: f64,
}

impl RowOutcome {
    /// Returns the outcome of a row with a soft target. The device computes its loss and its derivative with respect to
    /// the scale `s` itself, from the accumulators of one class against the others.
    pub fn of_soft_target(loss: f64, scale: f64) -> Self {
        Self { loss, scale, ..Self::default() }
    }

    /// Returns the derivative with respect to `r`, the product of the norms that the scores keep.
    pub(crate) fn norm_slope(&self) -> f64 {
        self.norm_slope
    }
}

impl RowPlan {
    /// Computes the loss of a row and the factors of its derivatives.
    ///
    /// `found` is `None` if the row is ignored, if there is only one class, or if all negatives are masked by minus
    /// infinity. A comparison against zero still needs its (zero) accumulators in the last case, since it compares the
    /// target too. `correct` is true if the target's score is the largest of the row; only feature incay reads it.
    ///
    /// The target's score must be finite, and the accumulators finite.
    ///
    /// # Panics
    /// If the accumulators do not belong to the sweep of [`SweepKind::of`](super::SweepKind::of), or `row` is not below
    /// N.
    pub fn outcome<F: Real>(
        &self,
        row: usize,
        target: &Target<F>,
        found: Option<&Accumulators>,
        correct: bool,
    ) -> RowOutcome {
        let of_negatives = match found {
            Some(found) if self.rows[row].weight > 0.0 => {
                comparison::outcome(self.loss.spec().comparison, &target.aim(self.scale), found)
            }
            _ => Outcome::default(),
        };
        let Outcome { row, slope, share } = of_negatives;
        RowOutcome { negatives: slope, share, ..self.outcome_of(&row, target, correct) }
    }

    /// Returns the outcome of a row whose loss is known.
    pub(crate) fn outcome_of<F: Real>(&self, row: &RowLoss, target: &Target<F>, correct: bool) -> RowOutcome {
        let RowLoss { loss, target_slope, negatives_scale_slope } = *row;
        let Target { score, modified, .. } = target;
        let target_scale_slope = if target_slope == 0.0 || score.is_infinite() {
            0.0
        } else {
            target_slope * (score + modified.scale_shift)
        };
        // Under the cosine r is 1, even if the norms are known because a regularizer needs them.
        let keeps_norms = !self.loss.spec().geometry.is_bounded();
        RowOutcome {
            loss,
            target: self.scale * target_slope * modified.slope,
            negatives: 0.0,
            share: 0.0,
            scale: negatives_scale_slope + target_scale_slope,
            correct,
            norm_slope: if keeps_norms { target_slope * self.scale * modified.norm_slope } else { 0.0 },
            value_slope: target_slope * self.scale * modified.value_slope,
        }
    }
}
