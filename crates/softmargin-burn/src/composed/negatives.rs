//! The transforms of the scores of negatives (N, C), with their derivatives.

use super::column;
use burn::tensor::Tensor;
use softmargin::Real;
use softmargin::rows::{NegativeTransform, Target};

/// Returns the transformed scores and their derivatives; `None` without a transform.
pub(super) fn transformed<F: Real>(scores: Tensor<2>, targets: &[Target<F>]) -> (Tensor<2>, Option<Tensor<2>>) {
    // All rows have the same kind of transform.
    let Some(kind) = targets.first().and_then(|target| target.negatives) else { return (scores, None) };
    let (raised, slope) = match kind {
        NegativeTransform::DividedAngle { by } => {
            let (cosines, slope) = divided_angle::<F>(scores, by.widen());
            return (cosines, Some(slope));
        }
        NegativeTransform::Misclassified { factor, .. } => {
            let factor = factor.widen();
            (scores.clone().mul_scalar(factor).add_scalar(factor - 1.0), scores.full_like(factor))
        }
        NegativeTransform::Curricular { mean, .. } => {
            let mean = mean.widen();
            let slope = scores.clone().mul_scalar(2.0).add_scalar(mean);
            (scores.clone() * scores.clone().add_scalar(mean), slope)
        }
    };
    let above = column(targets.iter().map(threshold).collect(), &scores);
    let hard = scores.clone().greater(above.expand(scores.dims()));
    let slope = scores.ones_like().mask_where(hard.clone(), slope);
    (scores.mask_where(hard, raised), Some(slope))
}

/// Returns the score above which a negative is transformed.
fn threshold<F: Real>(target: &Target<F>) -> f64 {
    match target.negatives {
        Some(NegativeTransform::Misclassified { above, .. } | NegativeTransform::Curricular { above, .. }) => {
            above.widen()
        }
        Some(NegativeTransform::DividedAngle { .. }) | None => f64::INFINITY,
    }
}

/// Computes `cos(theta / by)` and its derivative `sin(theta / by) / (by sin theta)`, with a least sine.
fn divided_angle<F: Real>(scores: Tensor<2>, by: f64) -> (Tensor<2>, Tensor<2>) {
    let cos = scores.clamp(-1.0, 1.0);
    let part = cos.clone().acos().mul_scalar(1.0 / by);
    let sine = (cos.clone().neg().add_scalar(1.0) * cos.clone().add_scalar(1.0)).sqrt();
    let least = F::LEAST_SINE;
    let slope = part.clone().sin().mul_scalar(1.0 / by) / sine.clone().clamp_min(least);
    // At theta = 0 both sines vanish, and the limit is the quotient of their derivatives.
    let at_zero = sine.lower_elem(least).bool_and(cos.greater_elem(0.0));
    (part.cos(), slope.mask_fill(at_zero, 1.0 / (by * by)))
}
