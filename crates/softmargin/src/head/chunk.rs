//! Where the rows of the weight's gradient of a shard go: into an array, or into a step of an optimizer.

use super::optimizer::StepRows;
use super::sweep::Prototypes;
use crate::buffer::contiguous;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, Axis};

/// Consecutive rows of the weight, and what becomes of their gradient.
pub(super) enum Chunk<'a> {
    /// The weight, and where its gradient is written: the rows from `first` on.
    Gradient { weight: ArrayView2<'a, f32>, first: usize, gradient: ArrayViewMut2<'a, f32> },
    /// The rows from `first` on are stepped.
    Step { first: usize, rows: StepRows<'a> },
}

impl Chunk<'_> {
    pub(super) fn weight(&self) -> Prototypes<'_> {
        match self {
            Self::Gradient { weight, .. } => Prototypes { rows: weight.view(), first: 0 },
            Self::Step { first, rows } => Prototypes { rows: rows.weight.view(), first: *first },
        }
    }

    /// Has the gradient by a prototype computed from the prototype, and takes it. `room` is for a row where the array
    /// has no place for it.
    pub(super) fn take(&mut self, prototype: usize, room: &mut [f32], compute: impl FnOnce(&[f32], &mut [f32])) {
        match self {
            Self::Gradient { weight, first, gradient } => {
                let w = contiguous(weight.row(prototype));
                let mut row = gradient.row_mut(prototype - *first);
                if let Some(row) = row.as_slice_mut() {
                    compute(&w, row);
                } else {
                    compute(&w, room);
                    row.assign(&ArrayView1::from(&*room));
                }
            }
            Self::Step { first, rows } => {
                compute(&contiguous(rows.weight.row(prototype - *first)), room);
                rows.step(prototype - *first, room);
            }
        }
    }
}

/// Runs of rows of a gradient, from each start to the next.
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
