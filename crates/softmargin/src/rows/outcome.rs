//! From the accumulators of a row to its loss and the factors of its derivatives.

use super::accumulators::Accumulators;
use super::comparison::{self, Outcome, RowLoss};
use super::plan::RowPlan;
use super::target::Target;
use crate::number::Real;

/// The loss of a row and its derivatives, the row's weight not applied; made by [`RowPlan::outcome`].
///
/// With `f` the row's [factor](RowPlan::row_factor) and `e_j` what the sweep has written for a negative (an exponential, the
/// derivative of a gate, or 1 at the first largest score), the derivative of the batch's loss with respect to the score of
/// the negative is `f s (negatives e_j - share) t_j`, `t_j` the derivative of its
/// [transform](Target::negatives); with respect to the target's score it is `f target`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RowOutcome {
    /// The loss, without the regularizer's term.
    pub loss: f64,
    /// The derivative with respect to the target's score.
    pub target: f64,
    /// The factor of what the sweep has written for the negatives.
    pub negatives: f64,
    /// What label smoothing subtracts for each negative above minus infinity.
    pub share: f64,
    /// The derivative with respect to the scale `s`, temperature included.
    pub scale: f64,
    /// Whether the target's score is the largest of its row.
    pub correct: bool,
    /// By the product of the norms that the scores keep.
    pub(super) norm_slope: f64,
    /// By the norm of the embedding, through margin values that it decides.
    pub(super) value_slope: f64,
}

impl RowOutcome {
    /// The derivative with respect to the product of the norms that the scores keep.
    pub(crate) fn norm_slope(&self) -> f64 {
        self.norm_slope
    }
}

impl RowPlan {
    /// The outcome of a row. `found` is `None` where the row is ignored and where no negative takes part: there is one class
    /// only, or all others are masked by minus infinity (but for a comparison against zero, which asks about the target
    /// all the same). `correct` is read by feature incay alone.
    ///
    /// # Panics
    /// When the accumulators are of another sweep than [`SweepKind::of`](super::SweepKind::of) names.
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

    /// The outcome of a row whose loss is known.
    pub(crate) fn outcome_of<F: Real>(&self, row: &RowLoss, target: &Target<F>, correct: bool) -> RowOutcome {
        let RowLoss { loss, target_slope, negatives_scale_slope } = *row;
        let Target { score, modified, .. } = target;
        let target_scale_slope = if target_slope == 0.0 || score.is_infinite() {
            0.0
        } else {
            target_slope * (score + modified.scale_shift)
        };
        // Under the cosine r is 1, whatever the norms are that a regularizer looks at.
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

    /// The outcome of a row of a soft target, of which only the loss and its derivative with respect to the scale are known.
    pub(crate) fn soft_outcome(row: &RowLoss) -> RowOutcome {
        RowOutcome { loss: row.loss, scale: row.negatives_scale_slope, ..RowOutcome::default() }
    }
}
