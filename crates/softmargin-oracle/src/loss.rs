//! The loss of a batch: checks, row weights, ignored rows, reduction.

use crate::description::{Batch, Geometry, Oracle, Reduction, Targets};
use crate::error::OracleError;
use crate::margin::{BeyondPi, Margin, RowContext};
use crate::margin_value::NormMargin;
use crate::negatives::Negatives;
use crate::regularizer::Regularizer;
use crate::row::{Row, labeled_row, soft_row};
use crate::smooth::maximum;
use crate::surrogate::Surrogate;

/// Losses and gradients of a batch. All gradients are those of `loss`.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOutput {
    /// `weight_i (loss_i + regularizer_i)` (N), whatever the reduction.
    pub row_losses: Vec<f64>,
    /// `weight_i regularizer_i` (N).
    pub row_regularizers: Vec<f64>,
    /// Reduced loss; the sum of the row losses under [`Reduction::None`].
    pub loss: f64,
    /// True if the row weights sum to 0.
    pub no_valid_rows: bool,
    /// With respect to the scores at fixed norms, flat (N, C).
    pub grad_scores: Vec<f64>,
    /// With respect to the `scale` field.
    pub grad_scale: f64,
    /// With respect to the norms of the embeddings (N) at fixed scores, through margin and regularizer.
    pub grad_embedding_norms: Vec<f64>,
    /// The part of `grad_embedding_norms` through the regularizer and the margin values, without the radius of an angle
    /// margin.
    pub grad_embedding_norms_without_radius: Vec<f64>,
    /// With respect to the norms of the prototypes (C) at fixed scores.
    pub grad_weight_norms: Vec<f64>,
    /// With respect to the radius of the ring regularizer.
    pub grad_radius: f64,
    /// With respect to `u_i`, the target's scaled score after the margin (N).
    pub grad_targets: Vec<f64>,
}

impl Oracle {
    /// Returns the loss of a batch and all its gradients.
    pub fn evaluate(&self, batch: &Batch) -> Result<LossOutput, OracleError> {
        self.evaluate_frozen(batch, None)
    }

    /// Returns the same with the parts of a surrogate frozen.
    pub(crate) fn evaluate_frozen(&self, batch: &Batch, frozen: Option<&Surrogate>) -> Result<LossOutput, OracleError> {
        self.check(batch)?;
        let weights = self.row_weights(batch);
        let mut output = LossOutput::zero(batch.rows(), batch.classes);
        output.no_valid_rows = weights.iter().sum::<f64>() == 0.0;
        for (i, &weight) in weights.iter().enumerate() {
            // Errors are reported for every row that is not ignored, also for rows of weight 0.
            if !self.is_ignored(batch, i) {
                let row = self.row(batch, i, frozen)?;
                if weight != 0.0 {
                    let share = weight * self.share(&weights);
                    output.add_row(self, batch, i, &row, weight, share);
                }
            }
        }
        self.add_regularizer(batch, &weights, &mut output);
        if output.no_valid_rows && self.reduction == Reduction::Mean && self.nan_without_valid_rows {
            output.loss = f64::NAN;
        }
        Ok(output)
    }

    /// Returns the factor of a weighted row: 1, or one over the sum of the weights.
    fn share(&self, weights: &[f64]) -> f64 {
        let sum: f64 = weights.iter().sum();
        if self.reduction == Reduction::Mean && sum != 0.0 { 1.0 / sum } else { 1.0 }
    }

    /// Returns class weight times sample weight for each row; 0 for ignored rows.
    pub fn row_weights(&self, batch: &Batch) -> Vec<f64> {
        let of_class = |k: usize| self.class_weights.as_ref().map_or(1.0, |w| w[k]);
        let of_row = |i: usize| match &batch.targets {
            _ if self.is_ignored(batch, i) => 0.0,
            Targets::Labels(labels) => of_class(labels[i] as usize),
            Targets::Soft(p) if self.class_weights.is_some() => {
                (0..batch.classes).map(|k| p[i * batch.classes + k] * of_class(k)).sum()
            }
            Targets::Soft(_) => 1.0,
        };
        let of_sample = |i: usize| self.sample_weights.as_ref().map_or(1.0, |w| w[i]);
        (0..batch.rows()).map(|i| of_row(i) * of_sample(i)).collect()
    }

    pub(crate) fn is_ignored(&self, batch: &Batch, row: usize) -> bool {
        batch.label(row).is_some() && batch.label(row) == self.ignored
    }

    /// Returns the inputs of the margin of a labeled row.
    pub fn row_context(&self, batch: &Batch, row: usize, label: usize) -> RowContext {
        let x = || batch.embedding_norms.as_ref().map_or(1.0, |n| n[row]);
        let w = || batch.weight_norms.as_ref().map_or(1.0, |n| n[label]);
        let radius = match self.geometry {
            Geometry::Cosine => 1.0,
            Geometry::UnitWeights => x(),
            Geometry::InnerProduct => x() * w(),
        };
        let norm = batch.embedding_norms.as_ref().map_or(f64::NAN, |n| n[row]);
        RowContext { row, label, radius, norm, detached_norm: norm, state: self.state }
    }

    fn row(&self, batch: &Batch, i: usize, frozen: Option<&Surrogate>) -> Result<Row, OracleError> {
        match &batch.targets {
            Targets::Labels(labels) => {
                let mut context = self.row_context(batch, i, labels[i] as usize);
                if let Some(norms) = frozen.and_then(|f| f.norms.as_ref()) {
                    context.detached_norm = norms[i];
                }
                let step = frozen.and_then(|f| f.steps.as_ref()).map(|steps| steps[i]);
                labeled_row(self, batch.row(i), context, step)
            }
            Targets::Soft(p) => {
                let p = &p[i * batch.classes..(i + 1) * batch.classes];
                soft_row(self, batch.row(i), p, i)
            }
        }
    }

    fn add_regularizer(&self, batch: &Batch, weights: &[f64], output: &mut LossOutput) {
        let Some(norms) = &batch.embedding_norms else {
            return;
        };
        let term = |i: usize| {
            let arg_max = maximum(batch.row(i)).1 as i64;
            let valid = weights[i] != 0.0;
            let correct = batch.label(i) == Some(arg_max);
            if valid { self.regularizer.term(norms[i], correct) } else { None }
        };
        let term_weights: Vec<f64> =
            (0..batch.rows()).map(|i| if term(i).is_some() { weights[i] } else { 0.0 }).collect();
        for (i, weight) in term_weights.iter().enumerate() {
            if let Some(term) = term(i) {
                let share = weight * self.share(&term_weights);
                output.row_losses[i] += weight * term.value;
                output.row_regularizers[i] = weight * term.value;
                output.loss += share * term.value;
                output.grad_embedding_norms[i] += share * term.grad_norm;
                output.grad_embedding_norms_without_radius[i] += share * term.grad_norm;
                output.grad_radius += share * term.grad_radius;
            }
        }
    }
}

impl LossOutput {
    fn zero(rows: usize, classes: usize) -> Self {
        Self {
            row_losses: vec![0.0; rows],
            row_regularizers: vec![0.0; rows],
            loss: 0.0,
            no_valid_rows: false,
            grad_scores: vec![0.0; rows * classes],
            grad_scale: 0.0,
            grad_embedding_norms: vec![0.0; rows],
            grad_embedding_norms_without_radius: vec![0.0; rows],
            grad_weight_norms: vec![0.0; classes],
            grad_radius: 0.0,
            grad_targets: vec![0.0; rows],
        }
    }

    fn add_row(&mut self, oracle: &Oracle, batch: &Batch, i: usize, row: &Row, weight: f64, share: f64) {
        self.row_losses[i] = weight * row.loss;
        self.loss += share * row.loss;
        for (k, g) in row.grad_scores.iter().enumerate() {
            self.grad_scores[i * batch.classes + k] = share * g;
        }
        self.grad_scale += share * row.grad_scale / oracle.temperature;
        self.grad_targets[i] = share * row.grad_target;
        let Some(label) = batch.label(i) else {
            return;
        };
        self.grad_embedding_norms[i] += share * row.grad_norm;
        self.grad_embedding_norms_without_radius[i] += share * row.grad_norm;
        let grad_radius = share * row.grad_radius;
        match (oracle.geometry, &batch.embedding_norms, &batch.weight_norms) {
            (Geometry::UnitWeights, _, _) => self.grad_embedding_norms[i] += grad_radius,
            (Geometry::InnerProduct, Some(x), Some(w)) => {
                self.grad_embedding_norms[i] += grad_radius * w[label as usize];
                self.grad_weight_norms[label as usize] += grad_radius * x[i];
            }
            _ => {}
        }
    }
}

fn require(condition: bool, message: &str) -> Result<(), OracleError> {
    if condition { Ok(()) } else { Err(OracleError::whole(message)) }
}

impl Oracle {
    pub(crate) fn check(&self, batch: &Batch) -> Result<(), OracleError> {
        self.check_description(batch)?;
        self.check_lengths(batch)?;
        for i in 0..batch.rows() {
            if batch.row(i).iter().any(|v| v.is_nan()) {
                return Err(OracleError::at(i, "a score is NaN"));
            }
        }
        self.check_targets(batch)
    }

    fn check_description(&self, batch: &Batch) -> Result<(), OracleError> {
        let soft = matches!(batch.targets, Targets::Soft(_));
        let extras = self.label_smoothing != 0.0 || self.z_loss != 0.0 || soft;
        require(
            !extras || self.is_cross_entropy(),
            "label smoothing, z-loss and soft targets need log-sum-exp with softplus",
        )?;
        require(
            !soft || (self.margin == Margin::None && self.label_smoothing == 0.0),
            "soft targets support neither a margin nor label smoothing",
        )?;
        require(!soft || !matches!(self.regularizer, Regularizer::FeatureIncay { .. }), "feature incay needs labels")?;
        require(
            self.temperature == 1.0 || self.geometry == Geometry::InnerProduct,
            "only the inner product has a temperature",
        )?;
        require(
            self.scale > 0.0 && self.scale.is_finite() && self.temperature > 0.0,
            "scale and temperature must be positive",
        )?;
        require(
            self.negatives == Negatives::Plain || (self.geometry == Geometry::Cosine && !soft),
            "modified negatives need the cosine and labels",
        )?;
        require(self.sub_centers > 0, "a class needs at least one prototype")?;
        if let Margin::Angle(angle) = &self.margin {
            require(angle.beyond_pi != BeyondPi::Extend || angle.times == 1.0, "extend is defined for times = 1")?;
        }
        Ok(())
    }

    fn check_lengths(&self, batch: &Batch) -> Result<(), OracleError> {
        let (n, c) = (batch.rows(), batch.classes);
        let fits = |v: &Option<Vec<f64>>, len: usize| v.as_ref().is_none_or(|v| v.len() == len);
        require(c > 0 && batch.scores.len() == n * c, "scores must be (N, C)")?;
        let targets = match &batch.targets {
            Targets::Labels(labels) => labels.len() == n,
            Targets::Soft(p) => p.len() == n * c,
        };
        require(targets, "expected one target per row")?;
        require(fits(&self.class_weights, c), "expected one weight per class")?;
        require(fits(&self.sample_weights, n), "expected one weight per row")?;
        require(fits(&batch.embedding_norms, n), "expected one norm per row")?;
        require(fits(&batch.weight_norms, c), "expected one norm per class")?;
        let angular = matches!(self.margin, Margin::Angle(_));
        let margin_values = self.margin.margin_values();
        let from_norm = margin_values.iter().any(|(value, _)| value.norm_margin().is_some());
        let radial = angular && self.geometry != Geometry::Cosine;
        let needs_x = self.regularizer != Regularizer::None || from_norm || radial;
        let needs_w = angular && self.geometry == Geometry::InnerProduct;
        require(!needs_x || batch.embedding_norms.is_some(), "embedding norms are needed")?;
        require(!needs_w || batch.weight_norms.is_some(), "weight norms are needed")?;
        let is_ordered = |norms: NormMargin| match norms {
            NormMargin::Linear { norm_low, norm_high, .. } => norm_low < norm_high,
            NormMargin::Standardized { .. } => true,
        };
        require(
            margin_values.iter().all(|(value, _)| value.norm_margin().is_none_or(is_ordered)),
            "norm_low must be below norm_high",
        )?;
        require(
            margin_values.iter().all(|(value, _)| value.fits(n, c)),
            "expected one margin or one count per class, or one margin per row",
        )
    }

    fn check_targets(&self, batch: &Batch) -> Result<(), OracleError> {
        for i in 0..batch.rows() {
            if let Some(label) = batch.label(i) {
                let inside = (0..batch.classes as i64).contains(&label);
                if !inside && Some(label) != self.ignored {
                    return Err(OracleError::at(i, format!("label {label} is not a class")));
                }
            }
        }
        if let Targets::Soft(p) = &batch.targets {
            for (i, row) in p.chunks(batch.classes).enumerate() {
                crate::measures::check_distribution(row, 1e-6).map_err(|e| OracleError::at(i, e.message))?;
            }
        }
        Ok(())
    }
}
