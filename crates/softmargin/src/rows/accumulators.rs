//! What a sweep over the negatives of a row leaves: all that the loss of the row takes from them.
//!
//! Accumulators of parts of the negatives (tiles, shards, processes) add up to those of all of them.

use crate::axes::comparison::Comparison;
use crate::axes::gate::Gate;
use crate::simd::{ExpSums, GateSums};

/// What a sweep over the negatives computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SweepKind {
    /// Exponentials `e_j = exp(s (z_j - reference))`, for log-sum-exp.
    Exponentials,
    /// A gate of each gap, `g(s (z_j - psi))`, or against zero of each scaled score, `g(s z_j)`.
    Gated {
        /// The gate.
        gate: Gate,
        /// Whether scores are compared with zero.
        against_zero: bool,
    },
    /// The largest score alone.
    Largest,
}

impl SweepKind {
    /// The sweep of a comparison.
    pub fn of(comparison: Comparison) -> Self {
        match comparison {
            Comparison::LogSumExp { .. } => Self::Exponentials,
            Comparison::EachPair { gate } => Self::Gated { gate, against_zero: false },
            Comparison::AgainstZero { gate } => Self::Gated { gate, against_zero: true },
            Comparison::Hardest { .. } => Self::Largest,
        }
    }
}

/// The accumulators of a row, over the scores of its negatives as they are compared.
#[derive(Clone, Copy, Debug)]
pub enum Accumulators {
    /// For log-sum-exp.
    Exponentials(Exponentials),
    /// For each pair, or against zero.
    Gated(GateSums),
    /// For the hardest: the largest score.
    Largest(f64),
}

/// Sums of exponentials relative to a reference.
#[derive(Clone, Copy, Debug)]
pub struct Exponentials {
    /// The largest score, or any number near it: what the exponentials are relative to.
    pub reference: f64,
    /// The sums.
    pub sums: ExpSums,
    /// The negatives that label smoothing counts; needed under label smoothing alone.
    pub present: Present,
}

/// The negatives whose scores are above minus infinity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present {
    /// `sum (z_j - reference)`
    pub above_reference: f64,
    /// How many there are.
    pub count: usize,
}
