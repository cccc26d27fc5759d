//! The target against the smooth maximum of the negatives.
//!
//! ```text
//! t = ln sum_{j != y} e^(s z_j) - u,    L = g(t)
//! dL/du = -g'(t),    dL/d(s z_j) = g'(t) q_j,    q = softmax over j != y
//! ```
//!
//! Under softplus this is softmax cross-entropy, in a form that stays precise as `p_y -> 1`. Its options add
//!
//! ```text
//! label smoothing  eps/C sum_{j != y} (u - s z_j)
//! z-loss           lambda LSE_all^2,  LSE_all = u + softplus(t)
//! ```
//!
//! where C is the number of classes that are not masked: a class of score minus infinity does not count.
//! The derivative with respect to `s` needs the mean `sum_j q_j z_j`, which the same sweep accumulates.

use super::super::accumulators::Exponentials;
use super::super::target::Aim;
use super::row_loss::{Outcome, RowLoss};
use crate::axes::comparison::SmoothGate;
use crate::smooth::{sigmoid, softplus};

/// Computes the loss of a row from the sums over its negatives.
pub(crate) fn outcome(gate: SmoothGate, aim: &Aim, negatives: &Exponentials) -> Outcome {
    let Exponentials { reference, sums, present } = negatives;
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

/// Adds `lambda LSE^2` to the loss and returns its derivative with respect to the log-sum-exp.
pub(crate) fn z_loss_slope(loss: &mut f64, lambda: f64, log_sum_exp: f64) -> f64 {
    *loss += lambda * log_sum_exp * log_sum_exp;
    2.0 * lambda * log_sum_exp
}
