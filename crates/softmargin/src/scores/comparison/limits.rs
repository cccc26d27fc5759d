//! The limits of rows whose target's score is infinite or of which a negative is plus infinity, computed in f64.
//!
//! | row | loss | gradient |
//! |---|---|---|
//! | `z_y = -inf`, or a negative `+inf` | `+inf` | derivatives at an infinite gap; under log-sum-exp, several infinite negatives share it equally |
//! | `z_y = +inf` alone | the gate at `-inf`: 0 for ReLU and softplus | 0 there |
//!
//! Against zero, an infinite target's score affects only its own term. Under label smoothing, either infinity of the
//! target gives an infinite loss. The margin applies to a finite target's score only. If the loss is infinite, so is
//! the derivative with respect to the scale.

use super::row::Row;
use crate::axes::comparison::{Comparison, SmoothGate};
use crate::axes::gate::Gate;
use crate::number::Real;
use crate::rows::comparison::RowLoss;

pub(super) fn row<F: Real>(comparison: Comparison, row: &Row<'_, F>, gradient: Option<&mut [F]>) -> RowLoss {
    let mut limit = Limit::of(row);
    match comparison {
        Comparison::EachPair { gate } => limit.each_pair(gate),
        Comparison::AgainstZero { gate } => limit.against_zero(gate),
        Comparison::Hardest { gate } => limit.hardest(gate),
        Comparison::LogSumExp { gate } => limit.log_sum_exp(gate),
    }
    let Limit { loss, slopes, .. } = &limit;
    if let Some(gradient) = gradient {
        for (entry, slope) in gradient.iter_mut().zip(slopes) {
            *entry = F::round_from(row.factor * row.scale * slope);
        }
        gradient[row.target] = F::round_from(row.factor * row.scale * slopes[row.target] * row.modified.slope);
    }
    let negatives_scale_slope = if loss.is_infinite() { *loss } else { limit.sum_of_slopes_times_scores() / row.scale };
    RowLoss { loss: *loss, target_slope: slopes[row.target], negatives_scale_slope }
}

/// A row in f64, with the loss and the derivatives computed so far.
struct Limit {
    /// The scaled scores, with `u` at the target.
    scores: Vec<f64>,
    target: usize,
    loss: f64,
    /// The derivatives with respect to the scaled scores, and to `u` at the target.
    slopes: Vec<f64>,
}

impl Limit {
    fn of<F: Real>(row: &Row<'_, F>) -> Self {
        let mut scores: Vec<f64> = row.scores.iter().map(|z| row.scale * z.widen()).collect();
        scores[row.target] = row.scale * row.psi();
        let slopes = vec![0.0; scores.len()];
        Self { scores, target: row.target, loss: 0.0, slopes }
    }

    /// Returns `u`.
    fn target_score(&self) -> f64 {
        self.scores[self.target]
    }

    /// Returns the negatives that are not masked.
    fn negatives(&self) -> Vec<usize> {
        let is_present = |&class: &usize| class != self.target && self.scores[class] > f64::NEG_INFINITY;
        (0..self.scores.len()).filter(is_present).collect()
    }

    fn sum_of_slopes_times_scores(&self) -> f64 {
        let moved = self.negatives().into_iter().filter(|&class| self.slopes[class] != 0.0);
        moved.map(|class| self.slopes[class] * self.scores[class]).sum()
    }

    /// Adds the loss of one gap and returns its derivative.
    fn add_gap(&mut self, gate: Gate, gap: f64) -> f64 {
        let (loss, slope) = gate.apply(gap);
        self.loss += loss;
        slope
    }

    fn each_pair(&mut self, gate: Gate) {
        for class in self.negatives() {
            let slope = self.add_gap(gate, self.scores[class] - self.target_score());
            self.slopes[class] = slope;
            self.slopes[self.target] -= slope;
        }
    }

    fn against_zero(&mut self, gate: Gate) {
        self.slopes[self.target] = -self.add_gap(gate, -self.target_score());
        for class in self.negatives() {
            self.slopes[class] = self.add_gap(gate, self.scores[class]);
        }
    }

    fn hardest(&mut self, gate: Gate) {
        let stronger = |a, b| if self.scores[b] > self.scores[a] { b } else { a };
        let Some(class) = self.negatives().into_iter().reduce(stronger) else { return };
        self.slopes[class] = self.add_gap(gate, self.scores[class] - self.target_score());
        self.slopes[self.target] = -self.slopes[class];
    }

    fn log_sum_exp(&mut self, gate: SmoothGate) {
        let negatives = self.negatives();
        let max = negatives.iter().map(|&class| self.scores[class]).fold(f64::NEG_INFINITY, f64::max);
        // Softmax over the negatives; several infinite ones have equal shares.
        let weight = |class: usize| if self.scores[class] == max { 1.0 } else { (self.scores[class] - max).exp() };
        let weights: Vec<f64> = negatives.iter().map(|&class| weight(class)).collect();
        let total: f64 = weights.iter().sum();
        let slope = self.add_gap(gate.gate(), max - self.target_score());
        self.slopes[self.target] = -slope;
        for (&class, weight) in negatives.iter().zip(&weights) {
            self.slopes[class] = slope * weight / total;
        }
        let SmoothGate::Softplus { label_smoothing, z_loss } = gate else { return };
        if z_loss > 0.0 {
            self.add_z_loss(z_loss, max + total.ln(), &negatives, &weights);
        }
        if label_smoothing > 0.0 {
            self.add_smoothing(label_smoothing, &negatives);
        }
    }

    /// Adds `lambda LSE^2`. Either the target or the negatives have all the probability.
    fn add_z_loss(&mut self, lambda: f64, negatives_lse: f64, negatives: &[usize], weights: &[f64]) {
        let lse = negatives_lse.max(self.target_score());
        self.loss += lambda * lse * lse;
        let slope = 2.0 * lambda * lse;
        if self.target_score() == f64::INFINITY {
            self.slopes[self.target] += slope;
            return;
        }
        let total: f64 = weights.iter().sum();
        // An infinite derivative times a weight of 0 would be NaN.
        for (&class, weight) in negatives.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
            self.slopes[class] += slope * weight / total;
        }
    }

    /// Adds label smoothing, which gives `eps / C` to each class that is not masked, the target included.
    fn add_smoothing(&mut self, label_smoothing: f64, negatives: &[usize]) {
        let share = label_smoothing / (negatives.len() as f64 + 1.0);
        self.loss = f64::INFINITY;
        self.slopes[self.target] += share * negatives.len() as f64;
        for &class in negatives {
            self.slopes[class] -= share;
        }
    }
}
