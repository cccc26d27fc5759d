//! The scores of a batch, all rows at once or some rows at a time.
//!
//! All scores of a head with many classes, and the copies that differentiation stores, would be many times larger than
//! embeddings and prototypes. Each chunk of rows is then differentiated immediately, from its own leaves, and the
//! gradients of the chunks are added. This needs one upstream gradient for all rows, and so a reduction.

use super::{constant, geometry, wide};
use crate::call::{Call, HeadOperands, Operands, Wanted};
use burn::tensor::{Bool, Tensor};
use softmargin::{Reduction, Result};
use std::ops::Range;

/// The largest number of scores of a chunk. About ten matrices of that size exist at a time.
const MOST_SCORES: usize = 1 << 22;

/// The source of the scores.
#[expect(clippy::large_enum_variant, reason = "there is one of them a batch")]
pub(super) enum Scores {
    /// All scores (N, C), in the graph of the operands.
    Whole(Tensor<2>),
    /// Operands from which the scores of some rows at a time are computed.
    InChunks { operands: HeadOperands, rows_at_a_time: usize },
}

/// The scores of some rows, and the leaves that they were computed from, unless they are whole.
pub(super) struct Chunk {
    pub(super) scores: Tensor<2>,
    leaves: Option<HeadOperands>,
}

impl Scores {
    pub(super) fn of<F>(operands: &Operands, call: &Call<F>) -> Result<Self> {
        let operands = match operands {
            Operands::Head(operands) => operands.clone(),
            Operands::Scores { scores, .. } => return Ok(Self::Whole(scores.clone())),
        };
        let ([rows, _], [prototypes, _]) = (operands.embeddings.dims(), operands.weight.dims());
        let rows_at_a_time = (MOST_SCORES / prototypes.max(1)).max(1);
        if rows <= rows_at_a_time || call.reduction == Reduction::None || call.wanted == Wanted::Scores {
            return geometry::scores(operands).map(Self::Whole);
        }
        Ok(Self::InChunks { operands, rows_at_a_time })
    }

    /// Returns the shape (N, C).
    pub(super) fn dims(&self) -> [usize; 2] {
        match self {
            Self::Whole(scores) => scores.dims(),
            Self::InChunks { operands, .. } => {
                [operands.embeddings.dims()[0], operands.weight.dims()[0] / operands.sub_centers]
            }
        }
    }

    /// Returns the rows of each chunk.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let rows = self.dims()[0];
        let step = match self {
            Self::Whole(_) => rows.max(1),
            Self::InChunks { rows_at_a_time, .. } => *rows_at_a_time,
        };
        (0..rows).step_by(step).map(|first| first..rows.min(first + step)).collect()
    }

    /// Returns the detached scores of some rows.
    pub(super) fn constant(&self, rows: &Range<usize>) -> Result<Tensor<2>> {
        match self {
            Self::Whole(scores) => Ok(constant(scores.clone())),
            Self::InChunks { operands, .. } => geometry::scores(part(operands, rows)),
        }
    }

    /// Returns the scores of some rows, to be differentiated.
    pub(super) fn chunk(&self, rows: &Range<usize>) -> Result<Chunk> {
        match self {
            Self::Whole(scores) => Ok(Chunk { scores: scores.clone(), leaves: None }),
            Self::InChunks { operands, .. } if operands.embeddings.is_autodiff() => {
                let HeadOperands { embeddings, weight, bias, .. } = part(operands, rows);
                let leaf = |matrix: Tensor<2>| Tensor::from_inner(matrix).require_grad();
                let (embeddings, weight) = (leaf(embeddings), leaf(weight));
                let bias = bias.map(|bias| Tensor::from_inner(bias).require_grad());
                let leaves = HeadOperands { embeddings, weight, bias, ..*operands };
                Ok(Chunk { scores: geometry::scores(leaves.clone())?, leaves: Some(leaves) })
            }
            Self::InChunks { .. } => Ok(Chunk { scores: self.constant(rows)?, leaves: None }),
        }
    }
}

/// Returns the operands of some rows, detached.
fn part(operands: &HeadOperands, rows: &Range<usize>) -> HeadOperands {
    let HeadOperands { embeddings, weight, bias, .. } = operands.clone();
    let embeddings = constant(embeddings.slice([rows.clone()]));
    HeadOperands { embeddings, weight: constant(weight), bias: bias.map(constant), ..*operands }
}

/// Sums of `z g` over tensors `z`, where `g` is the derivative of the loss with respect to `z`.
#[derive(Default)]
pub(super) struct Attached {
    /// (N), of scores in the graph of the operands.
    rows: Option<Tensor<1>>,
    of_embeddings: Vec<Tensor<2>>,
    of_weight: Option<Tensor<2>>,
    of_bias: Option<Tensor<1>>,
}

impl Attached {
    /// Adds a chunk with the derivatives with respect to its scores; masked scores, which may be infinite, have none.
    pub(super) fn add(&mut self, chunk: Chunk, masked: Tensor<2, Bool>, gradient: Tensor<2>) {
        let Chunk { scores, leaves } = chunk;
        let finite = wide(scores.mask_fill(Tensor::from_inner(masked), 0.0));
        let rows: Tensor<1> = (finite * Tensor::from_inner(gradient)).sum_dim(1).squeeze_dim(1);
        let Some(HeadOperands { embeddings, weight, bias, .. }) = leaves else {
            self.rows = Some(rows);
            return;
        };
        let gradients = rows.sum().backward();
        self.of_embeddings.extend(embeddings.grad(&gradients));
        add(&mut self.of_weight, weight.grad(&gradients));
        add(&mut self.of_bias, bias.and_then(|bias| bias.grad(&gradients)));
    }

    /// Returns the sum of each row (N) if the scores are in the graph, else of all rows (1).
    pub(super) fn finish(self, scores: &Scores) -> Option<Tensor<1>> {
        let Scores::InChunks { operands, .. } = scores else { return self.rows };
        let of_embeddings = Tensor::from_inner(Tensor::cat(self.of_embeddings, 0));
        let mut sum = (operands.embeddings.clone() * of_embeddings).sum();
        if let Some(of_weight) = self.of_weight {
            sum = sum + (operands.weight.clone() * Tensor::from_inner(of_weight)).sum();
        }
        if let (Some(bias), Some(of_bias)) = (&operands.bias, self.of_bias) {
            sum = sum + (bias.clone() * Tensor::from_inner(of_bias)).sum();
        }
        Some(sum)
    }
}

fn add<const D: usize>(sum: &mut Option<Tensor<D>>, part: Option<Tensor<D>>) {
    *sum = match (sum.take(), part) {
        (Some(sum), Some(part)) => Some(sum + part),
        (sum, part) => sum.or(part),
    };
}
