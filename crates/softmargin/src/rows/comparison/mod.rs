//! The loss of a row from its accumulators: one file per comparison, with its equation.

pub(crate) mod against_zero;
pub(crate) mod each_pair;
pub(crate) mod hardest;
pub(crate) mod log_sum_exp;
mod row_loss;

use super::accumulators::Accumulators;
use super::target::Aim;
use crate::axes::comparison::Comparison;
pub(crate) use row_loss::{Outcome, RowLoss};

/// Computes the loss of a row from its accumulators. All scores must be below plus infinity, the target's finite.
pub(crate) fn outcome(comparison: Comparison, aim: &Aim, found: &Accumulators) -> Outcome {
    match (comparison, found) {
        (Comparison::LogSumExp { gate }, Accumulators::Exponentials(negatives)) => {
            log_sum_exp::outcome(gate, aim, negatives)
        }
        (Comparison::Hardest { gate }, Accumulators::Largest(max)) => hardest::outcome(gate, aim, *max),
        (Comparison::AgainstZero { gate }, Accumulators::Gated(sums)) => {
            Outcome { row: against_zero::outcome(gate, aim, sums), slope: 1.0, share: 0.0 }
        }
        (Comparison::EachPair { .. }, Accumulators::Gated(sums)) => {
            Outcome { row: each_pair::outcome(aim, sums), slope: 1.0, share: 0.0 }
        }
        (comparison, found) => panic!("{comparison:?} takes other accumulators than {found:?}: see SweepKind::of"),
    }
}
