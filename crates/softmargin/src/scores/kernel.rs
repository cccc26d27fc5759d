//! The computation of the rows of a batch of scores, each independently.

use super::comparison::{Row, SoftRow, Work, row as hard_row, soft_row};
use super::faults::RowFault;
use super::transformed_negatives::Transformed;
use crate::buffer::contiguous;
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::{RowOutcome, RowPlan, Targets};
use crate::simd::Sweeps;
use crate::smooth::arg_max;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use rayon::prelude::*;

/// The work from which threads pay off, in units of the work on one f32 score.
const WORTH_THREADS: usize = 1 << 15;

/// The work on one f64 score, whose elementary functions are calls.
const WORK_OF_DOUBLE: usize = 8;

/// The fixed work per row.
const WORK_OF_ROW: usize = 64;

/// Returns the work on a row of C scores.
fn work_of_row<F>(classes: usize) -> usize {
    let of_score = if size_of::<F>() > size_of::<f32>() { WORK_OF_DOUBLE } else { 1 };
    WORK_OF_ROW.saturating_add(classes.saturating_mul(of_score))
}

/// Consecutive rows of a batch, with their scores.
#[derive(Clone, Copy)]
pub(crate) struct ScoredRows<'a, F> {
    pub(crate) plan: &'a RowPlan,
    /// The targets of all rows of the batch.
    pub(crate) targets: Targets<'a, F>,
    /// The index in the batch of the first of these rows.
    pub(crate) first: usize,
    /// The scores of these rows (n, C).
    pub(crate) scores: ArrayView2<'a, F>,
}

type RowResult = std::result::Result<RowOutcome, RowFault>;

impl<F: Real> ScoredRows<'_, F> {
    /// Computes the rows. If `gradient` is given, writes the gradient of the batch's loss with respect to their scores.
    pub(crate) fn compute(&self, reduction: Reduction, gradient: Option<ArrayViewMut2<'_, F>>) -> Vec<RowResult> {
        let kernel = Kernel { rows: self, sweeps: Sweeps::of(self.plan.loss().instruction_set()), reduction };
        let rows = self.scores.nrows();
        let mut gradient = gradient;
        let mut gradients: Vec<Option<ArrayViewMut1<'_, F>>> = match &mut gradient {
            Some(gradient) => gradient.rows_mut().into_iter().map(Some).collect(),
            None => (0..rows).map(|_| None).collect(),
        };
        let compute = |buffers: &mut Buffers<F>, (row, gradient): (usize, &mut Option<ArrayViewMut1<'_, F>>)| {
            kernel.row(row, buffers, gradient.as_mut())
        };
        let of_row = work_of_row::<F>(self.plan.loss().num_classes());
        if of_row.saturating_mul(rows) < WORTH_THREADS {
            let mut buffers = Buffers::new();
            gradients.iter_mut().enumerate().map(|task| compute(&mut buffers, task)).collect()
        } else {
            let rows_per_task = (WORTH_THREADS / 4).div_ceil(of_row);
            let tasks = gradients.par_iter_mut().enumerate().with_min_len(rows_per_task);
            tasks.map_init(Buffers::new, compute).collect()
        }
    }
}

/// The buffers that a thread reuses for each of its rows.
struct Buffers<F> {
    scratch: Scratch<F>,
    /// The contiguous gradient of a row whose destination is strided.
    gradient: Vec<F>,
}

impl<F: Real> Buffers<F> {
    fn new() -> Self {
        Self { scratch: Scratch { work: Work::new(), transformed: Transformed::new() }, gradient: Vec::new() }
    }
}

/// The scratch space of the computation of a row.
struct Scratch<F> {
    work: Work<F>,
    transformed: Transformed<F>,
}

/// The common parts of the computation of all rows.
struct Kernel<'a, 'b, F> {
    rows: &'a ScoredRows<'b, F>,
    sweeps: Sweeps<F>,
    reduction: Reduction,
}

impl<F: Real> Kernel<'_, '_, F> {
    fn row(&self, row: usize, buffers: &mut Buffers<F>, gradient: Option<&mut ArrayViewMut1<'_, F>>) -> RowResult {
        let Some(gradient) = gradient else { return self.contiguous_row(row, &mut buffers.scratch, None) };
        if let Some(slice) = gradient.as_slice_mut() {
            return self.contiguous_row(row, &mut buffers.scratch, Some(slice));
        }
        buffers.gradient.resize(gradient.len(), F::zero());
        let outcome = self.contiguous_row(row, &mut buffers.scratch, Some(&mut buffers.gradient))?;
        gradient.assign(&ArrayView1::from(&buffers.gradient));
        Ok(outcome)
    }

    /// Computes a row; `row` is relative to the first of these rows.
    fn contiguous_row(&self, row: usize, scratch: &mut Scratch<F>, gradient: Option<&mut [F]>) -> RowResult {
        let scores = contiguous(self.rows.scores.row(row));
        let (plan, row) = (self.rows.plan, self.rows.first + row);
        if plan.row_weight(row) == 0.0 {
            return ignored_row(&scores, gradient);
        }
        match self.rows.targets {
            Targets::Hard(_) => self.hard_row(row, &scores, scratch, gradient),
            Targets::Soft(targets) => {
                let targets = contiguous(targets.row(row));
                let factor = plan.row_factor(row, self.reduction);
                let soft = SoftRow { scores: &scores, targets: &targets, scale: plan.scale(), factor };
                let comparison = plan.loss().spec().comparison;
                let outcome = soft_row(comparison, &self.sweeps, &soft, &mut scratch.work, gradient)?;
                Ok(RowOutcome::of_soft_target(outcome.loss, outcome.negatives_scale_slope))
            }
        }
    }

    fn hard_row(&self, row: usize, scores: &[F], scratch: &mut Scratch<F>, gradient: Option<&mut [F]>) -> RowResult {
        let (plan, class) = (self.rows.plan, self.rows.plan.class(row));
        let score = scores[class].widen();
        if score.is_finite() && !plan.is_cosine(row, score) {
            return Err(RowFault::NotACosine(score));
        }
        let target = plan.target::<F>(row, score);
        let spec = plan.loss().spec();
        let factor = plan.row_factor(row, self.reduction);
        let of_row = Row { scores, target: class, modified: target.modified, scale: plan.scale(), factor };
        let Scratch { work, transformed } = scratch;
        let outcome = match target.negatives {
            Some(change) => transformed.row(change, spec.comparison, &self.sweeps, of_row, work, gradient)?,
            None => hard_row(spec.comparison, &self.sweeps, &of_row, work, gradient)?,
        };
        let incay = spec.regularizer.is_some_and(|term| term.is_for_correct_rows());
        let correct = incay && arg_max(scores) == Some(class);
        Ok(plan.outcome_of(&outcome, &target, correct))
    }
}

/// Returns the outcome of an ignored row, or a fault if a score is NaN: in a head, its zero derivatives would be
/// multiplied by the NaN.
fn ignored_row<F: Real>(scores: &[F], gradient: Option<&mut [F]>) -> RowResult {
    if let Some(gradient) = gradient {
        gradient.fill(F::zero());
    }
    if scores.iter().any(|score| score.is_nan()) { Err(RowFault::Nan) } else { Ok(RowOutcome::default()) }
}
