//! The linear head: scores from embeddings and weights, and the chain rule back.
//!
//! Under a cosine the gradient by `x` is `(I - x^ x^T) (sum_k g_k w^_k) / |x|`, so each class gives
//! `g_k (w^_k - cos_k x^) / |x|`; by `w_k` it is `g_k (x^ - cos_k w^_k) / |w_k|`.
//!
//! The target's term of an exact angle margin is taken in tangent space instead: with
//! `tau = (w^ - cos x^) / |w^ - cos x^|`, the unit direction in which `x^` turns towards `w^`,
//! `d cos = sin theta` times the turn and `d psi = -da/dtheta` times the turn, so no division by
//! `sin theta` occurs. At theta = 0 and pi no direction is singled out and the term is 0.
//!
//! With K sub-centers the rows `c K .. c K + K` of the weights belong to class `c`. Its score is the largest of theirs
//! (the lowest index on ties), and the gradient goes to that one alone.
//!
//! Where a margin value or a regularizer follows the norm of the embedding, its slope goes along `x^`.
//!
//! A vector of norm 0 has unit vector 0 and cosine 0, and gets no gradient from a normalized score.

use crate::description::{Batch, Geometry, Oracle, Targets};
use crate::error::OracleError;
use crate::loss::Outcome;
use crate::margin::{Angle, Margin, MarginGradient, cosine_of};
use crate::smooth::maximum;
use crate::surrogate::Surrogate;

/// Below this length `w^ - cos x^` is rounding, not a direction.
const NO_DIRECTION: f64 = 1e-12;

/// Embeddings, weights and bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Embeddings, flat (N, D).
    pub x: Vec<f64>,
    /// Weights, flat (C K, D).
    pub w: Vec<f64>,
    /// One bias a weight; only for the inner product.
    pub bias: Option<Vec<f64>>,
    /// D.
    pub dimension: usize,
}

/// The loss of a head and its gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadOutcome {
    /// Flat (N, C).
    pub scores: Vec<f64>,
    /// Which row of the weights gave each score, flat (N, C).
    pub winners: Vec<usize>,
    /// The loss on those scores.
    pub loss: Outcome,
    /// By the embeddings, flat (N, D).
    pub grad_x: Vec<f64>,
    /// By the weights, flat (C K, D).
    pub grad_w: Vec<f64>,
    /// By the bias (C K); 0 without one.
    pub grad_bias: Vec<f64>,
}

/// `sum_k a_k b_k`.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(p, q)| p * q).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// `a / |a|`, or 0.
fn unit(a: &[f64]) -> Vec<f64> {
    let length = norm(a);
    let inverse = if length == 0.0 { 0.0 } else { 1.0 / length };
    a.iter().map(|v| v * inverse).collect()
}

/// `to += factor * a`.
fn add(to: &mut [f64], factor: f64, a: &[f64]) {
    for (t, v) in to.iter_mut().zip(a) {
        *t += factor * v;
    }
}

/// `a - factor * b`.
fn less(a: &[f64], factor: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(p, q)| p - factor * q).collect()
}

/// `factor / length`, or 0 where the length is.
fn over(factor: f64, length: f64) -> f64 {
    if length == 0.0 { 0.0 } else { factor / length }
}

/// The direction of `to - cos from` as a unit vector, or 0 where there is none.
fn tangent(from: &[f64], to: &[f64], cosine: f64) -> Vec<f64> {
    let turn = less(to, cosine, from);
    if norm(&turn) < NO_DIRECTION { vec![0.0; turn.len()] } else { unit(&turn) }
}

impl Head {
    fn rows(&self) -> usize {
        self.x.len() / self.dimension
    }

    /// How many weights there are, `C K`.
    fn centers(&self) -> usize {
        self.w.len() / self.dimension
    }

    /// One embedding.
    pub fn embedding(&self, i: usize) -> &[f64] {
        &self.x[i * self.dimension..(i + 1) * self.dimension]
    }

    /// One weight.
    pub fn weight(&self, j: usize) -> &[f64] {
        &self.w[j * self.dimension..(j + 1) * self.dimension]
    }

    /// The score of an embedding and one weight.
    fn score(&self, geometry: Geometry, i: usize, k: usize) -> f64 {
        let (x, w) = (self.embedding(i), self.weight(k));
        match geometry {
            Geometry::InnerProduct => dot(x, w) + self.bias.as_ref().map_or(0.0, |b| b[k]),
            Geometry::UnitWeights => dot(x, &unit(w)),
            Geometry::Cosine => dot(&unit(x), &unit(w)),
        }
    }

    /// Scores and norms, and the weight that gave each score. With sub-centers no norm of a class is defined.
    pub fn batch(&self, oracle: &Oracle, targets: Targets) -> (Batch, Vec<usize>) {
        let (mut scores, mut winners) = (Vec::new(), Vec::new());
        let classes = self.centers() / oracle.sub_centers;
        for i in 0..self.rows() {
            for j in 0..classes {
                let of_class = j * oracle.sub_centers..(j + 1) * oracle.sub_centers;
                let all: Vec<f64> = of_class.clone().map(|k| self.score(oracle.geometry, i, k)).collect();
                let (top, at) = maximum(&all);
                scores.push(top);
                winners.push(of_class.start + at);
            }
        }
        let norms_of_weights = || (0..self.centers()).map(|j| norm(self.weight(j))).collect();
        let batch = Batch {
            scores,
            classes,
            targets,
            embedding_norms: Some((0..self.rows()).map(|i| norm(self.embedding(i))).collect()),
            weight_norms: (oracle.sub_centers == 1).then(norms_of_weights),
        };
        (batch, winners)
    }

    fn check(&self, oracle: &Oracle) -> Result<(), OracleError> {
        let shapes = self.dimension > 0
            && self.x.len() == self.rows() * self.dimension
            && self.w.len() == self.centers() * self.dimension
            && oracle.sub_centers > 0
            && self.centers().is_multiple_of(oracle.sub_centers)
            && self.bias.as_ref().is_none_or(|b| b.len() == self.centers());
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
            return Err(OracleError::whole("a weight is not finite"));
        }
        Ok(())
    }

    /// The loss and all gradients.
    pub fn evaluate(&self, oracle: &Oracle, targets: &Targets) -> Result<HeadOutcome, OracleError> {
        self.check(oracle)?;
        let (batch, winners) = self.batch(oracle, targets.clone());
        let loss = oracle.evaluate(&batch)?;
        let mut out = HeadOutcome {
            scores: batch.scores.clone(),
            winners,
            grad_x: vec![0.0; self.x.len()],
            grad_w: vec![0.0; self.w.len()],
            grad_bias: vec![0.0; self.centers()],
            loss,
        };
        for i in 0..self.rows() {
            for j in 0..batch.classes {
                let g = out.loss.grad_scores[i * batch.classes + j];
                let is_target = batch.label(i) == Some(j as i64);
                match &oracle.margin {
                    Margin::Angle(angle) if is_target => {
                        self.back_of_margin(oracle, angle, &batch, i, j, &mut out);
                    }
                    _ => {
                        let winner = out.winners[i * batch.classes + j];
                        self.back_of_score(oracle.geometry, i, winner, g, &mut out);
                    }
                }
            }
            let radial = out.loss.grad_embedding_norms_beside_radius[i];
            add(self.grad_of_row(&mut out.grad_x, i), radial, &unit(self.embedding(i)));
        }
        Ok(out)
    }

    /// The loss alone with straight-through margins frozen; what numerical derivatives are taken of.
    pub fn frozen_loss(&self, oracle: &Oracle, targets: &Targets, at: &Surrogate) -> Result<f64, OracleError> {
        self.check(oracle)?;
        let (batch, _) = self.batch(oracle, targets.clone());
        Ok(at.evaluate(oracle, &batch)?.loss)
    }

    fn grad_of_row<'a>(&self, gradient: &'a mut [f64], row: usize) -> &'a mut [f64] {
        &mut gradient[row * self.dimension..(row + 1) * self.dimension]
    }

    /// `g` times the derivative of the score of embedding `i` and weight `j`.
    fn back_of_score(&self, geometry: Geometry, i: usize, j: usize, g: f64, out: &mut HeadOutcome) {
        if g == 0.0 {
            return;
        }
        let (x, w) = (self.embedding(i), self.weight(j));
        let (x_unit, w_unit) = (unit(x), unit(w));
        let cosine = dot(&x_unit, &w_unit);
        let (by_x, by_w) = match geometry {
            Geometry::InnerProduct => (w.to_vec(), x.to_vec()),
            Geometry::UnitWeights => {
                let mut by_w = vec![0.0; self.dimension];
                add(&mut by_w, over(1.0, norm(w)), &less(x, dot(x, &w_unit), &w_unit));
                (w_unit, by_w)
            }
            Geometry::Cosine => {
                let mut by_x = vec![0.0; self.dimension];
                let mut by_w = vec![0.0; self.dimension];
                add(&mut by_x, over(1.0, norm(x)), &less(&w_unit, cosine, &x_unit));
                add(&mut by_w, over(1.0, norm(w)), &less(&x_unit, cosine, &w_unit));
                (by_x, by_w)
            }
        };
        add(self.grad_of_row(&mut out.grad_x, i), g, &by_x);
        add(self.grad_of_row(&mut out.grad_w, j), g, &by_w);
        out.grad_bias[j] += if self.bias.is_some() { g } else { 0.0 };
    }

    /// The term of the target, class `label`, under an angle margin: `pull * s * d(r a(cos))`.
    fn back_of_margin(
        &self,
        oracle: &Oracle,
        angle: &Angle,
        batch: &Batch,
        i: usize,
        label: usize,
        out: &mut HeadOutcome,
    ) {
        let j = out.winners[i * batch.classes + label];
        let (x, w) = (self.embedding(i), self.weight(j));
        let place = oracle.place(batch, i, label);
        let z = batch.row(i)[label];
        if place.radius == 0.0 || norm(x) == 0.0 || norm(w) == 0.0 {
            return;
        }
        let pull = out.loss.grad_targets[i] * oracle.effective_scale();
        let (x_unit, w_unit) = (unit(x), unit(w));
        let cosine = cosine_of(z, place.radius);
        let at = angle.at(cosine, place);
        // d r, as a multiple of the unit vectors.
        let (radial_x, radial_w) = match oracle.geometry {
            Geometry::Cosine => (0.0, 0.0),
            Geometry::UnitWeights => (1.0, 0.0),
            Geometry::InnerProduct => (norm(w), norm(x)),
        };
        if angle.gradient == MarginGradient::StraightThrough {
            // d(z + r * step).
            let step = at.value - cosine;
            self.back_of_score(oracle.geometry, i, j, pull, out);
            add(self.grad_of_row(&mut out.grad_x, i), pull * radial_x * step, &x_unit);
            add(self.grad_of_row(&mut out.grad_w, j), pull * radial_w * step, &w_unit);
            return;
        }
        let turn = pull * place.radius * at.by_tangent;
        let to_w = tangent(&x_unit, &w_unit, cosine);
        let to_x = tangent(&w_unit, &x_unit, cosine);
        let grad_x = self.grad_of_row(&mut out.grad_x, i);
        add(grad_x, turn / norm(x), &to_w);
        add(grad_x, pull * radial_x * at.value, &x_unit);
        let grad_w = self.grad_of_row(&mut out.grad_w, j);
        add(grad_w, turn / norm(w), &to_x);
        add(grad_w, pull * radial_w * at.value, &w_unit);
    }
}
