//! The unfused computation of a head: the geometry computes the scores of some rows at a time, and the loss takes them.
//!
//! It computes `f64`, soft targets and infinite scores, and is the baseline of the fused sweeps.

use super::batch::{HeadBatch, HeadParameters};
use super::result::{Distribution, HeadGradients, HeadValue, LearnedGradients, RowStatistics};
use crate::axes::geometry::{ScoreGradients, Scored, add_along, inverse, norms};
use crate::axes::sub_centers::{Pooled, pool, spread};
use crate::error::Result;
use crate::loss::Loss;
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::{RowInputs, RowPlan, Targets};
use crate::scores::{RowGradients, ScoredRows, without_faults};
use crate::smooth::{arg_max, log_softmax, log_sum_exp};
use ndarray::{Array1, Array2, Axis, CowArray, Ix1, Ix2, s};

/// The number of score matrices that a chunk of rows allocates: scores, pooled scores, slopes, and factors of products.
const MATRICES: u64 = 6;

/// Returns the number of rows whose scores fit into the memory, at least one.
pub(super) fn rows_at_a_time<F>(memory: u64, prototypes: usize) -> usize {
    let row = MATRICES * (prototypes.max(1) * size_of::<F>()) as u64;
    usize::try_from(memory / row).unwrap_or(usize::MAX).max(1)
}

/// Computes the loss of a batch, and its gradients if they are requested.
pub(super) fn compute<F: Real>(
    loss: &Loss,
    batch: &HeadBatch<'_, F>,
    parameters: &HeadParameters<'_, F>,
    reduction: Reduction,
    options: UnfusedOptions,
) -> Result<(HeadValue<F>, Option<HeadGradients<F>>)> {
    let (rows, weight) = (batch.embeddings.nrows(), parameters.weight);
    let of_embeddings = loss.needs_embedding_norms().then(|| norms(batch.embeddings));
    let of_weight = loss.needs_weight_norms().then(|| norms(weight));
    let mut inputs = batch.rows.reborrow();
    inputs.embedding_norms = of_embeddings.as_ref().map(|norms| norms.view());
    inputs.weight_norms = of_weight.as_ref().map(|norms| norms.view());
    let plan = loss.plan_rows(batch.embeddings.nrows(), &inputs, parameters.learned)?;
    let mut statistics = StatisticsBuilder::new(rows, options.statistics);
    let mut outcomes = Vec::with_capacity(rows);
    let mut gradients = options.gradients.then(|| HeadGradients {
        embeddings: Array2::zeros(batch.embeddings.dim()),
        weight: Array2::zeros(weight.dim()),
        learned: LearnedGradients {
            bias: Array1::zeros(if loss.spec().geometry.has_bias() { weight.nrows() } else { 0 }),
            scale: F::zero(),
            radius: F::zero(),
        },
    });
    let selected = SelectedPrototypes::of(loss, batch.reborrow(), parameters.reborrow());
    let size = options.rows_at_a_time.min(rows.max(1));
    for first in (0..rows).step_by(size) {
        let range = first..rows.min(first + size);
        let chunk = ScoredChunk::of(loss, batch, &selected, range.clone())?;
        statistics.add_rows(&plan, &inputs, first, &chunk);
        let mut slopes = gradients.as_ref().map(|_| Array2::zeros(chunk.pooled.dim()));
        let view = slopes.as_mut().map(|slopes: &mut Array2<F>| slopes.view_mut());
        let scored = ScoredRows { plan: &plan, targets: inputs.targets.reborrow(), first, scores: chunk.pooled.view() };
        outcomes.extend(scored.compute(reduction, view));
        if let (Some(gradients), Some(slopes)) = (&mut gradients, slopes) {
            chunk.add(loss, batch, &selected, range, slopes, gradients)?;
        }
    }
    let totals = plan.totals(&without_faults(outcomes)?, reduction);
    if let Some(gradients) = &mut gradients {
        let of_rows = RowGradients::of(&totals, &plan);
        (gradients.learned.scale, gradients.learned.radius) = (of_rows.scale, of_rows.radius);
        if let (Some(by_norm), Some(norms)) = (&of_rows.embedding_norms, &of_embeddings) {
            add_along(&mut gradients.embeddings, batch.embeddings, &inverse(norms), by_norm);
        }
        if let (Some(by_norm), Some(norms)) = (&of_rows.weight_norms, &of_weight) {
            add_along(&mut gradients.weight, weight, &inverse(norms), by_norm);
        }
    }
    Ok((HeadValue::of(totals.value(), statistics.build()), gradients))
}

/// Options of an unfused computation.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnfusedOptions {
    pub(super) gradients: bool,
    pub(super) statistics: bool,
    pub(super) rows_at_a_time: usize,
}

/// The prototypes that take part.
struct SelectedPrototypes<'a, F> {
    weight: CowArray<'a, F, Ix2>,
    bias: Option<CowArray<'a, F, Ix1>>,
    /// Their classes, if classes are sampled.
    classes: Option<&'a [usize]>,
    sub_centers: usize,
}

impl<'a, F: Real> SelectedPrototypes<'a, F> {
    fn of(loss: &Loss, batch: HeadBatch<'a, F>, parameters: HeadParameters<'a, F>) -> Self {
        let HeadParameters { weight, bias, .. } = parameters;
        let sub_centers = loss.spec().sub_centers;
        let Some(sampled) = batch.sampled else {
            return Self { weight: weight.into(), bias: bias.map(Into::into), classes: None, sub_centers };
        };
        let of_class = |&class: &usize| class * sub_centers..(class + 1) * sub_centers;
        let prototypes: Vec<usize> = sampled.classes().iter().flat_map(of_class).collect();
        Self {
            weight: weight.select(Axis(0), &prototypes).into(),
            bias: bias.map(|bias| bias.select(Axis(0), &prototypes).into()),
            classes: Some(sampled.classes()),
            sub_centers,
        }
    }

    /// Returns the prototype of a row of the selection.
    fn prototype(&self, row: usize) -> usize {
        let (place, center) = (row / self.sub_centers, row % self.sub_centers);
        self.classes.map_or(place, |classes| classes[place]) * self.sub_centers + center
    }
}

/// The scores of some rows.
struct ScoredChunk<F> {
    scored: Scored<F>,
    /// The largest score of each class; classes that do not take part are masked.
    pooled: Array2<F>,
    winners: Array2<u8>,
}

impl<F: Real> ScoredChunk<F> {
    fn of(
        loss: &Loss,
        batch: &HeadBatch<'_, F>,
        selected: &SelectedPrototypes<'_, F>,
        range: std::ops::Range<usize>,
    ) -> Result<Self> {
        let x = batch.embeddings.slice(s![range, ..]);
        let bias = selected.bias.as_ref().map(|bias| bias.view());
        let scored = loss.spec().geometry.scores(x, selected.weight.view(), bias)?;
        let Pooled { scores, winners } = pool(scored.scores.view(), loss.spec().sub_centers)?;
        let Some(classes) = selected.classes else { return Ok(Self { scored, pooled: scores, winners }) };
        let mut pooled = Array2::from_elem((scores.nrows(), loss.num_classes()), F::neg_infinity());
        for (column, &class) in scores.columns().into_iter().zip(classes) {
            pooled.column_mut(class).assign(&column);
        }
        Ok(Self { scored, pooled, winners })
    }

    /// Adds the gradients of these rows.
    fn add(
        &self,
        loss: &Loss,
        batch: &HeadBatch<'_, F>,
        selected: &SelectedPrototypes<'_, F>,
        range: std::ops::Range<usize>,
        slopes: Array2<F>,
        gradients: &mut HeadGradients<F>,
    ) -> Result<()> {
        let spec = loss.spec();
        let slopes = selected.classes.map(|classes| slopes.select(Axis(1), classes)).unwrap_or(slopes);
        let scores = spread(slopes.view(), self.winners.view(), spec.sub_centers)?;
        let of_scores = ScoreGradients { scores, embedding_norms: None, weight_norms: None };
        let x = batch.embeddings.slice(s![range.clone(), ..]);
        let back = spec.geometry.backward(x, selected.weight.view(), &self.scored, &of_scores)?;
        gradients.embeddings.slice_mut(s![range, ..]).assign(&back.embeddings);
        for (row, of_row) in back.weight.rows().into_iter().enumerate() {
            let mut sum = gradients.weight.row_mut(selected.prototype(row));
            sum += &of_row;
        }
        if !gradients.learned.bias.is_empty() {
            for (row, &slope) in back.bias.iter().enumerate() {
                gradients.learned.bias[selected.prototype(row)] += slope;
            }
        }
        Ok(())
    }
}

/// The statistics of the rows so far.
struct StatisticsBuilder<F> {
    target_score: Array1<F>,
    top: Array1<i64>,
    distribution: Option<Distribution<F>>,
}

impl<F: Real> StatisticsBuilder<F> {
    fn new(rows: usize, distribution: bool) -> Self {
        let zeros = || Array1::zeros(rows);
        Self {
            target_score: zeros(),
            top: Array1::from_elem(rows, -1),
            distribution: distribution.then(|| Distribution { log_sum_exp: zeros(), entropy: zeros() }),
        }
    }

    fn add_rows(&mut self, plan: &RowPlan, inputs: &RowInputs<'_, F>, first: usize, chunk: &ScoredChunk<F>) {
        let scale = plan.scale();
        for (row, scores) in (first..).zip(chunk.pooled.rows()) {
            let scores = scores.to_vec();
            if let (Targets::Hard(_), true) = (inputs.targets, plan.row_weight(row) > 0.0) {
                self.target_score[row] = scores[plan.class(row)];
            }
            self.top[row] = arg_max(&scores).and_then(|top| i64::try_from(top).ok()).unwrap_or(-1);
            let Some(distribution) = &mut self.distribution else { continue };
            let scaled: Vec<f64> = scores.iter().map(|z| scale * z.widen()).collect();
            distribution.log_sum_exp[row] = F::round_from(log_sum_exp(&scaled, 1.0).unwrap_or(f64::NAN));
            let entropy = log_softmax(&scaled, 1.0).map_or(f64::NAN, |logs| {
                logs.iter().filter(|log| **log > f64::NEG_INFINITY).map(|log| -log.exp() * log).sum()
            });
            distribution.entropy[row] = F::round_from(entropy);
        }
    }

    fn build(self) -> RowStatistics<F> {
        RowStatistics { target_score: self.target_score, top: self.top, distribution: self.distribution }
    }
}
