//! What is known of the rows of a batch before any sweep: weights, norms, margins, and the targets' own scores in f64.
//!
//! The margin touches one score of a row. That score, its slopes and its gradient are computed in f64 from the
//! embedding and the target's prototype: the slope of an exact margin on the angle divides by `sin(theta)`, and the
//! direction `w^ - cos x^` that it multiplies vanishes with it, so that their product is finite, and 0 at theta = 0 and
//! pi.

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

/// Rows that are worth a task of their own.
const ROWS_OF_A_TASK: usize = 64;

/// A score in f64, and what it is made of.
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

/// What a score is computed from.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) set: InstructionSet,
    pub(super) geometry: Geometry,
    pub(super) embeddings: ArrayView2<'a, f32>,
    pub(super) weight: ArrayView2<'a, f32>,
    pub(super) bias: Option<ArrayView1<'a, f32>>,
    pub(super) positions: Positions<'a>,
}

/// What a gradient by a direction is multiplied by: `1 / norm`; 0 for 0, and where that is beyond single precision.
pub(super) fn inverse(norm: f64) -> f64 {
    let inverse = norm.recip();
    if inverse <= f64::from(f32::MAX) { inverse } else { 0.0 }
}

impl Operands<'_> {
    /// The score of a row and the prototype at a position.
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

    /// The best of the prototypes of a class, from its first position on; the first on ties.
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

/// What makes a unit vector: `1 / norm`, 0 for 0.
pub(super) fn divisor(norm: f64) -> f64 {
    if norm == 0.0 { 0.0 } else { norm.recip() }
}

impl HeadRows {
    /// Checks the batch as the loss does, and looks at every target. `None` where a score is not finite: the plain code
    /// knows what to say or to do about it.
    pub(super) fn prepare(
        loss: &Loss,
        batch: &HeadBatch<'_, f32>,
        learned: Learned,
        operands: &Operands<'_>,
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

    /// The targets' scores (N); 0 for ignored rows.
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

/// Of every valid row the first position of its class, and its score.
fn exact_targets(
    loss: &Loss,
    batch: &HeadBatch<'_, f32>,
    operands: &Operands<'_>,
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
