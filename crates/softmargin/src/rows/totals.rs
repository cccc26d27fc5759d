//! From the rows of a batch to its loss, and to every derivative but those of the scores: added in row order, in f64.

use super::outcome::RowOutcome;
use super::plan::RowPlan;
use crate::axes::regularizer::NormTerm;
use crate::number::Real;
use crate::reduction::Reduction;
use ndarray::Array1;

/// The loss of a batch, and its derivatives with respect to everything but the scores; made by [`RowPlan::totals`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowTotals {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Vec<f64>,
    /// The rows, reduced. Under [`Reduction::None`] their sum.
    pub total: f64,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// The number of valid rows. 0 tells that a mean is one of nothing.
    pub valid_rows: usize,
    /// The derivative with respect to a learned scale; to the fixed one where it is not learned.
    pub scale: f64,
    /// The derivative with respect to the radius of ring loss.
    pub radius: f64,
    /// (N): the derivatives with respect to the norms of the embeddings, where the loss depends on them.
    pub embedding_norms: Option<Vec<f64>>,
    /// (N): the derivatives with respect to the norms of the targets' prototypes, where the loss depends on them. The
    /// gradient of a prototype is the sum over its rows.
    pub target_norms: Option<Vec<f64>>,
}

/// The loss of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<F> {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Array1<F>,
    /// The rows, reduced. Under [`Reduction::None`] their sum, whose gradient is the one given.
    pub total: F,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// The number of valid rows. 0 tells that a mean is one of nothing.
    pub valid_rows: usize,
}

impl RowTotals {
    /// The loss in another type.
    pub(crate) fn value<F: Real>(&self) -> Value<F> {
        let Self { total, weight, valid_rows, .. } = *self;
        Value { rows: rounded(&self.rows), total: F::round_from(total), weight, valid_rows }
    }

    /// (C): the derivatives with respect to the norms of the prototypes.
    pub(crate) fn weight_norms(&self, plan: &RowPlan) -> Option<Vec<f64>> {
        let of_rows = self.target_norms.as_ref()?;
        let mut of_classes = vec![0.0; plan.loss.num_classes()];
        for (row, slope) in plan.rows.iter().zip(of_rows).filter(|(row, _)| row.weight > 0.0) {
            of_classes[row.class] += slope;
        }
        Some(of_classes)
    }
}

pub(crate) fn rounded<F: Real>(values: &[f64]) -> Array1<F> {
    values.iter().map(|&value| F::round_from(value)).collect()
}

impl RowPlan {
    /// Adds up the outcomes of all rows (N), in order.
    ///
    /// # Panics
    /// When there are more or fewer outcomes than rows.
    pub fn totals(&self, outcomes: &[RowOutcome], reduction: Reduction) -> RowTotals {
        assert_eq!(outcomes.len(), self.rows.len(), "one outcome a row");
        let factor = reduction.factor(self.weight);
        let rows = || self.rows.iter().zip(outcomes);
        let valid_rows = self.rows.iter().filter(|row| row.weight > 0.0).count();
        let mut losses: Vec<f64> = rows().map(|(row, outcome)| row.weight * outcome.loss).collect();
        let sum: f64 = losses.iter().sum();
        let scale_slope: f64 = rows().map(|(row, outcome)| row.weight * outcome.scale).sum();
        let mut total = if valid_rows == 0 && reduction != Reduction::MeanOrNan { 0.0 } else { sum * factor };
        let (mut embedding_norms, target_norms) = self.norm_derivatives(outcomes, factor);
        let terms = self.norm_terms(outcomes);
        let concerned: f64 = self.rows.iter().zip(&terms).filter_map(|(row, term)| term.map(|_| row.weight)).sum();
        let mut radius = 0.0;
        if concerned > 0.0 {
            let factor = reduction.factor(concerned);
            for (index, (row, term)) in self.rows.iter().zip(&terms).enumerate() {
                let Some(term) = term else { continue };
                losses[index] += row.weight * term.value;
                total += factor * row.weight * term.value;
                radius += factor * row.weight * term.radius_slope;
                if let Some(by_norm) = &mut embedding_norms {
                    by_norm[index] += factor * row.weight * term.norm_slope;
                }
            }
        }
        let spec = self.loss.spec();
        let by_scale = if valid_rows == 0 { 0.0 } else { factor * scale_slope / spec.geometry.temperature() };
        RowTotals {
            rows: losses,
            total,
            weight: self.weight,
            valid_rows,
            scale: spec.scale.parameter_slope(self.scale_parameter, by_scale),
            radius,
            embedding_norms,
            target_norms,
        }
    }

    /// The derivative of the weighted loss of one row with respect to the radius of ring loss; 0 where there is none.
    ///
    /// [`totals`](Self::totals) has the derivative of the batch's loss. This one is for callers that return the losses of the
    /// rows, each with an upstream gradient of its own.
    pub fn radius_derivative(&self, row: usize, outcome: &RowOutcome) -> f64 {
        self.norm_term(row, outcome).map_or(0.0, |term| self.rows[row].weight * term.radius_slope)
    }

    /// The regularizer's term of every row that it concerns.
    fn norm_terms(&self, outcomes: &[RowOutcome]) -> Vec<Option<NormTerm>> {
        outcomes.iter().enumerate().map(|(row, outcome)| self.norm_term(row, outcome)).collect()
    }

    /// The regularizer's term of a row, if it concerns the row.
    fn norm_term(&self, row: usize, outcome: &RowOutcome) -> Option<NormTerm> {
        let regularizer = self.loss.spec().regularizer?;
        let radius = self.radius.or_else(|| regularizer.initial_radius()).unwrap_or_default();
        let row = &self.rows[row];
        let concerned = row.weight > 0.0 && (!regularizer.is_for_correct_rows() || outcome.correct);
        concerned.then(|| regularizer.apply(row.embedding_norm, radius))
    }

    /// The derivatives with respect to the norms of embeddings and targets' prototypes, without the regularizer's.
    fn norm_derivatives(&self, outcomes: &[RowOutcome], factor: f64) -> (Option<Vec<f64>>, Option<Vec<f64>>) {
        let zeros = |needed: bool| needed.then(|| vec![0.0; self.rows.len()]);
        let mut embeddings = zeros(self.loss.needs_embedding_norms());
        let mut targets = zeros(self.loss.needs_weight_norms());
        let rows = self.rows.iter().zip(outcomes).enumerate();
        for (index, (row, outcome)) in rows.filter(|(_, (row, _))| row.weight > 0.0) {
            // r = |x| or r = |x| |w_y|: the derivative with respect to one norm has the other as its factor.
            let slope = factor * row.weight * outcome.norm_slope;
            if let Some(embeddings) = &mut embeddings {
                embeddings[index] += slope * row.target_norm + factor * row.weight * outcome.value_slope;
            }
            if let Some(targets) = &mut targets {
                targets[index] += slope * row.embedding_norm;
            }
        }
        (embeddings, targets)
    }
}
