//! The sum over the losses of the target against each negative.
//!
//! ```text
//! L = sum_{j != y} g(t_j),    t_j = s z_j - u
//! dL/d(s z_j) = g'(t_j),    dL/du = -sum_j g'(t_j)
//! ```
//!
//! The size of the derivative with respect to the target grows with the number of negatives that violate the margin, up
//! to `C - 1`.

use super::super::target::Aim;
use super::row_loss::RowLoss;
use crate::simd::GateSums;

/// Computes the loss of a row from the sums over its gaps.
pub(crate) fn outcome(aim: &Aim, sums: &GateSums) -> RowLoss {
    // t_j = s (z_j - psi), so sum g' z_j = sum g' t_j / s + psi sum g'.
    let negatives_scale_slope = sums.weighted / aim.scale + sums.derivative * aim.psi();
    RowLoss { loss: sums.value, target_slope: -sums.derivative, negatives_scale_slope }
}
