//! The linear head: scores from embeddings and prototypes, and their gradients by the chain rule.
//!
//! Under the cosine geometry the gradient with respect to `x` is `(I - x^ x^T) (sum_k g_k w^_k) / |x|`, so each class
//! contributes `g_k (w^_k - cos_k x^) / |x|`; with respect to `w_k` it is `g_k (x^ - cos_k w^_k) / |w_k|`.
//!
//! The target's term of an exact angle margin is computed in tangent space instead: with
//! `tau = (w^ - cos x^) / |w^ - cos x^|`, the unit direction in which `x^` turns towards `w^`,
//! `d cos = sin theta` times the turn and `d psi = -da/dtheta` times the turn, so no division by
//! `sin theta` occurs. At theta = 0 and pi the direction is undefined and the term is 0.
//!
//! With K sub-centers the rows `c K .. c K + K` of `w` are the prototypes of class `c`. The score of the class is the
//! largest of their scores (the lowest index on ties), and only the prototype with that score receives a gradient.
//!
//! If a margin value or a regularizer depends on the norm of the embedding, its gradient is parallel to `x^`.
//!
//! A vector of norm 0 has the unit vector 0 and the cosine 0, and receives no gradient from a normalized score.

use crate::description::{Batch, Geometry, Oracle, Targets};
use crate::error::OracleError;
use crate::loss::LossOutput;
use crate::margin::{Angle, Margin, MarginGradient, cosine_of};
use crate::smooth::maximum;
use crate::surrogate::Surrogate;

/// Length of `w^ - cos x^` below which it is rounding error and has no direction.
const NO_DIRECTION: f64 = 1e-12;

/// Embeddings, prototypes and bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Embeddings, flat (N, D).
    pub x: Vec<f64>,
    /// Prototypes, flat (C K, D).
    pub w: Vec<f64>,
    /// One bias per prototype; only for the inner product.
    pub bias: Option<Vec<f64>>,
    /// D, the embedding dimension.
    pub dimension: usize,
}

/// Loss and gradients of a head.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadOutput {
    /// Scores, flat (N, C).
    pub scores: Vec<f64>,
    /// Index of the prototype with the largest score in each class, flat (N, C).
    pub winners: Vec<usize>,
    /// Loss of those scores.
    pub loss: LossOutput,
    /// Gradient with respect to the embeddings, flat (N, D).
    pub grad_x: Vec<f64>,
    /// Gradient with respect to the prototypes, flat (C K, D).
    pub grad_w: Vec<f64>,
    /// Gradient with respect to the bias (C K); 0 without a bias.
    pub grad_bias: Vec<f64>,
}

/// Returns `sum_k a_k b_k`.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(p, q)| p * q).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Returns `a / |a|`, or 0 for `a = 0`.
fn unit(a: &[f64]) -> Vec<f64> {
    let length = norm(a);
    let inverse = if length == 0.0 { 0.0 } else { 1.0 / length };
    a.iter().map(|v| v * inverse).collect()
}

/// Adds `factor * a` to `to`.
fn add_scaled(to: &mut [f64], factor: f64, a: &[f64]) {
    for (t, v) in to.iter_mut().zip(a) {
        *t += factor * v;
    }
}

/// Returns `a - factor * b`.
fn subtract_scaled(a: &[f64], factor: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(p, q)| p - factor * q).collect()
}

/// Returns `factor / length`, or 0 if the length is 0.
fn divide_or_zero(factor: f64, length: f64) -> f64 {
    if length == 0.0 { 0.0 } else { factor / length }
}

/// Returns the direction of `to - cos from` as a unit vector, or 0 if it is undefined.
fn tangent(from: &[f64], to: &[f64], cosine: f64) -> Vec<f64> {
    let turn = subtract_scaled(to, cosine, from);
    if norm(&turn) < NO_DIRECTION { vec![0.0; turn.len()] } else { unit(&turn) }
}

impl Head {
    fn rows(&self) -> usize {
        self.x.len() / self.dimension
    }

    /// Returns the number of prototypes, `C K`.
    fn num_prototypes(&self) -> usize {
        self.w.len() / self.dimension
    }

    /// Returns one embedding.
    pub fn embedding(&self, i: usize) -> &[f64] {
        &self.x[i * self.dimension..(i + 1) * self.dimension]
    }

    /// Returns one prototype.
    pub fn prototype(&self, j: usize) -> &[f64] {
        &self.w[j * self.dimension..(j + 1) * self.dimension]
    }

    /// Returns the score of embedding `i` and prototype `k`.
    fn score(&self, geometry: Geometry, i: usize, k: usize) -> f64 {
        let (x, w) = (self.embedding(i), self.prototype(k));
        match geometry {
            Geometry::InnerProduct => dot(x, w) + self.bias.as_ref().map_or(0.0, |b| b[k]),
            Geometry::UnitWeights => dot(x, &unit(w)),
            Geometry::Cosine => dot(&unit(x), &unit(w)),
        }
    }

    /// Returns the batch of scores and norms, and the index of the prototype behind each score.
    ///
    /// With sub-centers the batch has no weight norms: a class has no single norm.
    pub fn batch(&self, oracle: &Oracle, targets: Targets) -> (Batch, Vec<usize>) {
        let (mut scores, mut winners) = (Vec::new(), Vec::new());
        let classes = self.num_prototypes() / oracle.sub_centers;
        for i in 0..self.rows() {
            for j in 0..classes {
                let of_class = j * oracle.sub_centers..(j + 1) * oracle.sub_centers;
                let all: Vec<f64> = of_class.clone().map(|k| self.score(oracle.geometry, i, k)).collect();
                let (top, at) = maximum(&all);
                scores.push(top);
                winners.push(of_class.start + at);
            }
        }
        let weight_norms = || (0..self.num_prototypes()).map(|j| norm(self.prototype(j))).collect();
        let batch = Batch {
            scores,
            classes,
            targets,
            embedding_norms: Some((0..self.rows()).map(|i| norm(self.embedding(i))).collect()),
            weight_norms: (oracle.sub_centers == 1).then(weight_norms),
        };
        (batch, winners)
    }

    fn check(&self, oracle: &Oracle) -> Result<(), OracleError> {
        let shapes = self.dimension > 0
            && self.x.len() == self.rows() * self.dimension
            && self.w.len() == self.num_prototypes() * self.dimension
            && oracle.sub_centers > 0
            && self.num_prototypes().is_multiple_of(oracle.sub_centers)
            && self.bias.as_ref().is_none_or(|b| b.len() == self.num_prototypes());
        if !shapes {
            return Err(OracleError::whole("x must be (N, D), w (C K, D), bias (C K)"));
        }
        let angular = matches!(oracle.margin, Margin::Angle(_));
        let allowed = oracle.geometry == Geometry::InnerProduct && !angular;
        if self.bias.is_some() && !allowed {
            return Err(OracleError::whole("a bias needs the inner product and no angle margin"));
        }
        for i in 0..self.rows() {
            if self.embedding(i).iter().any(|v| !v.is_finite()) {
                return Err(OracleError::at(i, "an embedding is not finite"));
            }
        }
        if self.w.iter().any(|v| !v.is_finite()) {
            return Err(OracleError::whole("a prototype is not finite"));
        }
        Ok(())
    }

    /// Returns the loss and all gradients.
    pub fn evaluate(&self, oracle: &Oracle, targets: &Targets) -> Result<HeadOutput, OracleError> {
        self.check(oracle)?;
        let (batch, winners) = self.batch(oracle, targets.clone());
        let loss = oracle.evaluate(&batch)?;
        let mut out = HeadOutput {
            scores: batch.scores.clone(),
            winners,
            grad_x: vec![0.0; self.x.len()],
            grad_w: vec![0.0; self.w.len()],
            grad_bias: vec![0.0; self.num_prototypes()],
            loss,
        };
        for i in 0..self.rows() {
            for j in 0..batch.classes {
                let g = out.loss.grad_scores[i * batch.classes + j];
                let is_target = batch.label(i) == Some(j as i64);
                match &oracle.margin {
                    Margin::Angle(angle) if is_target => {
                        self.backward_margin(oracle, angle, &batch, i, j, &mut out);
                    }
                    _ => {
                        let winner = out.winners[i * batch.classes + j];
                        self.backward_score(oracle.geometry, i, winner, g, &mut out);
                    }
                }
            }
            let radial = out.loss.grad_embedding_norms_without_radius[i];
            add_scaled(self.grad_of_row(&mut out.grad_x, i), radial, &unit(self.embedding(i)));
        }
        Ok(out)
    }

    /// Returns the loss alone, with the frozen parts of a surrogate, for numerical derivatives.
    pub fn frozen_loss(&self, oracle: &Oracle, targets: &Targets, at: &Surrogate) -> Result<f64, OracleError> {
        self.check(oracle)?;
        let (batch, _) = self.batch(oracle, targets.clone());
        Ok(at.evaluate(oracle, &batch)?.loss)
    }

    fn grad_of_row<'a>(&self, gradient: &'a mut [f64], row: usize) -> &'a mut [f64] {
        &mut gradient[row * self.dimension..(row + 1) * self.dimension]
    }

    /// Adds `g` times the gradient of the score of embedding `i` and prototype `j`.
    fn backward_score(&self, geometry: Geometry, i: usize, j: usize, g: f64, out: &mut HeadOutput) {
        if g == 0.0 {
            return;
        }
        let (x, w) = (self.embedding(i), self.prototype(j));
        let (x_unit, w_unit) = (unit(x), unit(w));
        let cosine = dot(&x_unit, &w_unit);
        let (grad_x, grad_w) = match geometry {
            Geometry::InnerProduct => (w.to_vec(), x.to_vec()),
            Geometry::UnitWeights => {
                let mut grad_w = vec![0.0; self.dimension];
                add_scaled(&mut grad_w, divide_or_zero(1.0, norm(w)), &subtract_scaled(x, dot(x, &w_unit), &w_unit));
                (w_unit, grad_w)
            }
            Geometry::Cosine => {
                let mut grad_x = vec![0.0; self.dimension];
                let mut grad_w = vec![0.0; self.dimension];
                add_scaled(&mut grad_x, divide_or_zero(1.0, norm(x)), &subtract_scaled(&w_unit, cosine, &x_unit));
                add_scaled(&mut grad_w, divide_or_zero(1.0, norm(w)), &subtract_scaled(&x_unit, cosine, &w_unit));
                (grad_x, grad_w)
            }
        };
        add_scaled(self.grad_of_row(&mut out.grad_x, i), g, &grad_x);
        add_scaled(self.grad_of_row(&mut out.grad_w, j), g, &grad_w);
        out.grad_bias[j] += if self.bias.is_some() { g } else { 0.0 };
    }

    /// Adds the gradient of the target, class `label`, under an angle margin: `grad_psi * d(r a(cos))`.
    fn backward_margin(
        &self,
        oracle: &Oracle,
        angle: &Angle,
        batch: &Batch,
        i: usize,
        label: usize,
        out: &mut HeadOutput,
    ) {
        let j = out.winners[i * batch.classes + label];
        let (x, w) = (self.embedding(i), self.prototype(j));
        let context = oracle.row_context(batch, i, label);
        let z = batch.row(i)[label];
        if context.radius == 0.0 || norm(x) == 0.0 || norm(w) == 0.0 {
            return;
        }
        let grad_psi = out.loss.grad_targets[i] * oracle.effective_scale();
        let (x_unit, w_unit) = (unit(x), unit(w));
        let cosine = cosine_of(z, context.radius);
        let at = angle.at(cosine, context);
        // Gradients of r, as multiples of the unit vectors.
        let (radial_x, radial_w) = match oracle.geometry {
            Geometry::Cosine => (0.0, 0.0),
            Geometry::UnitWeights => (1.0, 0.0),
            Geometry::InnerProduct => (norm(w), norm(x)),
        };
        if angle.gradient == MarginGradient::StraightThrough {
            // Gradient of z + r * step.
            let step = at.value - cosine;
            self.backward_score(oracle.geometry, i, j, grad_psi, out);
            add_scaled(self.grad_of_row(&mut out.grad_x, i), grad_psi * radial_x * step, &x_unit);
            add_scaled(self.grad_of_row(&mut out.grad_w, j), grad_psi * radial_w * step, &w_unit);
            return;
        }
        let turn = grad_psi * context.radius * at.grad_tangent;
        let to_w = tangent(&x_unit, &w_unit, cosine);
        let to_x = tangent(&w_unit, &x_unit, cosine);
        let grad_x = self.grad_of_row(&mut out.grad_x, i);
        add_scaled(grad_x, turn / norm(x), &to_w);
        add_scaled(grad_x, grad_psi * radial_x * at.value, &x_unit);
        let grad_w = self.grad_of_row(&mut out.grad_w, j);
        add_scaled(grad_w, turn / norm(w), &to_x);
        add_scaled(grad_w, grad_psi * radial_w * at.value, &w_unit);
    }
}
