//! What becomes of the scores of the negatives (N, C), their slopes written down.

use super::comparison::Rows;
use super::{least_sine, not_composed, with_slope};
use burn::tensor::{Bool, Tensor};
use softmargin::{LossState, Negatives, Result};

/// `plain` are the same rows, their target as it is where nothing is done about angles past pi.
pub(super) fn modified(
    negatives: Negatives,
    rows: &Rows,
    plain: impl FnOnce() -> Rows,
    state: Option<&LossState>,
) -> Result<Tensor<2>> {
    let scores = rows.scores.clone();
    match negatives {
        Negatives::Plain => Ok(scores),
        Negatives::Misclassified { factor } => {
            let raised = scores.clone().mul_scalar(factor).add_scalar(factor - 1.0);
            Ok(scores.mask_where(hard(rows), raised))
        }
        Negatives::Curricular { .. } => {
            let mean = state.map_or(0.0, |state| state.target_mean);
            let weighed = scores.clone() * scores.clone().add_scalar(mean);
            Ok(scores.mask_where(hard(&plain()), weighed))
        }
        Negatives::DividedAngle { by: 1.0 } => Ok(scores),
        Negatives::DividedAngle { by } => Ok(divided_angle(scores, by)),
        _ => Err(not_composed("negatives", "a kind that is new")),
    }
}

/// The scores above that of the target under its margin.
fn hard(rows: &Rows) -> Tensor<2, Bool> {
    rows.gap(rows.scores.clone().detach()).greater_elem(0.0)
}

/// `cos(theta / by)`, its slope `sin(theta / by) / (by sin theta)` floored as that of a margin.
fn divided_angle(scores: Tensor<2>, by: f64) -> Tensor<2> {
    let cos = scores.clone().detach().clamp(-1.0, 1.0);
    let part = cos.clone().acos().mul_scalar(1.0 / by);
    let sine = (cos.clone().neg().add_scalar(1.0) * cos.clone().add_scalar(1.0)).sqrt();
    let least = least_sine(cos.dtype());
    let slope = part.clone().sin().mul_scalar(1.0 / by) / sine.clone().clamp_min(least);
    // At theta = 0 both sines vanish: the quotient of their derivatives.
    let at_zero = sine.lower_elem(least).bool_and(cos.greater_elem(0.0));
    with_slope(part.cos(), slope.mask_fill(at_zero, 1.0 / (by * by)), scores)
}
