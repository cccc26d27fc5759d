//! The common parts of the comparisons: a row, its negatives in tiles, and the scratch space of a sweep.

use crate::axes::margin::ModifiedTarget;
use crate::number::Real;
use crate::rows::Aim;
use crate::simd::{Scan, Sweeps, TILE};
use std::ops::Range;

/// One row, as the input of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a, F> {
    pub(crate) scores: &'a [F],
    pub(crate) target: usize,
    pub(crate) modified: ModifiedTarget,
    /// `s`, temperature included.
    pub(crate) scale: f64,
    /// The factor of the gradient of the row's loss.
    pub(crate) factor: f64,
}

impl<F: Real> Row<'_, F> {
    pub(super) fn target_score(&self) -> f64 {
        self.scores[self.target].widen()
    }

    pub(super) fn aim(&self) -> Aim {
        Aim { score: self.target_score(), shift: self.modified.shift, scale: self.scale }
    }

    pub(super) fn psi(&self) -> f64 {
        self.aim().psi()
    }

    pub(super) fn gap(&self, score: f64) -> f64 {
        self.aim().gap(score)
    }
}

/// Scratch space that a thread reuses for each of its rows.
#[derive(Debug)]
pub(crate) struct Work<F> {
    tile: Vec<F>,
}

impl<F: Real> Work<F> {
    pub(crate) fn new() -> Self {
        Self { tile: vec![F::zero(); TILE] }
    }

    /// Returns the destination of a sweep: the gradient, or scratch space if there is none.
    pub(super) fn destination<'a>(
        &'a mut self,
        gradient: &'a mut Option<&mut [F]>,
        range: &Range<usize>,
    ) -> &'a mut [F] {
        match gradient {
            Some(gradient) => &mut gradient[range.clone()],
            None => &mut self.tile[..range.len()],
        }
    }
}

/// Rounds a factor of derivatives to their type. A factor beyond its range becomes the largest finite number, since
/// infinity times a derivative of 0 is NaN.
pub(crate) fn multiplier<F: Real>(value: f64) -> F {
    let rounded = F::round_from(value);
    if rounded.is_infinite() { F::max_value().copysign(rounded) } else { rounded }
}

/// Returns the classes except the target, in tiles.
pub(crate) fn negative_tiles(classes: usize, target: usize) -> impl Iterator<Item = Range<usize>> {
    [0..target, target + 1..classes].into_iter().flat_map(|part| {
        let end = part.end;
        part.step_by(TILE).map(move |start| start..end.min(start + TILE))
    })
}

/// Returns the largest score of the negatives, and whether any score of the row is NaN.
pub(super) fn scan<F: Real>(sweeps: &Sweeps<F>, scores: &[F], target: usize) -> Scan<F> {
    let first = Scan { max: F::neg_infinity(), has_nan: scores[target].is_nan() };
    negative_tiles(scores.len(), target).fold(first, |so_far, range| {
        let tile = (sweeps.scan)(&scores[range]);
        let max = if tile.max > so_far.max { tile.max } else { so_far.max };
        Scan { max, has_nan: so_far.has_nan || tile.has_nan }
    })
}
