//! A head by the plain code: the scores of some rows at a time, made by the geometry and given to the loss.
//!
//! For `f64`, soft targets and infinite scores; and what the fused sweeps are measured against.

use super::batch::HeadBatch;
use super::value::{Distribution, HeadValue, RowStatistics};
use crate::batch::{Batch, Targets};
use crate::error::Result;
use crate::geometry::{HeadGradients, Scored, add_along, inverse, norms};
use crate::loss::{Gradients, Loss, Plan, without_faults};
use crate::real::Real;
use crate::reduction::Reduction;
use crate::smooth::{arg_max, log_softmax, log_sum_exp};
use crate::sub_centers::{Pooled, pool, spread};
use ndarray::{Array1, Array2, ArrayView2, Axis, CowArray, Ix1, Ix2, arr0, s};

/// Matrices of scores that some rows take: scores, best of each class, slopes, and two products' factors.
const MATRICES: u64 = 6;

/// Rows whose scores fit into the memory; at least one.
pub(super) fn rows_at_a_time<F>(memory: u64, prototypes: usize) -> usize {
    let row = MATRICES * (prototypes.max(1) * size_of::<F>()) as u64;
    usize::try_from(memory / row).unwrap_or(usize::MAX).max(1)
}

/// The loss of a batch, and its gradients where they are wanted.
pub(super) fn compute<F: Real>(
    loss: &Loss,
    batch: &HeadBatch<'_, F>,
    weight: ArrayView2<'_, F>,
    reduction: Reduction,
    wanted: Wanted,
) -> Result<(HeadValue<F>, Option<HeadGradients<F>>)> {
    let rows = batch.embeddings.nrows();
    let zero = arr0(F::zero());
    let scores = zero.broadcast((rows, loss.num_classes())).expect("a single number takes any shape");
    let of_embeddings = loss.needs_embedding_norms().then(|| norms(batch.embeddings));
    let of_weight = loss.needs_weight_norms().then(|| norms(weight));
    let mut of_scores = batch.of_scores(scores);
    of_scores.embedding_norms = of_embeddings.as_ref().map(|norms| norms.view());
    of_scores.weight_norms = of_weight.as_ref().map(|norms| norms.view());
    of_scores.check(loss.needs())?;
    let (plans, total_weight) = loss.plan(&of_scores)?;
    let values = loss.values(&of_scores, &plans);
    let factor = reduction.factor(total_weight);
    let mut seen = Seen::new(rows, wanted.statistics);
    let mut outcomes = Vec::with_capacity(rows);
    let mut gradients = wanted.gradients.then(|| HeadGradients {
        embeddings: Array2::zeros(batch.embeddings.dim()),
        weight: Array2::zeros(weight.dim()),
        bias: Array1::zeros(if loss.spec().geometry.has_bias() { weight.nrows() } else { 0 }),
        scale: F::zero(),
        radius: F::zero(),
    });
    let selected = Selected::of(loss, batch.reborrow(), weight.reborrow());
    let size = wanted.rows_at_a_time.min(rows.max(1));
    for first in (0..rows).step_by(size) {
        let range = first..rows.min(first + size);
        let chunk = Chunk::of(loss, batch, &selected, range.clone())?;
        seen.see(loss, &of_scores, &plans, first, &chunk);
        let part = chunk.batch(&of_scores, range.clone());
        let values = values.each_ref().map(|all| all[range.clone()].to_vec());
        let mut slopes = gradients.as_ref().map(|_| Array2::zeros(chunk.pooled.dim()));
        let view = slopes.as_mut().map(|slopes: &mut Array2<F>| slopes.view_mut());
        outcomes.extend(loss.rows(&part, &plans[range.clone()], &values, factor, view));
        if let (Some(gradients), Some(slopes)) = (&mut gradients, slopes) {
            chunk.add(loss, batch, &selected, range, &slopes, gradients)?;
        }
    }
    let outcomes = without_faults(outcomes)?;
    let (value, of_loss) = loss.collect(&of_scores, reduction, &plans, total_weight, &outcomes);
    if let Some(gradients) = &mut gradients {
        (gradients.scale, gradients.radius) = (of_loss.scale, of_loss.radius);
        if let (Some(by_norm), Some(norms)) = (&of_loss.embedding_norms, &of_embeddings) {
            add_along(&mut gradients.embeddings, batch.embeddings, &inverse(norms), by_norm);
        }
        if let (Some(by_norm), Some(norms)) = (&of_loss.weight_norms, &of_weight) {
            add_along(&mut gradients.weight, weight, &inverse(norms), by_norm);
        }
    }
    Ok((HeadValue::of(value, seen.statistics()), gradients))
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) gradients: bool,
    pub(super) statistics: bool,
    pub(super) rows_at_a_time: usize,
}

/// The prototypes that take part.
struct Selected<'a, F> {
    weight: CowArray<'a, F, Ix2>,
    bias: Option<CowArray<'a, F, Ix1>>,
    /// Their classes, where not all take part.
    classes: Option<&'a [usize]>,
    sub_centers: usize,
}

impl<'a, F: Real> Selected<'a, F> {
    fn of(loss: &Loss, batch: HeadBatch<'a, F>, weight: ArrayView2<'a, F>) -> Self {
        let sub_centers = loss.spec().sub_centers;
        let Some(sampled) = batch.sampled else {
            return Self { weight: weight.into(), bias: batch.bias.map(Into::into), classes: None, sub_centers };
        };
        let of_class = |&class: &usize| class * sub_centers..(class + 1) * sub_centers;
        let prototypes: Vec<usize> = sampled.classes().iter().flat_map(of_class).collect();
        Self {
            weight: weight.select(Axis(0), &prototypes).into(),
            bias: batch.bias.map(|bias| bias.select(Axis(0), &prototypes).into()),
            classes: Some(sampled.classes()),
            sub_centers,
        }
    }

    /// The prototype at each place of the selection, by rows of the selection.
    fn prototype(&self, row: usize) -> usize {
        let (place, center) = (row / self.sub_centers, row % self.sub_centers);
        self.classes.map_or(place, |classes| classes[place]) * self.sub_centers + center
    }
}

/// The scores of some rows.
struct Chunk<F> {
    scored: Scored<F>,
    /// The best of each class; those that do not take part are out.
    pooled: Array2<F>,
    winners: Array2<u8>,
}

impl<F: Real> Chunk<F> {
    fn of(
        loss: &Loss,
        batch: &HeadBatch<'_, F>,
        selected: &Selected<'_, F>,
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

    /// These rows of a batch; what has been looked at before (weights, margins) left out.
    fn batch<'a>(&'a self, of_all: &'a Batch<'_, F>, range: std::ops::Range<usize>) -> Batch<'a, F> {
        Batch {
            scores: self.pooled.view(),
            targets: match &of_all.targets {
                Targets::Hard(labels) => Targets::Hard(labels.slice(s![range.clone()])),
                Targets::Soft(targets) => Targets::Soft(targets.slice(s![range.clone(), ..])),
            },
            sample_weights: None,
            margins: None,
            embedding_norms: of_all.embedding_norms.as_ref().map(|norms| norms.slice(s![range])),
            weight_norms: of_all.weight_norms.as_ref().map(|norms| norms.view()),
            scale: of_all.scale,
            radius: of_all.radius,
            state: of_all.state,
        }
    }

    /// Adds what these rows give to the gradients.
    fn add(
        &self,
        loss: &Loss,
        batch: &HeadBatch<'_, F>,
        selected: &Selected<'_, F>,
        range: std::ops::Range<usize>,
        slopes: &Array2<F>,
        gradients: &mut HeadGradients<F>,
    ) -> Result<()> {
        let spec = loss.spec();
        let of_selected = selected.classes.map(|classes| slopes.select(Axis(1), classes));
        let slopes = of_selected.as_ref().unwrap_or(slopes);
        let scores = spread(slopes.view(), self.winners.view(), spec.sub_centers)?;
        let of_scores =
            Gradients { scores, scale: F::zero(), radius: F::zero(), embedding_norms: None, weight_norms: None };
        let x = batch.embeddings.slice(s![range.clone(), ..]);
        let back = spec.geometry.backward(x, selected.weight.view(), &self.scored, &of_scores)?;
        gradients.embeddings.slice_mut(s![range, ..]).assign(&back.embeddings);
        for (row, of_row) in back.weight.rows().into_iter().enumerate() {
            let mut sum = gradients.weight.row_mut(selected.prototype(row));
            sum += &of_row;
        }
        if !gradients.bias.is_empty() {
            for (row, &slope) in back.bias.iter().enumerate() {
                gradients.bias[selected.prototype(row)] += slope;
            }
        }
        Ok(())
    }
}

/// The statistics of the rows so far.
struct Seen<F> {
    target_score: Array1<F>,
    top: Array1<i64>,
    distribution: Option<Distribution<F>>,
}

impl<F: Real> Seen<F> {
    fn new(rows: usize, distribution: bool) -> Self {
        let zeros = || Array1::zeros(rows);
        Self {
            target_score: zeros(),
            top: Array1::from_elem(rows, -1),
            distribution: distribution.then(|| Distribution { log_sum_exp: zeros(), entropy: zeros() }),
        }
    }

    fn see(&mut self, loss: &Loss, batch: &Batch<'_, F>, plans: &[Plan], first: usize, chunk: &Chunk<F>) {
        let scale = loss.scale(batch);
        for (row, scores) in (first..).zip(chunk.pooled.rows()) {
            let scores = scores.to_vec();
            if let (Targets::Hard(_), true) = (batch.targets, plans[row].weight > 0.0) {
                self.target_score[row] = scores[plans[row].class];
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

    fn statistics(self) -> RowStatistics<F> {
        RowStatistics { target_score: self.target_score, top: self.top, distribution: self.distribution }
    }
}
