//! Comparisons over given scores, one row at a time; the equations are in `rows/comparison/`.
//!
//! Rows with infinite scores are computed in `limits.rs`, soft targets in `soft_targets.rs`. A row without negatives (C
//! = 1) has loss 0 and gradient 0.

mod against_zero;
mod each_pair;
mod hardest;
mod limits;
mod log_sum_exp;
mod row;
mod soft_targets;

use super::faults::RowFault;
use crate::axes::comparison::Comparison;
use crate::number::Real;
use crate::rows::comparison::RowLoss;
use crate::simd::Sweeps;
use row::scan;
pub(crate) use row::{Row, Work, multiplier, negative_tiles};
pub(super) use soft_targets::{SoftRow, soft_row};

/// Computes the loss of a row. If `gradient` is given, writes the gradient with respect to the scores (all C entries).
pub(crate) fn row<F: Real>(
    comparison: Comparison,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    work: &mut Work<F>,
    mut gradient: Option<&mut [F]>,
) -> std::result::Result<RowLoss, RowFault> {
    let scan = scan(sweeps, row.scores, row.target);
    if scan.has_nan {
        return Err(RowFault::Nan);
    }
    let (target, negative) = (row.scores[row.target], scan.max);
    if target == F::infinity() && negative == F::infinity() {
        return Err(RowFault::Contradiction);
    }
    let no_negatives = negative == F::neg_infinity() && !matches!(comparison, Comparison::AgainstZero { .. });
    if row.scores.len() == 1 || no_negatives {
        if let Some(gradient) = gradient {
            gradient.fill(F::zero());
        }
        return Ok(RowLoss::default());
    }
    if target.is_infinite() || negative == F::infinity() {
        return Ok(limits::row(comparison, row, gradient));
    }
    let gradient_of_negatives = gradient.as_deref_mut();
    let outcome = match comparison {
        Comparison::EachPair { gate } => each_pair::row(gate, sweeps, row, work, gradient_of_negatives),
        Comparison::Hardest { gate } => hardest::row(gate, row, negative, gradient_of_negatives),
        Comparison::LogSumExp { gate } => log_sum_exp::row(gate, sweeps, row, negative, work, gradient_of_negatives),
        Comparison::AgainstZero { gate } => against_zero::row(gate, sweeps, row, work, gradient_of_negatives),
    };
    if let Some(gradient) = gradient {
        let slope = row.factor * row.scale * outcome.target_slope * row.modified.slope;
        gradient[row.target] = F::round_from(slope);
    }
    Ok(outcome)
}
