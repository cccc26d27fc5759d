//! The destination of the rows of the weight's gradient of a shard: an array, or a step of an optimizer.

use super::optimizer::StepRows;
use super::sweep::Prototypes;
use crate::buffer::contiguous;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis};

/// Consecutive rows of the weight, and the destination of their gradient.
pub(super) enum Chunk<'a> {
    /// The weight, and the rows of the gradient array from `first`.
    Gradient { weight: ArrayView2<'a, f32>, first: usize, gradient: ArrayViewMut2<'a, f32> },
    /// The optimizer step of the rows from `first`.
    Step { first: usize, rows: StepRows<'a> },
}

impl Chunk<'_> {
    pub(super) fn weight(&self) -> Prototypes<'_> {
        match self {
            Self::Gradient { weight, .. } => Prototypes { rows: weight.view(), first: 0 },
            Self::Step { first, rows } => Prototypes { rows: rows.weight.view(), first: *first },
        }
    }

    /// Computes the gradient with respect to a prototype with `compute`, and writes it or makes a step with it.
    /// `scratch` is scratch space for a row that cannot be written in place.
    pub(super) fn take(&mut self, prototype: usize, scratch: &mut [f32], compute: impl FnOnce(&[f32], &mut [f32])) {
        match self {
            Self::Gradient { weight, first, gradient } => {
                let w = contiguous(weight.row(prototype));
                let mut row = gradient.row_mut(prototype - *first);
                if let Some(row) = row.as_slice_mut() {
                    compute(&w, row);
                } else {
                    compute(&w, scratch);
                    row.assign(&ArrayView1::from(&*scratch));
                }
            }
            Self::Step { first, rows } => {
                compute(&contiguous(rows.weight.row(prototype - *first)), scratch);
                rows.step(prototype - *first, scratch);
            }
        }
    }
}

/// Splits a gradient into runs of rows, from each start to the next.
pub(super) fn gradient_chunks<'a>(
    weight: ArrayView2<'a, f32>,
    gradient: ArrayViewMut2<'a, f32>,
    starts: &[usize],
) -> Vec<Chunk<'a>> {
    let mut rest = gradient;
    let mut chunks = Vec::new();
    for pair in starts.windows(2) {
        let (gradient, after) = rest.split_at(Axis(0), pair[1] - pair[0]);
        chunks.push(Chunk::Gradient { weight, first: pair[0], gradient });
        rest = after;
    }
    chunks
}
