//! Rows with a target's score that is infinite, or a rival's that is plus infinity: the limits, in f64, one by one.
//!
//! | row | loss | gradient |
//! |---|---|---|
//! | `z_y = -inf`, or a rival `+inf` | `+inf` | the slopes at an infinite gap; several infinite rivals share log-sum-exp's |
//! | `z_y = +inf` alone | the gate at `-inf`: 0 for ReLU and softplus | 0 there |
//!
//! Against zero, an infinite target's score answers its own question only. Label smoothing makes either infinity of the
//! target an infinite loss. A finite target's score has its margin, an infinite one none. The slope by the scale goes to
//! infinity with the loss.

use super::{Comparison, Row, RowLoss};
use crate::gate::Gate;
use crate::real::Real;

pub(super) fn row<F: Real>(comparison: Comparison, row: &Row<'_, F>, gradient: Option<&mut [F]>) -> RowLoss {
    let mut scores: Vec<f64> = row.scores.iter().map(|z| row.scale * z.widen()).collect();
    let target = row.scale * row.psi();
    scores[row.target] = target;
    let mut slopes = vec![0.0; scores.len()];
    let mut loss = 0.0;
    match comparison {
        Comparison::EachPair { gate } => {
            for class in present(&scores, row.target) {
                let (value, slope) = gate.apply(scores[class] - target);
                loss += value;
                slopes[class] = slope;
                slopes[row.target] -= slope;
            }
        }
        Comparison::AgainstZero { gate } => {
            let (value, slope) = gate.apply(-target);
            loss += value;
            slopes[row.target] = -slope;
            for class in present(&scores, row.target) {
                let (value, slope) = gate.apply(scores[class]);
                loss += value;
                slopes[class] = slope;
            }
        }
        Comparison::Hardest { gate } => {
            let strongest = present(&scores, row.target).reduce(|a, b| if scores[b] > scores[a] { b } else { a });
            if let Some(class) = strongest {
                loss = pair(gate, scores[class] - target, &mut slopes, row.target);
                slopes[class] = -slopes[row.target];
            }
        }
        Comparison::LogSumExp { gate } => {
            let (shares, max, rivals_lse) = shares(&scores, row.target);
            loss = pair(gate.plain(), max - target, &mut slopes, row.target);
            let slope = -slopes[row.target];
            for (class, share) in shares.iter().enumerate().filter(|(class, _)| *class != row.target) {
                slopes[class] = slope * share;
            }
            let lse = rivals_lse.max(target);
            if let Some((_, z_loss)) = comparison.cross_entropy_options()
                && z_loss > 0.0
            {
                add_z_loss(z_loss, lse, &shares, &mut loss, &mut slopes, row.target);
            }
            if gate.label_smoothing() > 0.0 {
                smooth(gate.label_smoothing(), &scores, &mut loss, &mut slopes, row.target);
            }
        }
    }
    let target_slope = slopes[row.target];
    let finite = |class: &usize| slopes[*class] != 0.0;
    let rivals_scale_slope = if loss.is_infinite() {
        loss
    } else {
        present(&scores, row.target).filter(finite).map(|class| slopes[class] * scores[class] / row.scale).sum()
    };
    if let Some(gradient) = gradient {
        for (entry, slope) in gradient.iter_mut().zip(slopes) {
            *entry = F::round_from(row.factor * row.scale * slope);
        }
        gradient[row.target] = F::round_from(row.factor * row.scale * target_slope * row.modified.slope);
    }
    RowLoss { loss, target_slope, rivals_scale_slope }
}

/// The rivals that take part.
fn present(scores: &[f64], target: usize) -> impl Iterator<Item = usize> {
    (0..scores.len()).filter(move |&class| class != target && scores[class] > f64::NEG_INFINITY)
}

/// The loss of one gap; its slope goes to the target.
fn pair(gate: Gate, gap: f64, slopes: &mut [f64], target: usize) -> f64 {
    let (loss, slope) = gate.apply(gap);
    slopes[target] = -slope;
    loss
}

/// Softmax over the rivals (infinite ones share alike), their maximum and their log-sum-exp.
fn shares(scores: &[f64], target: usize) -> (Vec<f64>, f64, f64) {
    let max = present(scores, target).map(|class| scores[class]).fold(f64::NEG_INFINITY, f64::max);
    let mut shares = vec![0.0; scores.len()];
    for class in present(scores, target) {
        shares[class] = if scores[class] == max { 1.0 } else { (scores[class] - max).exp() };
    }
    let total: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
    (shares, max, max + total.ln())
}

/// `lambda LSE^2` where the target's probability is 0 (then the rivals' is 1) or 1.
fn add_z_loss(lambda: f64, lse: f64, shares: &[f64], loss: &mut f64, slopes: &mut [f64], target: usize) {
    let target_wins = slopes[target] == 0.0;
    *loss += lambda * lse * lse;
    let slope = 2.0 * lambda * lse;
    if target_wins {
        slopes[target] += slope;
        return;
    }
    for (class, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        slopes[class] += slope * share;
    }
}

/// Label smoothing: each class that takes part, the target among them, is given `eps / C`.
fn smooth(label_smoothing: f64, scores: &[f64], loss: &mut f64, slopes: &mut [f64], target: usize) {
    let rivals: Vec<usize> = present(scores, target).collect();
    let share = label_smoothing / (rivals.len() as f64 + 1.0);
    *loss = f64::INFINITY;
    slopes[target] += share * rivals.len() as f64;
    for class in rivals {
        slopes[class] -= share;
    }
}
