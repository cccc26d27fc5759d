//! The loss of one row, unweighted, with its derivatives.
//!
//! Classes at `-inf` other than the target are deleted before anything is computed. The negatives' scores are modified
//! first; comparison, smoothing and z-loss see only modified ones.

use crate::description::Oracle;
use crate::error::OracleError;
use crate::margin::{Margin, Place};
use crate::negatives::{Modified, Threshold};
use crate::smooth::{log_sum_exp, maximum, softmax};

/// A row's loss and derivatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The loss.
    pub loss: f64,
    /// By each score (C).
    pub by_score: Vec<f64>,
    /// By the effective scale.
    pub by_scale: f64,
    /// By the radius of an angle margin.
    pub by_radius: f64,
    /// By the embedding's norm, through the margin's margin values.
    pub by_norm: f64,
    /// By `u`, the target's scaled score after the margin; 0 for soft targets.
    pub by_target: f64,
}

impl Row {
    /// A row without loss.
    pub fn zero(classes: usize) -> Self {
        Self { loss: 0.0, by_score: vec![0.0; classes], by_scale: 0.0, by_radius: 0.0, by_norm: 0.0, by_target: 0.0 }
    }
}

/// The loss of a row with a label.
pub fn labeled(oracle: &Oracle, z: &[f64], place: Place, frozen: Option<f64>) -> Result<Row, OracleError> {
    let label = place.label;
    if z[label] == f64::INFINITY && (0..z.len()).any(|j| j != label && z[j] == f64::INFINITY) {
        return Err(OracleError::at(place.row, "the target and a negative are both +inf"));
    }
    let mut row = Row::zero(z.len());
    let negatives: Vec<usize> = (0..z.len()).filter(|j| *j != label && z[*j] != f64::NEG_INFINITY).collect();
    if z.len() == 1 || (negatives.is_empty() && oracle.comparison.only_gaps_matter()) {
        return Ok(row);
    }
    let s = oracle.effective_scale();
    let target = oracle.margin.target(z[label], s, oracle.geometry, place, frozen);
    let against = oracle.threshold(z[label], place);
    let modified: Vec<Modified> = negatives.iter().map(|j| oracle.negatives.modify(z[*j], against)).collect();
    let scaled: Vec<f64> = modified.iter().map(|m| s * m.score).collect();

    let compared = oracle.comparison.compare(oracle.gate, target.u, &scaled);
    let smoothed = smoothing(oracle.label_smoothing, target.u, &scaled);
    let squared = z_loss(oracle.z_loss, target.u, &scaled);

    // An infinite comparison settles it: the smoothing of an infinite score could only add inf - inf.
    row.loss =
        if compared.loss == f64::INFINITY { f64::INFINITY } else { compared.loss + smoothed.loss + squared.loss };
    row.by_target = compared.by_target + smoothed.by_target + squared.by_target;
    for (k, j) in negatives.iter().enumerate() {
        let by_modified = compared.by_negative[k] + smoothed.by_negative[k] + squared.by_negative[k];
        row.by_score[*j] = s * modified[k].slope * by_modified;
    }
    row.by_score[label] = product(row.by_target, target.by_score);
    row.by_radius = product(row.by_target, target.by_radius);
    row.by_norm = product(row.by_target, target.by_norm);

    // Where only gaps matter the derivatives sum to 0, and differences of scores lose less than
    // scores themselves.
    let of_negatives: Vec<f64> = modified.iter().map(|m| m.score).collect();
    let gaps = compared.by_negative.iter().zip(&smoothed.by_negative).map(|(a, b)| a + b);
    let plain = if oracle.comparison.only_gaps_matter() {
        gaps.zip(&of_negatives).map(|(g, v)| product(g, v - target.by_scale)).sum()
    } else {
        gaps.zip(&of_negatives).map(|(g, v)| product(g, *v)).sum::<f64>() + product(compared.by_target, target.by_scale)
    };
    let of_square: f64 = squared.by_negative.iter().zip(&of_negatives).map(|(g, v)| product(*g, *v)).sum();
    row.by_scale =
        if row.loss.is_infinite() { row.loss } else { plain + of_square + product(squared.by_target, target.by_scale) };
    Ok(row)
}

impl Oracle {
    /// What the negatives of a target with score `z` are held against.
    pub fn threshold(&self, z: f64, place: Place) -> Threshold {
        let s = self.effective_scale();
        let psi = |margin: &Margin| margin.target(z, s, self.geometry, place, None).u / s;
        Threshold {
            psi: psi(&self.margin),
            plain: psi(&self.margin.without_continuation()),
            target_mean: place.state.target_mean,
        }
    }
}

/// A product in which 0 wins over infinity.
fn product(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

struct Extra {
    loss: f64,
    by_target: f64,
    by_negative: Vec<f64>,
}

/// What label smoothing adds: `eps / C' * sum_j (u - v_j)`, which turns
/// `LSE_all - u` into `LSE_all - sum_k P_k z'_k`.
fn smoothing(eps: f64, u: f64, negatives: &[f64]) -> Extra {
    if eps == 0.0 {
        return Extra { loss: 0.0, by_target: 0.0, by_negative: vec![0.0; negatives.len()] };
    }
    let each = eps / (negatives.len() as f64 + 1.0);
    Extra {
        loss: negatives.iter().map(|v| each * (u - v)).sum(),
        by_target: each * negatives.len() as f64,
        by_negative: vec![-each; negatives.len()],
    }
}

/// `lambda LSE_all^2` over `u` and the negatives.
fn z_loss(lambda: f64, u: f64, negatives: &[f64]) -> Extra {
    let mut all = vec![u];
    all.extend_from_slice(negatives);
    let share = softmax(&all);
    if lambda == 0.0 {
        return Extra { loss: 0.0, by_target: 0.0, by_negative: vec![0.0; negatives.len()] };
    }
    let height = log_sum_exp(&all);
    let slope: Vec<f64> = share.iter().map(|q| product(2.0 * lambda * height, *q)).collect();
    Extra { loss: lambda * height * height, by_target: slope[0], by_negative: slope[1..].to_vec() }
}

/// The loss of a row with soft targets `p`: `LSE_all(s z) - sum_k p_k s z_k`, and the z-loss.
pub fn soft(oracle: &Oracle, z: &[f64], p: &[f64], row_index: usize) -> Result<Row, OracleError> {
    let mut row = Row::zero(z.len());
    if z.len() == 1 {
        return Ok(row);
    }
    let infinite: Vec<usize> = (0..z.len()).filter(|k| z[*k] == f64::INFINITY).collect();
    if infinite.len() > 1 && infinite.iter().any(|k| p[*k] > 0.0) {
        return Err(OracleError::at(row_index, "a wanted class and another are both +inf"));
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
        row.by_score[k] = s * gap(&share, p, k);
    }
    let impossible = (0..z.len()).any(|k| p[k] > 0.0 && z[k] == f64::NEG_INFINITY);
    let beaten = top == f64::INFINITY && infinite.iter().all(|k| p[*k] < 1.0);
    if impossible || beaten {
        row.loss = f64::INFINITY;
    }
    let squared = z_loss(oracle.z_loss, scaled[0], &scaled[1..]);
    row.loss += squared.loss;
    for (k, v) in z.iter().enumerate() {
        let of_square = if k == 0 { squared.by_target } else { squared.by_negative[k - 1] };
        row.by_scale += product(gap(&share, p, k) + of_square, *v);
        row.by_score[k] += s * of_square;
    }
    if row.loss.is_infinite() {
        row.by_scale = row.loss;
    }
    Ok(row)
}

/// `q_k - p_k`; where `q_k` is large, from the sum of the others.
fn gap(q: &[f64], p: &[f64], k: usize) -> f64 {
    if q[k] < 0.5 {
        return q[k] - p[k];
    }
    let others: f64 = (0..q.len()).filter(|j| *j != k).map(|j| q[j]).sum();
    (1.0 - p[k]) - others
}
