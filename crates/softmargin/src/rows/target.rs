//! The target of each row under its margin: its shift, the derivatives, and the transform of the negatives.

use super::plan::RowPlan;
use crate::axes::geometry::COSINE_TOLERANCE;
use crate::axes::margin::{ModifiedTarget, TargetContext};
use crate::number::Real;
use crate::simd::NegativeTransform;

/// The target of a row under its margin; created by [`RowPlan::target`]. `F` is the type of the negatives' scores.
#[derive(Clone, Copy, Debug)]
pub struct Target<F> {
    /// `z_y`: the target's score.
    pub score: f64,
    pub(crate) modified: ModifiedTarget,
    /// The transform of the scores of the row's negatives before the comparison; `None` for no transform.
    pub negatives: Option<NegativeTransform<F>>,
}

impl<F: Real> Target<F> {
    /// Returns `psi(z_y) - z_y`. A margin `m` on the logit counts as `-m / s`.
    pub fn shift(&self) -> f64 {
        self.modified.shift
    }

    /// Returns `d psi / d z_y`, with the norms held fixed.
    pub fn derivative(&self) -> f64 {
        self.modified.slope
    }

    pub(crate) fn aim(&self, scale: f64) -> Aim {
        Aim { score: self.score, shift: self.modified.shift, scale }
    }
}

/// The target of a row, as a comparison needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    /// `z_y`
    pub(crate) score: f64,
    /// `psi(z_y) - z_y`; a margin `m` on the logit counts as `-m / s`.
    pub(crate) shift: f64,
    /// `s`, temperature included.
    pub(crate) scale: f64,
}

impl Aim {
    /// Returns `psi(z_y)`.
    pub(crate) fn psi(&self) -> f64 {
        self.score + self.shift
    }

    /// Returns the scaled gap to a negative's score. The difference of the scores is computed first: it is exact if
    /// they are close.
    pub(crate) fn gap(&self, score: f64) -> f64 {
        self.scale * ((score - self.score) - self.shift)
    }
}

impl RowPlan {
    /// Applies the margin to the target's score `z_y` of a row.
    ///
    /// The derivative of an exact margin on the angle divides by `sin(theta)`, with [`Real::LEAST_SINE`] of `F` as the
    /// least divisor. The margin is not applied to an infinite score. If the margin needs a cosine, a score out of
    /// range is treated as the nearest cosine; check it with [`is_cosine`](Self::is_cosine).
    ///
    /// # Panics
    /// If `row` is not below N.
    pub fn target<F: Real>(&self, row: usize, score: f64) -> Target<F> {
        self.target_with(row, score, self.product_of_norms(row), F::LEAST_SINE)
    }

    /// Applies the margin to a score and a product of norms that were computed in f64, with negatives in type `F`.
    pub(crate) fn exact_target<F: Real>(&self, row: usize, score: f64, norm: f64) -> Target<F> {
        self.target_with(row, score, norm, f64::LEAST_SINE)
    }

    fn target_with<F: Real>(&self, row: usize, score: f64, norm: f64, least_sine: f64) -> Target<F> {
        let spec = self.loss.spec();
        let context = score.is_finite().then(|| TargetContext {
            score,
            scale: self.scale,
            norm,
            value: self.rows[row].margins[0],
            minus: self.rows[row].margins[1],
            step: self.step,
            least_sine,
        });
        let modified = context.map_or(ModifiedTarget::UNCHANGED, |context| spec.margin.apply(&context));
        let plain_psi = || context.map_or(score, |context| spec.margin.plain_psi(&context));
        let negatives = spec.negatives.transform(score + modified.shift, plain_psi, self.target_mean);
        Target { score, modified, negatives }
    }

    /// Returns true if the target's score of a row is, within a tolerance of 1e-3, a cosine times the norms that the
    /// scores keep. It is always true for margins that do not use the angle.
    pub fn is_cosine(&self, row: usize, score: f64) -> bool {
        !self.loss.spec().margin.is_angular() || score.abs() <= self.product_of_norms(row) * (1.0 + COSINE_TOLERANCE)
    }

    /// Returns `r`, the product of the norms that the scores keep.
    fn product_of_norms(&self, row: usize) -> f64 {
        if self.loss.spec().geometry.is_bounded() {
            1.0
        } else {
            self.rows[row].embedding_norm * self.rows[row].target_norm
        }
    }
}
