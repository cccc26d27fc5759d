//! From the rows of a batch to its loss and its gradients by everything but the scores: added in row order, in f64.

use super::plan::Plan;
use super::rows::RowOutcome;
use super::{Gradients, Loss, Value};
use crate::batch::Batch;
use crate::real::Real;
use crate::reduction::Reduction;
use crate::regularizer::NormTerm;
use ndarray::{Array1, Array2};

impl Loss {
    /// Adds the rows up, in order, in f64.
    pub(crate) fn collect<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        plans: &[Plan],
        weight: f64,
        outcomes: &[RowOutcome],
    ) -> (Value<F>, Gradients<F>) {
        let factor = reduction.factor(weight);
        let kept = plans.iter().filter(|plan| plan.weight > 0.0).count();
        let mut rows: Vec<f64> = plans.iter().zip(outcomes).map(|(plan, row)| plan.weight * row.loss).collect();
        let sum: f64 = rows.iter().sum();
        let scale_slope: f64 = plans.iter().zip(outcomes).map(|(plan, row)| plan.weight * row.scale_slope).sum();
        let mut total = if kept == 0 && reduction != Reduction::MeanOrNan { 0.0 } else { sum * factor };
        let mut norms = NormGradients::of(self, batch, plans, factor, outcomes);
        let terms = self.norm_terms(batch, plans, outcomes);
        let concerned: f64 = plans.iter().zip(&terms).filter_map(|(plan, term)| term.map(|_| plan.weight)).sum();
        let mut radius_slope = 0.0;
        if concerned > 0.0 {
            let factor = reduction.factor(concerned);
            for (row, (plan, term)) in plans.iter().zip(&terms).enumerate() {
                let Some(term) = term else { continue };
                rows[row] += plan.weight * term.value;
                total += factor * plan.weight * term.value;
                radius_slope += factor * plan.weight * term.radius_slope;
                if let Some(by_norm) = &mut norms.embeddings {
                    by_norm[row] += factor * plan.weight * term.norm_slope;
                }
            }
        }
        let by_scale = if kept == 0 { 0.0 } else { factor * scale_slope / self.spec.geometry.temperature() };
        let round = |numbers: Vec<f64>| Array1::from_iter(numbers.into_iter().map(F::round_from));
        let value = Value { rows: round(rows), total: F::round_from(total), weight, kept };
        let gradients = Gradients {
            scores: Array2::zeros((0, 0)),
            scale: F::round_from(self.spec.scale.parameter_slope(self.scale_parameter(batch), by_scale)),
            radius: F::round_from(radius_slope),
            embedding_norms: norms.embeddings.map(round),
            weight_norms: norms.weights.map(round),
        };
        (value, gradients)
    }

    /// The regularizer's term of every row that it concerns.
    fn norm_terms<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        plans: &[Plan],
        outcomes: &[RowOutcome],
    ) -> Vec<Option<NormTerm>> {
        let (Some(regularizer), Some(norms)) = (self.spec.regularizer, batch.embedding_norms) else {
            return vec![None; plans.len()];
        };
        let radius = batch.radius.or_else(|| regularizer.initial_radius()).unwrap_or_default();
        let all = !regularizer.is_for_correct_rows();
        let rows = plans.iter().zip(outcomes).zip(norms);
        rows.map(|((plan, row), norm)| {
            (plan.weight > 0.0 && (all || row.correct)).then(|| regularizer.apply(norm.widen(), radius))
        })
        .collect()
    }
}

/// Gradients by the norms, where the loss looks at them.
struct NormGradients {
    embeddings: Option<Vec<f64>>,
    weights: Option<Vec<f64>>,
}

impl NormGradients {
    fn of<F: Real>(loss: &Loss, batch: &Batch<'_, F>, plans: &[Plan], factor: f64, outcomes: &[RowOutcome]) -> Self {
        let mut norms = Self {
            embeddings: loss.needs_embedding_norms().then(|| vec![0.0; plans.len()]),
            weights: loss.needs_weight_norms().then(|| vec![0.0; loss.num_classes]),
        };
        for (row, (plan, outcome)) in plans.iter().zip(outcomes).enumerate().filter(|(_, (plan, _))| plan.weight > 0.0)
        {
            let slope = factor * plan.weight * outcome.norm_slope;
            // r = |x| or r = |x| |w_y|: the slope by one norm has the other as its factor.
            let of_embedding = batch.embedding_norms.map_or(1.0, |norms| norms[row].widen());
            let of_weight = batch.weight_norms.map_or(1.0, |norms| norms[plan.class].widen());
            if let Some(embeddings) = &mut norms.embeddings {
                embeddings[row] += slope * of_weight + factor * plan.weight * outcome.value_slope;
            }
            if let Some(weights) = &mut norms.weights {
                weights[plan.class] += slope * of_embedding;
            }
        }
        norms
    }
}
