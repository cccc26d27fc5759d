//! The accumulators of a sweep over the negatives of a row: all values of the negatives that the loss of the row needs.
//!
//! Accumulators of disjoint parts of the negatives (tiles, shards, processes) can be added up.

use crate::axes::comparison::Comparison;
use crate::axes::gate::Gate;
use crate::simd::{ExpSums, GateSums};

/// The computation of a sweep over the negatives.
///
/// `n_j` is the score of a negative after its [transform](super::Target::negatives), `s` the
/// [scale](super::RowPlan::scale).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SweepKind {
    /// Exponentials `e_j = exp(s (n_j - reference))`, for log-sum-exp.
    Exponentials,
    /// The gate of each gap, `g(s (n_j - psi))`, or, against zero, of each scaled score, `g(s n_j)`.
    Gated {
        /// The gate.
        gate: Gate,
        /// True if the scores are compared with zero.
        against_zero: bool,
    },
    /// The largest `n_j` only.
    Largest,
}

impl SweepKind {
    /// Returns the sweep that a comparison needs.
    pub fn of(comparison: Comparison) -> Self {
        match comparison {
            Comparison::LogSumExp { .. } => Self::Exponentials,
            Comparison::EachPair { gate } => Self::Gated { gate, against_zero: false },
            Comparison::AgainstZero { gate } => Self::Gated { gate, against_zero: true },
            Comparison::Hardest { .. } => Self::Largest,
        }
    }
}

/// The accumulators of a row, over the transformed scores `n_j` of its negatives.
#[derive(Clone, Copy, Debug)]
pub enum Accumulators {
    /// For log-sum-exp.
    Exponentials(Exponentials),
    /// For each pair, and for against zero.
    Gated(GateSums),
    /// For the hardest: the largest `n_j`.
    Largest(f64),
}

/// Sums of exponentials relative to a reference.
#[derive(Clone, Copy, Debug)]
pub struct Exponentials {
    /// The score that the exponentials are relative to: the largest `n_j`, or any finite value near it.
    ///
    /// To add accumulators with different references, first move one of them with [`ExpSums::relative_to`].
    pub reference: f64,
    /// `sum e_j` and `sum e_j d_j`, with `d_j = s (n_j - reference)`.
    pub sums: ExpSums,
    /// The negatives that label smoothing counts. Read only under label smoothing.
    pub present: Present,
}

/// Sums over the negatives that are not masked, that is, whose scores are above minus infinity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present {
    /// `sum (n_j - reference)`, not scaled.
    pub above_reference: f64,
    /// The number of these negatives.
    pub count: usize,
}
