//! The properties of the rows of a batch before the sweeps: weights, norms, margins, and the targets' scores in f64.
//!
//! The margin changes one score per row. That score, its derivatives and its gradient are computed in f64 from the
//! embedding and the target's prototype. The derivative of an exact margin on the angle divides by `sin(theta)`. It is
//! multiplied by the direction `w^ - cos x^`, which vanishes with `sin(theta)`, so that the product is finite, and 0 at
//! theta = 0 and pi.

use super::arithmetic::dot;
use super::batch::HeadBatch;
use super::sampling::Positions;
use crate::axes::geometry::Geometry;
use crate::buffer::contiguous;
use crate::error::Result;
use crate::loss::Loss;
use crate::number::Real;
use crate::rows::{Learned, RowPlan, Target, Targets};
use crate::simd::InstructionSet;
use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// The least number of rows per parallel task.
const ROWS_OF_A_TASK: usize = 64;

/// A score in f64, with its prototype.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExactScore {
    /// The position of the prototype.
    pub(super) position: usize,
    pub(super) score: f64,
    /// `|w|`
    pub(super) weight_norm: f64,
}

/// The target of a valid row.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadTarget {
    pub(super) exact: ExactScore,
    /// The first position of its class.
    pub(super) first: usize,
    pub(super) target: Target<f32>,
}

/// The rows of a batch.
#[derive(Debug)]
pub(super) struct HeadRows {
    pub(super) plan: RowPlan,
    /// `s`, temperature included.
    pub(super) scale: f64,
    /// `|x|`
    pub(super) norms: Vec<f64>,
    /// `None` for rows of weight 0.
    pub(super) targets: Vec<Option<HeadTarget>>,
}

/// The operands of a score.
#[derive(Clone, Copy)]
pub(super) struct ScoreOperands<'a> {
    pub(super) set: InstructionSet,
    pub(super) geometry: Geometry,
    pub(super) embeddings: ArrayView2<'a, f32>,
    pub(super) weight: ArrayView2<'a, f32>,
    pub(super) bias: Option<ArrayView1<'a, f32>>,
    pub(super) positions: Positions<'a>,
}

/// Returns `1 / norm`, the factor of the gradient with respect to a vector that is normalized; 0 if it is beyond single
/// precision.
pub(super) fn inverse(norm: f64) -> f64 {
    let inverse = norm.recip();
    if inverse <= f64::from(f32::MAX) { inverse } else { 0.0 }
}

impl ScoreOperands<'_> {
    /// Computes the score of a row and the prototype at a position.
    pub(super) fn exact(&self, row: usize, norm: f64, position: usize) -> ExactScore {
        let prototype = self.positions.prototype(position);
        let (x, w) = (contiguous(self.embeddings.row(row)), contiguous(self.weight.row(prototype)));
        let weight_norm = dot(self.set, &w, &w).sqrt();
        let product = dot(self.set, &x, &w);
        let score = match self.geometry {
            Geometry::InnerProduct { .. } => product + self.bias.map_or(0.0, |bias| f64::from(bias[prototype])),
            Geometry::UnitWeights => product * divisor(weight_norm),
            Geometry::Cosine => (product * divisor(norm) * divisor(weight_norm)).clamp(-1.0, 1.0),
        };
        ExactScore { position, score, weight_norm }
    }

    /// Returns the largest score of the prototypes of a class, whose first position is `first`; the first on ties.
    fn best(&self, row: usize, norm: f64, first: usize, sub_centers: usize) -> ExactScore {
        let mut best = self.exact(row, norm, first);
        for position in first + 1..first + sub_centers {
            let other = self.exact(row, norm, position);
            if other.score > best.score {
                best = other;
            }
        }
        best
    }
}

/// Returns `1 / norm`, the factor that normalizes a vector; 0 for a norm of 0.
pub(super) fn divisor(norm: f64) -> f64 {
    if norm == 0.0 { 0.0 } else { norm.recip() }
}

impl HeadRows {
    /// Checks the inputs of the batch and computes the score of every target. `None` if a norm or a target's score is
    /// not finite: the unfused path then computes the limits or the error.
    pub(super) fn prepare(
        loss: &Loss,
        batch: &HeadBatch<'_, f32>,
        learned: Learned,
        operands: &ScoreOperands<'_>,
    ) -> Result<Option<Self>> {
        let norm = |x: ArrayView1<'_, f32>| {
            let x = contiguous(x);
            dot(operands.set, &x, &x).sqrt()
        };
        let rows = batch.embeddings.axis_iter(Axis(0)).into_par_iter().with_min_len(ROWS_OF_A_TASK);
        let norms: Vec<f64> = rows.map(norm).collect();
        if norms.iter().any(|norm| !norm.is_finite()) {
            return Ok(None);
        }
        let norms_of_loss: Option<Array1<f32>> =
            loss.needs_embedding_norms().then(|| norms.iter().map(|&n| f32::round_from(n)).collect());
        let mut inputs = batch.rows.reborrow();
        inputs.embedding_norms = norms_of_loss.as_ref().map(|norms| norms.view());
        let mut plan = loss.plan_rows(batch.embeddings.nrows(), &inputs, learned)?;
        let exact = exact_targets(loss, batch, operands, &plan, &norms);
        let is_sound = |exact: &ExactScore| f32::round_from(exact.score).is_finite() && exact.weight_norm.is_finite();
        if !exact.iter().flatten().all(|(_, exact)| is_sound(exact)) {
            return Ok(None);
        }
        let rounded = |exact: &Option<(usize, ExactScore)>| {
            exact.map_or(1.0, |(_, exact)| f64::from(f32::round_from(exact.weight_norm)))
        };
        plan.set_target_norms(exact.iter().map(rounded));
        let targets = exact.iter().enumerate();
        let targets = targets.map(|(row, exact)| exact.map(|t| modified(&plan, norms[row], row, t))).collect();
        Ok(Some(Self { scale: plan.scale(), plan, norms, targets }))
    }

    /// Returns the targets' scores (N); 0 for ignored rows.
    pub(super) fn target_scores(&self) -> Vec<f64> {
        self.targets.iter().map(|target| target.as_ref().map_or(0.0, |target| target.exact.score)).collect()
    }
}

/// Applies the margin to a target.
fn modified(plan: &RowPlan, norm: f64, row: usize, (first, exact): (usize, ExactScore)) -> HeadTarget {
    let norm = match plan.loss().spec().geometry {
        Geometry::Cosine => 1.0,
        Geometry::UnitWeights => norm,
        Geometry::InnerProduct { .. } => norm * exact.weight_norm,
    };
    HeadTarget { exact, first, target: plan.exact_target(row, exact.score, norm) }
}

/// Computes, for every valid row, the first position of its class and the target's score.
fn exact_targets(
    loss: &Loss,
    batch: &HeadBatch<'_, f32>,
    operands: &ScoreOperands<'_>,
    plan: &RowPlan,
    norms: &[f64],
) -> Vec<Option<(usize, ExactScore)>> {
    let Targets::Hard(_) = batch.rows.targets else { return vec![None; plan.count()] };
    let sub_centers = loss.spec().sub_centers;
    let one = |row: usize| {
        if plan.row_weight(row) == 0.0 {
            return None;
        }
        let first = operands.positions.of_class(plan.class(row))?;
        Some((first, operands.best(row, norms[row], first, sub_centers)))
    };
    (0..plan.count()).into_par_iter().with_min_len(ROWS_OF_A_TASK).map(one).collect()
}
