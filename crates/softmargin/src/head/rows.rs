//! What is known of the rows of a batch before any sweep: weights, norms, margins, and the targets' own scores in f64.
//!
//! The margin touches one score of a row. That score, its slopes and its gradient are computed in f64 from the embedding
//! and the target's prototype: the slope of an exact margin on the angle divides by `sin(theta)`, and the direction
//! `w^ - cos x^` that it multiplies vanishes with it, so that their product is finite, and 0 at theta = 0 and pi.

use super::arithmetic::dot;
use super::batch::HeadBatch;
use super::sampling::Positions;
use crate::batch::Targets;
use crate::buffer::contiguous;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::loss::{Loss, Plan, RowMarginPairs};
use crate::margin::{ModifiedTarget, TargetContext};
use crate::real::Real;
use crate::simd::{Bend, InstructionSet};
use ndarray::{Array1, ArrayView1, ArrayView2, Axis, arr0};
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

/// The target of a row that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) exact: ExactScore,
    /// The first position of its class.
    pub(super) first: usize,
    pub(super) modified: ModifiedTarget,
    pub(super) bend: Option<Bend<f32>>,
}

/// The rows of a batch.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) plans: Vec<Plan>,
    /// The sum of their weights.
    pub(super) weight: f64,
    /// `s`, temperature included.
    pub(super) scale: f64,
    /// `|x|`
    pub(super) norms: Vec<f64>,
    /// The same as a loss takes them.
    pub(super) norms_of_loss: Option<Array1<f32>>,
    /// (C), those of the targets alone; where a loss looks at them.
    pub(super) weight_norms: Option<Array1<f32>>,
    /// `None` for rows of weight 0.
    pub(super) targets: Vec<Option<Target>>,
}

/// What a score is computed from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
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

impl Source<'_> {
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

impl Rows {
    /// Checks the batch as the loss does, and looks at every target. `None` where a score is not finite: the plain code
    /// knows what to say or to do about it.
    pub(super) fn prepare(loss: &Loss, batch: &HeadBatch<'_, f32>, source: &Source<'_>) -> Result<Option<Self>> {
        let norm = |x: ArrayView1<'_, f32>| {
            let x = contiguous(x);
            dot(source.set, &x, &x).sqrt()
        };
        let rows = batch.embeddings.axis_iter(Axis(0)).into_par_iter().with_min_len(ROWS_OF_A_TASK);
        let norms: Vec<f64> = rows.map(norm).collect();
        let (zero, rows) = (arr0(0.0_f32), norms.len());
        let scores = zero.broadcast((rows, loss.num_classes())).expect("a single number takes any shape");
        let norms_of_loss = loss.needs_embedding_norms().then(|| norms.iter().map(|&n| f32::round_from(n)).collect());
        let mut of_scores = batch.of_scores(scores);
        of_scores.embedding_norms = norms_of_loss.as_ref().map(|norms: &Array1<f32>| norms.view());
        let one = arr0(1.0_f32);
        of_scores.weight_norms = if loss.needs_weight_norms() { one.broadcast(loss.num_classes()) } else { None };
        if norms.iter().any(|norm| !norm.is_finite()) {
            return Ok(None);
        }
        of_scores.check(loss.needs())?;
        let (plans, weight) = loss.plan(&of_scores)?;
        let values = loss.values(&of_scores, &plans);
        let scale = loss.scale(&of_scores);
        let exact = exact_targets(loss, batch, source, &plans, &norms);
        if exact
            .iter()
            .flatten()
            .any(|(_, exact)| !(f32::round_from(exact.score).is_finite() && exact.weight_norm.is_finite()))
        {
            return Ok(None);
        }
        let weight_norms = loss.needs_weight_norms().then(|| {
            let mut all = Array1::zeros(loss.num_classes());
            for (plan, exact) in plans.iter().zip(&exact) {
                if let Some((_, exact)) = exact {
                    all[plan.class] = f32::round_from(exact.weight_norm);
                }
            }
            all
        });
        let mut all = Self { plans, weight, scale, norms, norms_of_loss, weight_norms, targets: Vec::new() };
        all.targets = exact
            .iter()
            .enumerate()
            .map(|(row, exact)| exact.map(|t| all.modify(loss, batch, &values, row, t)))
            .collect();
        Ok(Some(all))
    }

    /// What the margin makes of a target.
    fn modify(
        &self,
        loss: &Loss,
        batch: &HeadBatch<'_, f32>,
        [value, minus]: &RowMarginPairs,
        row: usize,
        (first, exact): (usize, ExactScore),
    ) -> Target {
        let spec = loss.spec();
        let norm = match spec.geometry {
            Geometry::Cosine => 1.0,
            Geometry::UnitWeights => self.norms[row],
            Geometry::InnerProduct { .. } => self.norms[row] * exact.weight_norm,
        };
        let context = TargetContext {
            score: exact.score,
            scale: self.scale,
            norm,
            value: value[row],
            minus: minus[row],
            step: batch.state.map_or(0, |state| state.step),
            least_sine: f64::LEAST_SINE,
        };
        let modified = spec.margin.apply(&context);
        let mean = batch.state.map_or(0.0, |state| state.target_mean);
        let bend = spec.negatives.bend(exact.score + modified.shift, || spec.margin.plain_psi(&context), mean);
        Target { exact, first, modified, bend }
    }

    /// The targets' scores (N, 1); 0 for rows that do not count.
    pub(super) fn target_scores(&self) -> Vec<f64> {
        self.targets.iter().map(|target| target.as_ref().map_or(0.0, |target| target.exact.score)).collect()
    }
}

/// Of every row that counts the first position of its class, and its score.
fn exact_targets(
    loss: &Loss,
    batch: &HeadBatch<'_, f32>,
    source: &Source<'_>,
    plans: &[Plan],
    norms: &[f64],
) -> Vec<Option<(usize, ExactScore)>> {
    let Targets::Hard(_) = batch.targets else { return vec![None; plans.len()] };
    let sub_centers = loss.spec().sub_centers;
    let one = |(row, plan): (usize, &Plan)| {
        if plan.weight == 0.0 {
            return None;
        }
        let first = source.positions.of_class(plan.class)?;
        Some((first, source.best(row, norms[row], first, sub_centers)))
    };
    plans.par_iter().with_min_len(ROWS_OF_A_TASK).enumerate().map(one).collect()
}
