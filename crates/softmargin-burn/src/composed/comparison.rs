//! How the target is set against the other classes: the loss of every row (N, 1).

use super::margin::Shift;
use super::{Factor, first_maximum, least_number};
use burn::tensor::activation::{relu, softplus_with_threshold};
use burn::tensor::{Bool, Tensor};
use softmargin::{Comparison, Gate, SmoothGate};

/// Past this `softplus(t)` is `t` in every precision.
const LARGE_GAP: f64 = 40.0;

/// The rows of a batch, as a comparison sees them.
#[derive(Clone)]
pub(super) struct Rows {
    /// (N, C); a class that is out has a finite score.
    pub(super) scores: Tensor<2>,
    /// (N, C): the classes that the target is compared with.
    pub(super) negatives: Tensor<2, Bool>,
    /// `z_y` (N, 1)
    pub(super) target: Tensor<2>,
    pub(super) shift: Shift,
    pub(super) scale: Factor,
}

impl Rows {
    /// `s z_j - u`. The difference of the scores is taken first: it is exact where they are close.
    pub(super) fn gap(&self, scores: Tensor<2>) -> Tensor<2> {
        let ahead = scores - self.target.clone();
        let ahead = match &self.shift.score {
            Some(shift) => ahead - shift.clone(),
            None => ahead,
        };
        let gap = self.scale.times(ahead);
        match &self.shift.logit {
            Some(margin) => gap + margin.clone(),
            None => gap,
        }
    }

    /// `u = s psi(z_y)` (N, 1)
    fn modified_target(&self) -> Tensor<2> {
        self.gap(self.target.zeros_like()).neg()
    }

    /// The sum over the negatives (N, 1).
    fn over_negatives(&self, values: Tensor<2>) -> Tensor<2> {
        values.mask_fill(self.negatives.clone().bool_not(), 0.0).sum_dim(1)
    }

    /// The scores of the negatives, the least number at all others; detached.
    fn negatives_alone(&self) -> Tensor<2> {
        self.scores.clone().detach().mask_fill(self.negatives.clone().bool_not(), least_number(&self.scores))
    }

    /// (N, 1): rows with no class to be compared with.
    pub(super) fn alone(&self) -> Tensor<2, Bool> {
        self.negatives.clone().any_dim(1).bool_not()
    }
}

/// The loss of every row, the weight of the row not applied.
pub(super) fn losses(comparison: Comparison, rows: &Rows) -> Tensor<2> {
    match comparison {
        Comparison::EachPair { gate } => rows.over_negatives(bent(gate, rows.gap(rows.scores.clone()))),
        Comparison::AgainstZero { gate } => {
            let own = bent(gate, rows.modified_target().neg());
            own + rows.over_negatives(bent(gate, rows.scale.times(rows.scores.clone())))
        }
        Comparison::Hardest { gate } => {
            let strongest = rows.scores.clone().gather(1, first_maximum(rows.negatives_alone()));
            bent(gate, rows.gap(strongest)).mask_fill(rows.alone(), 0.0)
        }
        Comparison::LogSumExp { gate } => smooth(gate, rows).mask_fill(rows.alone(), 0.0),
    }
}

fn bent(gate: Gate, gap: Tensor<2>) -> Tensor<2> {
    match gate {
        Gate::Relu => relu(gap),
        Gate::Softplus => softplus(gap),
        Gate::Identity => gap,
    }
}

pub(super) fn softplus(gap: Tensor<2>) -> Tensor<2> {
    softplus_with_threshold(gap, 1.0, LARGE_GAP)
}

/// `t = ln sum_{j != y} e^(s z_j) - u`; of no meaning in rows without negatives.
pub(super) fn smooth_gap(rows: &Rows) -> Tensor<2> {
    let alone = rows.alone();
    let largest = rows.negatives_alone().max_dim(1).mask_fill(alone.clone(), 0.0);
    let below = rows.scale.times(rows.scores.clone() - largest.clone());
    let exponentials = below.mask_fill(rows.negatives.clone().bool_not(), least_number(&rows.scores)).exp();
    rows.gap(largest) + exponentials.sum_dim(1).mask_fill(alone, 1.0).log()
}

/// `g(t)`, with the options of softmax cross-entropy.
fn smooth(gate: SmoothGate, rows: &Rows) -> Tensor<2> {
    let gap = smooth_gap(rows);
    let SmoothGate::Softplus { label_smoothing, z_loss } = gate else {
        let gate = if gate == SmoothGate::Relu { Gate::Relu } else { Gate::Identity };
        return bent(gate, gap);
    };
    let mut loss = softplus(gap.clone());
    if label_smoothing > 0.0 {
        let present = rows.over_negatives(rows.scores.ones_like()).add_scalar(1.0);
        let lead = rows.over_negatives(rows.gap(rows.scores.clone())).neg();
        loss = loss + (lead / present).mul_scalar(label_smoothing);
    }
    if z_loss > 0.0 {
        let log_sum_exp = rows.modified_target() + softplus(gap);
        loss = loss + log_sum_exp.square().mul_scalar(z_loss);
    }
    loss
}
