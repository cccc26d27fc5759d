//! From the accumulators of a row to its loss: one file a comparison, with its equation.

pub(crate) mod against_zero;
pub(crate) mod each_pair;
pub(crate) mod hardest;
pub(crate) mod log_sum_exp;

use super::accumulators::Accumulators;
use super::target::Aim;
use crate::axes::comparison::Comparison;

/// The loss of a row, and its derivatives with respect to the scaled scores of the negatives: `slope` times what the sweep
/// has written (an exponential, the derivative of a gate, or 1 at the hardest), less `share`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) row: RowLoss,
    pub(crate) slope: f64,
    pub(crate) share: f64,
}

/// The loss of a row and its derivatives, the row's factor not applied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowLoss {
    pub(crate) loss: f64,
    /// `dL / du`, `u = s psi`.
    pub(crate) target_slope: f64,
    /// `dL / ds` through the negatives' scores alone.
    pub(crate) negatives_scale_slope: f64,
}

/// The loss of a row with negatives from what a sweep has found; all scores below plus infinity.
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
