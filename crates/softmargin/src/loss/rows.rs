//! The rows of a batch, each computed on its own.

use super::Loss;
use super::margin_values::RowMarginPairs;
use super::plan::Plan;
use crate::batch::{Batch, Targets};
use crate::buffer::contiguous;
use crate::comparison::{Comparison, Row, RowFault, RowLoss, SoftRow, Work, soft_row};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::COSINE_TOLERANCE;
use crate::margin::{ModifiedTarget, TargetContext};
use crate::negatives::Bent;
use crate::real::Real;
use crate::simd::{Bend, Sweeps};
use crate::smooth::arg_max;
use ndarray::{ArrayView1, ArrayViewMut1, ArrayViewMut2};
use rayon::prelude::*;

/// Work below which threads cost more than they bring; its unit is a score of single precision.
const WORTH_THREADS: usize = 1 << 15;

/// A score of double precision, whose functions are calls.
const OF_DOUBLE: usize = 8;

/// What belongs to a row, however few its scores.
const OF_ROW: usize = 64;

/// The work on a row of so many scores.
fn work_of_row<F>(classes: usize) -> usize {
    let of_score = if size_of::<F>() > size_of::<f32>() { OF_DOUBLE } else { 1 };
    OF_ROW.saturating_add(classes.saturating_mul(of_score))
}

/// What a row adds to its batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowOutcome {
    pub(crate) loss: f64,
    pub(crate) scale_slope: f64,
    /// By the product of the norms that the geometry keeps.
    pub(crate) norm_slope: f64,
    /// By the norm of the embedding, through margin values that it decides.
    pub(crate) value_slope: f64,
    pub(crate) correct: bool,
}

impl Loss {
    /// What a row adds to its batch, from its loss and its target.
    pub(crate) fn row_outcome(
        &self,
        row: &RowLoss,
        target_score: f64,
        modified: ModifiedTarget,
        scale: f64,
        correct: bool,
    ) -> RowOutcome {
        let RowLoss { loss, target_slope, negatives_scale_slope } = *row;
        let target_scale_slope = if target_slope == 0.0 || target_score.is_infinite() {
            0.0
        } else {
            target_slope * (target_score + modified.scale_shift)
        };
        // Under the cosine r is 1, whatever the norms are that a regularizer looks at.
        let keeps_norms = !self.spec.geometry.is_bounded();
        RowOutcome {
            loss,
            scale_slope: negatives_scale_slope + target_scale_slope,
            norm_slope: if keeps_norms { target_slope * scale * modified.norm_slope } else { 0.0 },
            value_slope: target_slope * scale * modified.value_slope,
            correct,
        }
    }

    /// Computes rows; `margin values` are those of these rows.
    pub(crate) fn rows<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        plans: &[Plan],
        values: &RowMarginPairs,
        factor: f64,
        gradient: Option<ArrayViewMut2<'_, F>>,
    ) -> Vec<std::result::Result<RowOutcome, RowFault>> {
        let kernel = Kernel {
            loss: self,
            batch,
            sweeps: Sweeps::of(self.instruction_set),
            scale: self.scale(batch),
            values,
            step: batch.state.map_or(0, |state| state.step),
            target_mean: batch.state.map_or(0.0, |state| state.target_mean),
            factor,
        };
        let mut gradient = gradient;
        let mut gradients: Vec<Option<ArrayViewMut1<'_, F>>> = match &mut gradient {
            Some(gradient) => gradient.rows_mut().into_iter().map(Some).collect(),
            None => plans.iter().map(|_| None).collect(),
        };
        let compute = |room: &mut Room<F>, (row, gradient): (usize, &mut Option<ArrayViewMut1<'_, F>>)| {
            kernel.row(row, plans[row], room, gradient.as_mut())
        };
        let of_row = work_of_row::<F>(self.num_classes);
        if of_row.saturating_mul(plans.len()) < WORTH_THREADS {
            let mut room = Room::new();
            gradients.iter_mut().enumerate().map(|task| compute(&mut room, task)).collect()
        } else {
            let rows_per_task = (WORTH_THREADS / 4).div_ceil(of_row);
            let tasks = gradients.par_iter_mut().enumerate().with_min_len(rows_per_task);
            tasks.map_init(Room::new, compute).collect()
        }
    }
}

/// Room that a thread uses again for each of its rows.
struct Room<F> {
    scratch: Scratch<F>,
    /// The gradient of a row whose own is strided.
    gradient: Vec<F>,
}

impl<F: Real> Room<F> {
    fn new() -> Self {
        Self { scratch: Scratch { work: Work::new(), bent: Bent::new() }, gradient: Vec::new() }
    }
}

/// What the computation of a row writes for itself.
struct Scratch<F> {
    work: Work<F>,
    bent: Bent<F>,
}

/// All that the rows of a batch share.
struct Kernel<'a, 'b, F> {
    loss: &'a Loss,
    batch: &'a Batch<'b, F>,
    sweeps: Sweeps<F>,
    scale: f64,
    values: &'a RowMarginPairs,
    step: u64,
    target_mean: f64,
    factor: f64,
}

impl<F: Real> Kernel<'_, '_, F> {
    fn row(
        &self,
        row: usize,
        plan: Plan,
        room: &mut Room<F>,
        gradient: Option<&mut ArrayViewMut1<'_, F>>,
    ) -> std::result::Result<RowOutcome, RowFault> {
        let Some(gradient) = gradient else { return self.contiguous_row(row, plan, &mut room.scratch, None) };
        if let Some(slice) = gradient.as_slice_mut() {
            return self.contiguous_row(row, plan, &mut room.scratch, Some(slice));
        }
        room.gradient.resize(gradient.len(), F::zero());
        let outcome = self.contiguous_row(row, plan, &mut room.scratch, Some(&mut room.gradient))?;
        gradient.assign(&ArrayView1::from(&room.gradient));
        Ok(outcome)
    }

    fn contiguous_row(
        &self,
        row: usize,
        plan: Plan,
        scratch: &mut Scratch<F>,
        gradient: Option<&mut [F]>,
    ) -> std::result::Result<RowOutcome, RowFault> {
        let scores = contiguous(self.batch.scores.row(row));
        if plan.weight == 0.0 {
            return ignored_row(&scores, gradient);
        }
        match self.batch.targets {
            Targets::Hard(_) => self.hard_row(row, plan, &scores, scratch, gradient),
            Targets::Soft(targets) => {
                let targets = contiguous(targets.row(row));
                let factor = self.factor * plan.weight;
                let soft = SoftRow { scores: &scores, targets: &targets, scale: self.scale, factor };
                let outcome = soft_row(self.loss.spec.comparison, &self.sweeps, &soft, &mut scratch.work, gradient)?;
                Ok(RowOutcome {
                    loss: outcome.loss,
                    scale_slope: outcome.negatives_scale_slope,
                    ..RowOutcome::default()
                })
            }
        }
    }

    fn hard_row(
        &self,
        row: usize,
        plan: Plan,
        scores: &[F],
        scratch: &mut Scratch<F>,
        gradient: Option<&mut [F]>,
    ) -> std::result::Result<RowOutcome, RowFault> {
        let context = self.target_context(row, plan, scores[plan.class])?;
        let modified = context.map_or(ModifiedTarget::UNCHANGED, |context| self.loss.spec.margin.apply(&context));
        let comparison: Comparison = self.loss.spec.comparison;
        let bend = self.bend(scores[plan.class].widen(), context.as_ref(), modified);
        let row = Row { scores, target: plan.class, modified, scale: self.scale, factor: self.factor * plan.weight };
        let Scratch { work, bent } = scratch;
        let outcome = match bend {
            Some(bend) => bent.row(bend, comparison, &self.sweeps, row, work, gradient)?,
            None => comparison.row(&self.sweeps, &row, work, gradient)?,
        };
        let incay = self.loss.spec.regularizer.is_some_and(|term| term.is_for_correct_rows());
        let correct = incay && arg_max(scores) == Some(plan.class);
        Ok(self.loss.row_outcome(&outcome, scores[plan.class].widen(), modified, self.scale, correct))
    }

    /// What is done to the row's negatives.
    fn bend(&self, score: f64, context: Option<&TargetContext>, modified: ModifiedTarget) -> Option<Bend<F>> {
        let plain_psi = || context.map_or(score, |context| self.loss.spec.margin.plain_psi(context));
        self.loss.spec.negatives.bend(score + modified.shift, plain_psi, self.target_mean)
    }

    /// What the margin looks at; nothing where the target's score is infinite, which has no margin.
    fn target_context(&self, row: usize, plan: Plan, score: F) -> std::result::Result<Option<TargetContext>, RowFault> {
        let score = score.widen();
        if score.is_infinite() {
            return Ok(None);
        }
        let norm = if self.loss.spec.geometry.is_bounded() {
            1.0
        } else {
            let of_embedding = self.batch.embedding_norms.map_or(1.0, |norms| norms[row].widen());
            of_embedding * self.batch.weight_norms.map_or(1.0, |norms| norms[plan.class].widen())
        };
        if self.loss.spec.margin.is_angular() && score.abs() > norm * (1.0 + COSINE_TOLERANCE) {
            return Err(RowFault::NotACosine(score));
        }
        let [value, minus] = self.values;
        Ok(Some(TargetContext {
            score,
            scale: self.scale,
            norm,
            value: value[row],
            minus: minus[row],
            step: self.step,
            least_sine: F::LEAST_SINE,
        }))
    }
}

/// A row that does not count has no loss, but it must be sound: in a head, its zero slopes would meet its NaN.
fn ignored_row<F: Real>(scores: &[F], gradient: Option<&mut [F]>) -> std::result::Result<RowOutcome, RowFault> {
    if let Some(gradient) = gradient {
        gradient.fill(F::zero());
    }
    if scores.iter().any(|score| score.is_nan()) { Err(RowFault::Nan) } else { Ok(RowOutcome::default()) }
}

/// The outcomes of all rows, or one error for all the rows that have the fault of the first.
pub(crate) fn without_faults(outcomes: Vec<std::result::Result<RowOutcome, RowFault>>) -> Result<Vec<RowOutcome>> {
    const NAMED: usize = 5;
    let Some(first) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) else {
        return Ok(outcomes.into_iter().flatten().collect());
    };
    let alike = |fault: &RowFault| std::mem::discriminant(fault) == std::mem::discriminant(first);
    let rows: Vec<usize> = outcomes
        .iter()
        .enumerate()
        .filter_map(|(row, outcome)| outcome.as_ref().err().filter(|fault| alike(fault)).map(|_| row))
        .collect();
    let names: Vec<String> = rows.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if rows.len() > NAMED { format!(" and {} more", rows.len() - NAMED) } else { String::new() };
    let subject = format!("scores of row {}{more}", names.join(", "));
    Err(match first {
        RowFault::Nan => {
            let advice = "look for a division by zero, an overflow or a diverging step before this";
            Error::new(ErrorKind::Number, subject, "numbers", "NaN", advice)
        }
        RowFault::Contradiction => {
            let found = "plus infinity there and at another class";
            let advice = "mask classes with minus infinity";
            Error::new(ErrorKind::Number, subject, "a target's score below infinity", found, advice)
        }
        RowFault::NotACosine(score) => {
            let expected = "the target's score to be a cosine times the norms that were given";
            let advice = "normalize embeddings and prototypes first, or give the norms that the scores were made with";
            Error::new(ErrorKind::Number, subject, expected, format!("{score}"), advice)
        }
        RowFault::NegativeIsNotACosine(score) => {
            let advice = "normalize embeddings and prototypes first";
            Error::new(ErrorKind::Number, subject, "all scores to be cosines", format!("{score}"), advice)
        }
    })
}
