//! The loss of a batch from those of its rows, and every derivative except those with respect to the scores. Sums run
//! in row order, in f64.

use super::outcome::RowOutcome;
use super::plan::{PlannedRow, RowPlan};
use crate::axes::regularizer::NormTerm;
use crate::number::Real;
use crate::reduction::Reduction;
use ndarray::Array1;

/// The loss of a batch and its derivatives, except those with respect to the scores; created by [`RowPlan::totals`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowTotals {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Vec<f64>,
    /// The reduced loss. Under [`Reduction::None`] it is the sum of the rows.
    pub total: f64,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// The number of valid rows. If it is 0, the mean has no rows.
    pub valid_rows: usize,
    /// The derivative with respect to the scale, learned or fixed. For a learned scale it is 0 if a step would leave
    /// the range further.
    pub scale: f64,
    /// The derivative with respect to the radius of ring loss.
    pub radius: f64,
    /// (N): the contribution of each row to the derivative with respect to the scale, without regard to the range of a
    /// learned one.
    pub scale_of_rows: Vec<f64>,
    /// (N): the contribution of each row to the derivative with respect to the radius.
    pub radius_of_rows: Vec<f64>,
    /// (N): the derivatives with respect to the norms of the embeddings, if the loss depends on them.
    pub embedding_norms: Option<Vec<f64>>,
    /// (N): the derivatives with respect to the norm of each row's target prototype, if the loss depends on it. The
    /// derivative with respect to the norm of a prototype is the sum over the rows of its class.
    pub target_norms: Option<Vec<f64>>,
}

/// The loss of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<F> {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Array1<F>,
    /// The reduced loss. Under [`Reduction::None`] it is the sum of the rows, and the gradient is that of the sum.
    pub total: F,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// The number of valid rows. If it is 0, the mean has no rows.
    pub valid_rows: usize,
}

impl RowTotals {
    /// Returns the loss, rounded to another type.
    pub(crate) fn value<F: Real>(&self) -> Value<F> {
        let Self { total, weight, valid_rows, .. } = *self;
        Value { rows: rounded(&self.rows), total: F::round_from(total), weight, valid_rows }
    }

    /// Returns the derivatives with respect to the norms of the prototypes (C).
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
    /// Adds up the outcomes of all rows (N), in row order. Outcomes of ignored rows have no effect.
    ///
    /// # Panics
    /// If the number of outcomes is not N.
    pub fn totals(&self, outcomes: &[RowOutcome], reduction: Reduction) -> RowTotals {
        assert_eq!(outcomes.len(), self.rows.len(), "one outcome per row");
        let factor = reduction.factor(self.weight);
        let rows = || self.rows.iter().zip(outcomes);
        let valid_rows = self.rows.iter().filter(|row| row.weight > 0.0).count();
        let mut losses: Vec<f64> = rows().map(|(row, outcome)| row.weight * outcome.loss).collect();
        let sum: f64 = losses.iter().sum();
        let scale_slope: f64 = rows().map(|(row, outcome)| row.weight * outcome.scale).sum();
        let mut total = if valid_rows == 0 && reduction != Reduction::MeanOrNan { 0.0 } else { sum * factor };
        let (mut embedding_norms, target_norms) = self.norm_derivatives(outcomes, factor);
        let terms = self.norm_terms(outcomes);
        let regularized: f64 = self.rows.iter().zip(&terms).filter_map(|(row, term)| term.map(|_| row.weight)).sum();
        let mut radius = 0.0;
        let mut radius_of_rows = vec![0.0; self.rows.len()];
        if regularized > 0.0 {
            let factor = reduction.factor(regularized);
            for (index, (row, term)) in self.rows.iter().zip(&terms).enumerate() {
                let Some(term) = term else { continue };
                losses[index] += row.weight * term.value;
                total += factor * row.weight * term.value;
                radius_of_rows[index] = factor * row.weight * term.radius_slope;
                radius += radius_of_rows[index];
                if let Some(by_norm) = &mut embedding_norms {
                    by_norm[index] += factor * row.weight * term.norm_slope;
                }
            }
        }
        let spec = self.loss.spec();
        let temperature = spec.geometry.temperature();
        let by_scale = if valid_rows == 0 { 0.0 } else { factor * scale_slope / temperature };
        let of_row = |(row, outcome): (&PlannedRow, &RowOutcome)| {
            if row.weight > 0.0 { factor * row.weight * outcome.scale / temperature } else { 0.0 }
        };
        RowTotals {
            rows: losses,
            total,
            weight: self.weight,
            valid_rows,
            scale: spec.scale.parameter_derivative(self.scale_parameter, by_scale),
            radius,
            scale_of_rows: rows().map(of_row).collect(),
            radius_of_rows,
            embedding_norms,
            target_norms,
        }
    }

    /// Computes the regularizer's term of every row to which it applies.
    fn norm_terms(&self, outcomes: &[RowOutcome]) -> Vec<Option<NormTerm>> {
        outcomes.iter().enumerate().map(|(row, outcome)| self.norm_term(row, outcome)).collect()
    }

    /// Computes the regularizer's term of a row, if it applies to the row.
    fn norm_term(&self, row: usize, outcome: &RowOutcome) -> Option<NormTerm> {
        let regularizer = self.loss.spec().regularizer?;
        let radius = self.radius.or_else(|| regularizer.initial_radius()).unwrap_or_default();
        let row = &self.rows[row];
        let applies = row.weight > 0.0 && (!regularizer.is_for_correct_rows() || outcome.correct);
        applies.then(|| regularizer.apply(row.embedding_norm, radius))
    }

    /// Computes the derivatives with respect to the norms of embeddings and target prototypes, without the
    /// regularizer's.
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
