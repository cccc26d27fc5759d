//! The unweighted loss of one row and its derivatives.
//!
//! Negatives with a score of `-inf` are removed before anything is computed. Then the scores of the negatives are
//! modified; comparison, smoothing and z-loss use only the modified scores.

use crate::description::Oracle;
use crate::error::OracleError;
use crate::margin::{Margin, RowContext};
use crate::negatives::{Modified, Threshold};
use crate::smooth::{log_sum_exp, maximum, softmax};

/// Loss and derivatives of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The loss.
    pub loss: f64,
    /// With respect to each score (C).
    pub grad_scores: Vec<f64>,
    /// With respect to the effective scale.
    pub grad_scale: f64,
    /// With respect to the radius of an angle margin.
    pub grad_radius: f64,
    /// With respect to the norm of the embedding, through the margin values.
    pub grad_norm: f64,
    /// With respect to `u`, the target's scaled score after the margin; 0 for soft targets.
    pub grad_target: f64,
}

impl Row {
    /// Returns a row with loss 0.
    pub fn zero(classes: usize) -> Self {
        Self {
            loss: 0.0,
            grad_scores: vec![0.0; classes],
            grad_scale: 0.0,
            grad_radius: 0.0,
            grad_norm: 0.0,
            grad_target: 0.0,
        }
    }
}

/// Returns the loss of a row with a label.
pub fn labeled_row(oracle: &Oracle, z: &[f64], context: RowContext, frozen: Option<f64>) -> Result<Row, OracleError> {
    let label = context.label;
    if z[label] == f64::INFINITY && (0..z.len()).any(|j| j != label && z[j] == f64::INFINITY) {
        return Err(OracleError::at(context.row, "the target and a negative are both +inf"));
    }
    let mut row = Row::zero(z.len());
    let negatives: Vec<usize> = (0..z.len()).filter(|j| *j != label && z[*j] != f64::NEG_INFINITY).collect();
    if z.len() == 1 || (negatives.is_empty() && oracle.comparison.only_gaps_matter()) {
        return Ok(row);
    }
    let s = oracle.effective_scale();
    let target = oracle.margin.target(z[label], s, oracle.geometry, context, frozen);
    let threshold = oracle.threshold(z[label], context);
    let modified: Vec<Modified> = negatives.iter().map(|j| oracle.negatives.modify(z[*j], threshold)).collect();
    let scaled: Vec<f64> = modified.iter().map(|m| s * m.score).collect();

    let compared = oracle.comparison.compare(oracle.gate, target.u, &scaled);
    let smoothed = smoothing(oracle.label_smoothing, target.u, &scaled);
    let squared = z_loss(oracle.z_loss, target.u, &scaled);

    // If the comparison is infinite, the row loss is: smoothing of an infinite score could add inf - inf.
    row.loss =
        if compared.loss == f64::INFINITY { f64::INFINITY } else { compared.loss + smoothed.loss + squared.loss };
    row.grad_target = compared.grad_target + smoothed.grad_target + squared.grad_target;
    for (k, j) in negatives.iter().enumerate() {
        let grad_modified = compared.grad_negatives[k] + smoothed.grad_negatives[k] + squared.grad_negatives[k];
        row.grad_scores[*j] = s * modified[k].slope * grad_modified;
    }
    row.grad_scores[label] = product(row.grad_target, target.grad_score);
    row.grad_radius = product(row.grad_target, target.grad_radius);
    row.grad_norm = product(row.grad_target, target.grad_norm);

    // If only gaps matter, the derivatives sum to 0, and differences of scores lose fewer digits than the scores.
    let modified_scores: Vec<f64> = modified.iter().map(|m| m.score).collect();
    let gaps = compared.grad_negatives.iter().zip(&smoothed.grad_negatives).map(|(a, b)| a + b);
    let plain = if oracle.comparison.only_gaps_matter() {
        gaps.zip(&modified_scores).map(|(g, v)| product(g, v - target.grad_scale)).sum()
    } else {
        gaps.zip(&modified_scores).map(|(g, v)| product(g, *v)).sum::<f64>()
            + product(compared.grad_target, target.grad_scale)
    };
    let of_square: f64 = squared.grad_negatives.iter().zip(&modified_scores).map(|(g, v)| product(*g, *v)).sum();
    row.grad_scale = if row.loss.is_infinite() {
        row.loss
    } else {
        plain + of_square + product(squared.grad_target, target.grad_scale)
    };
    Ok(row)
}

impl Oracle {
    /// Returns the values that decide how the negatives of a target with score `z` are modified.
    pub fn threshold(&self, z: f64, context: RowContext) -> Threshold {
        let s = self.effective_scale();
        let psi = |margin: &Margin| margin.target(z, s, self.geometry, context, None).u / s;
        Threshold {
            psi: psi(&self.margin),
            plain: psi(&self.margin.without_continuation()),
            target_mean: context.state.target_mean,
        }
    }
}

/// Returns `a * b`, where 0 times infinity is 0.
fn product(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

/// A term added to the comparison, and its derivatives.
struct ExtraTerm {
    loss: f64,
    grad_target: f64,
    grad_negatives: Vec<f64>,
}

/// Returns the term of label smoothing, `eps / C' * sum_j (u - v_j)`.
///
/// It turns `LSE_all - u` into `LSE_all - sum_k P_k z'_k`.
fn smoothing(eps: f64, u: f64, negatives: &[f64]) -> ExtraTerm {
    if eps == 0.0 {
        return ExtraTerm { loss: 0.0, grad_target: 0.0, grad_negatives: vec![0.0; negatives.len()] };
    }
    let each = eps / (negatives.len() as f64 + 1.0);
    ExtraTerm {
        loss: negatives.iter().map(|v| each * (u - v)).sum(),
        grad_target: each * negatives.len() as f64,
        grad_negatives: vec![-each; negatives.len()],
    }
}

/// Returns the z-loss `lambda LSE_all^2` over `u` and the negatives.
fn z_loss(lambda: f64, u: f64, negatives: &[f64]) -> ExtraTerm {
    let mut all = vec![u];
    all.extend_from_slice(negatives);
    let share = softmax(&all);
    if lambda == 0.0 {
        return ExtraTerm { loss: 0.0, grad_target: 0.0, grad_negatives: vec![0.0; negatives.len()] };
    }
    let lse = log_sum_exp(&all);
    let slope: Vec<f64> = share.iter().map(|q| product(2.0 * lambda * lse, *q)).collect();
    ExtraTerm { loss: lambda * lse * lse, grad_target: slope[0], grad_negatives: slope[1..].to_vec() }
}

/// Returns the loss of a row with soft targets `p`: `LSE_all(s z) - sum_k p_k s z_k` plus the z-loss.
pub fn soft_row(oracle: &Oracle, z: &[f64], p: &[f64], row_index: usize) -> Result<Row, OracleError> {
    let mut row = Row::zero(z.len());
    if z.len() == 1 {
        return Ok(row);
    }
    let infinite: Vec<usize> = (0..z.len()).filter(|k| z[*k] == f64::INFINITY).collect();
    if infinite.len() > 1 && infinite.iter().any(|k| p[*k] > 0.0) {
        return Err(OracleError::at(row_index, "a class with a positive target and another class are both +inf"));
    }
    let s = oracle.effective_scale();
    let scaled: Vec<f64> = z.iter().map(|v| s * v).collect();
    let share = softmax(&scaled);
    let (top, _) = maximum(&scaled);
    let above = log_sum_exp(&scaled.iter().map(|v| if *v == top { 0.0 } else { v - top }).collect::<Vec<_>>());
    for (k, v) in scaled.iter().enumerate() {
        if p[k] > 0.0 {
            let below = if *v == top { 0.0 } else { top - v };
            row.loss += p[k] * (below + above);
        }
        row.grad_scores[k] = s * probability_gap(&share, p, k);
    }
    let impossible = (0..z.len()).any(|k| p[k] > 0.0 && z[k] == f64::NEG_INFINITY);
    let has_infinite_negative = top == f64::INFINITY && infinite.iter().all(|k| p[*k] < 1.0);
    if impossible || has_infinite_negative {
        row.loss = f64::INFINITY;
    }
    let squared = z_loss(oracle.z_loss, scaled[0], &scaled[1..]);
    row.loss += squared.loss;
    for (k, v) in z.iter().enumerate() {
        let of_square = if k == 0 { squared.grad_target } else { squared.grad_negatives[k - 1] };
        row.grad_scale += product(probability_gap(&share, p, k) + of_square, *v);
        row.grad_scores[k] += s * of_square;
    }
    if row.loss.is_infinite() {
        row.grad_scale = row.loss;
    }
    Ok(row)
}

/// Returns `q_k - p_k`; for a large `q_k`, it is computed from the sum of the others to avoid cancellation.
fn probability_gap(q: &[f64], p: &[f64], k: usize) -> f64 {
    if q[k] < 0.5 {
        return q[k] - p[k];
    }
    let others: f64 = (0..q.len()).filter(|j| *j != k).map(|j| q[j]).sum();
    (1.0 - p[k]) - others
}
