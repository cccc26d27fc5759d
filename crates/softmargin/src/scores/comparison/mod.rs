//! Comparisons over given scores, one row at a time; the equations are in `rows/comparison/`.
//!
//! Infinite scores have their answers in `limits.rs`, distributions in `soft_targets.rs`. A row without negatives (C = 1) has
//! loss 0 and gradient 0.

mod against_zero;
mod each_pair;
mod hardest;
mod limits;
mod log_sum_exp;
mod soft_targets;

use super::faults::RowFault;
use crate::axes::comparison::Comparison;
use crate::axes::margin::ModifiedTarget;
use crate::number::Real;
use crate::rows::Aim;
use crate::rows::comparison::RowLoss;
use crate::simd::{Scan, Sweeps, TILE};
pub(super) use soft_targets::{SoftRow, soft_row};
use std::ops::Range;

/// One row, as a comparison sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a, F> {
    pub(crate) scores: &'a [F],
    pub(crate) target: usize,
    pub(crate) modified: ModifiedTarget,
    /// `s`, temperature included.
    pub(crate) scale: f64,
    /// What the gradient of the row's loss is multiplied by.
    pub(crate) factor: f64,
}

impl<F: Real> Row<'_, F> {
    fn target_score(&self) -> f64 {
        self.scores[self.target].widen()
    }

    fn aim(&self) -> Aim {
        Aim { score: self.target_score(), shift: self.modified.shift, scale: self.scale }
    }

    fn psi(&self) -> f64 {
        self.aim().psi()
    }

    fn gap(&self, score: f64) -> f64 {
        self.aim().gap(score)
    }
}

/// Room that a thread uses again for each of its rows.
#[derive(Debug)]
pub(crate) struct Work<F> {
    tile: Vec<F>,
}

impl<F: Real> Work<F> {
    pub(crate) fn new() -> Self {
        Self { tile: vec![F::zero(); TILE] }
    }

    /// Where a sweep writes: into the gradient, or where nobody looks.
    fn destination<'a>(&'a mut self, gradient: &'a mut Option<&mut [F]>, range: &Range<usize>) -> &'a mut [F] {
        match gradient {
            Some(gradient) => &mut gradient[range.clone()],
            None => &mut self.tile[..range.len()],
        }
    }
}

/// What slopes are multiplied by, in their own type. Beyond its range the largest number: infinity would make NaN of a
/// slope of 0.
pub(crate) fn multiplier<F: Real>(value: f64) -> F {
    let rounded = F::round_from(value);
    if rounded.is_infinite() { F::max_value().copysign(rounded) } else { rounded }
}

/// The classes but the target, in tiles.
pub(crate) fn negative_tiles(classes: usize, target: usize) -> impl Iterator<Item = Range<usize>> {
    [0..target, target + 1..classes].into_iter().flat_map(|part| {
        let end = part.end;
        part.step_by(TILE).map(move |start| start..end.min(start + TILE))
    })
}

/// The largest of the negatives, and whether any score of the row is NaN.
fn scan<F: Real>(sweeps: &Sweeps<F>, scores: &[F], target: usize) -> Scan<F> {
    let first = Scan { max: F::neg_infinity(), has_nan: scores[target].is_nan() };
    negative_tiles(scores.len(), target).fold(first, |so_far, range| {
        let tile = (sweeps.scan)(&scores[range]);
        let max = if tile.max > so_far.max { tile.max } else { so_far.max };
        Scan { max, has_nan: so_far.has_nan || tile.has_nan }
    })
}

/// Computes the loss of a row, and writes its gradient with respect to the scores (all C entries) where one is given.
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
