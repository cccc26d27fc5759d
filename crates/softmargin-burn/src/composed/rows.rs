//! From scores to the loss of a batch.

use super::comparison::{Rows, losses, smooth_gap, softplus};
use super::margin::{Shift, Target, shift};
use super::regulariser::{Term, term};
use super::{Factor, class_numbers, column, first_maximum, geometry, least_number, mask, not_composed};
use crate::inputs::{Host, HostTargets, MarginOutput};
use crate::prepared::{Learned, Operands};
use burn::tensor::{Int, Tensor, TensorData};
use ndarray::{Array1, ArrayView1};
use softmargin::{Comparison, Loss, LossState, Margin, Reduction, Result, Rivals, SmoothGate};

const BROADCASTS: &str = "a single number takes any shape";

/// A loss on a batch, the scores apart.
pub(crate) struct Problem<'a> {
    pub(crate) loss: &'a Loss,
    pub(crate) state: Option<&'a LossState>,
    pub(crate) host: &'a Host<f64>,
    pub(crate) learned: Learned,
    pub(crate) reduction: Reduction,
}

/// Scores (N, C), and norms (N, 1) and (C, 1) where the loss looks at them.
struct Scores {
    scores: Tensor<2>,
    embedding_norms: Option<Tensor<2>>,
    weight_norms: Option<Tensor<2>>,
}

pub(crate) fn forward(operands: Operands, problem: &Problem<'_>) -> Result<MarginOutput> {
    let loss = problem.loss;
    let scored = match operands {
        Operands::Head { geometry, embeddings, weight, bias } => Scores {
            embedding_norms: loss.needs_embedding_norms().then(|| geometry::norms(embeddings.clone())),
            weight_norms: loss.needs_weight_norms().then(|| geometry::norms(weight.clone())),
            scores: geometry::scores(geometry, embeddings, weight, bias)?,
        },
        Operands::Scores { scores, embedding_norms, weight_norms } => Scores {
            scores,
            embedding_norms: embedding_norms.map(|norms| norms.unsqueeze_dim(1)),
            weight_norms: weight_norms.map(|norms| norms.unsqueeze_dim(1)),
        },
    };
    let weights = problem.row_weights(&scored)?;
    let scores = scored.scores.clone().detach();
    Ok(MarginOutput { loss: problem.total(scored, &weights)?, scores })
}

impl Problem<'_> {
    /// Checks all that the core checks without looking at numbers that lie on the device.
    fn row_weights(&self, scored: &Scores) -> Result<Vec<f64>> {
        let zero = ArrayView1::from(&[0.0_f64]);
        let [rows, classes] = scored.scores.dims();
        let zeros = |length: usize| zero.broadcast(length).expect(BROADCASTS);
        let scores = zero.broadcast((rows, classes)).expect(BROADCASTS);
        let mut batch = self.host.batch(scores, None, self.state);
        if let Some(norms) = &scored.embedding_norms {
            batch = batch.with_embedding_norms(zeros(norms.dims()[0]));
        }
        if let Some(norms) = &scored.weight_norms {
            batch = batch.with_weight_norms(zeros(norms.dims()[0]));
        }
        self.loss.row_weights(&batch)
    }

    /// The losses of the rows, reduced.
    fn total(&self, scored: Scores, weights: &[f64]) -> Result<Tensor<1>> {
        let [count, classes] = scored.scores.dims();
        let weight: f64 = weights.iter().sum();
        if count == 0 {
            return Ok(self.of_nothing(&scored.scores));
        }
        let scores = sound(scored.scores.clone(), weights);
        let column_of_weights = column(weights, &scores);
        let targets = self.targets(&scores);
        let losses = if classes == 1 {
            // Nothing to be compared with; the loss still stands at the end of its graph.
            scores.clone().mul_scalar(0.0)
        } else {
            match &targets {
                Some(classes) => self.against_classes(scores.clone(), classes, &scored, weights)?,
                None => self.against_distributions(scores.clone())?,
            }
        };
        let term = match (self.loss.spec().regulariser, scored.embedding_norms) {
            (Some(regulariser), Some(norms)) => {
                Some(term(regulariser, norms, self.learned.radius.clone(), scores, targets)?)
            }
            _ => None,
        };
        Ok(self.reduce(losses, term, column_of_weights, weight))
    }

    /// A batch without rows.
    fn of_nothing(&self, scores: &Tensor<2>) -> Tensor<1> {
        let (length, value) = match self.reduction {
            Reduction::None => (0, 0.0),
            Reduction::MeanOrNan => (1, f64::NAN),
            Reduction::Sum | Reduction::Mean => (1, 0.0),
        };
        let data = TensorData::new(vec![value; length], [length]);
        let nothing: Tensor<1> = Tensor::from_data(data, (&scores.device(), scores.dtype()));
        // A leaf of its own, so that backward has where to start.
        if scores.is_autodiff() { nothing.require_grad() } else { nothing }
    }

    fn reduce(&self, losses: Tensor<2>, term: Option<Term>, weights: Tensor<2>, weight: f64) -> Tensor<1> {
        let mean = match self.reduction {
            Reduction::None => {
                let losses = match term {
                    Some(term) => losses + term.values,
                    None => losses,
                };
                return (losses * weights).squeeze_dim(1);
            }
            Reduction::Sum => false,
            Reduction::Mean | Reduction::MeanOrNan => true,
        };
        let kept_nothing = weight == 0.0;
        let mut total = (losses * weights.clone()).sum();
        if mean && !kept_nothing {
            total = total.mul_scalar(1.0 / weight);
        }
        if let Some(term) = term {
            let sum = (term.values * weights.clone()).sum();
            let concerned = (term.concerned * weights).sum();
            let nobody = concerned.clone().equal_elem(0.0);
            total = total + if mean { sum / concerned.mask_fill(nobody, 1.0) } else { sum };
        }
        if kept_nothing && self.reduction == Reduction::MeanOrNan { total.add_scalar(f64::NAN) } else { total }
    }

    /// The class of each row (N, 1), 0 for ignored ones; nothing for distributions.
    fn targets(&self, like: &Tensor<2>) -> Option<Tensor<2, Int>> {
        let HostTargets::Classes(classes) = &self.host.targets else { return None };
        let classes: Vec<i64> = classes.iter().map(|&class| self.class(class)).collect();
        let rows = classes.len();
        Some(Tensor::from_data(TensorData::new(classes, [rows, 1]), &like.device()))
    }

    fn class(&self, label: i64) -> i64 {
        if self.loss.spec().ignored_label == Some(label) { 0 } else { label }
    }

    fn against_classes(
        &self,
        scores: Tensor<2>,
        classes: &Tensor<2, Int>,
        scored: &Scores,
        weights: &[f64],
    ) -> Result<Tensor<2>> {
        let spec = self.loss.spec();
        if spec.rivals != Rivals::Plain {
            return Err(not_composed("rivals", "a kind that is not \"plain\""));
        }
        let own = class_numbers(&scores).equal(classes.clone().expand(scores.dims()));
        // A class of score minus infinity is out. Its score is made finite: infinity times a slope of 0 is NaN.
        let out = scores.clone().detach().lower_elem(least_number(&scores));
        let scores = scores.mask_fill(out.clone().bool_and(own.clone().bool_not()), 0.0);
        let target = scores.clone().gather(1, classes.clone());
        let host_classes = self.host_classes();
        let amounts = self.host.margins.as_ref().map(|margins| kept(margins, weights));
        let shift = shift(
            &spec.margin,
            &Target {
                score: target.clone(),
                norm: self.kept_norm(scored, classes),
                classes: &host_classes,
                amounts: amounts.as_deref(),
                state: self.state,
            },
        )?;
        let rivals = own.bool_or(out).bool_not();
        let scale = Factor::of(self.loss, self.learned.scale.clone());
        Ok(losses(spec.comparison, &Rows { scores, rivals, target, shift, scale }))
    }

    fn host_classes(&self) -> Vec<usize> {
        match &self.host.targets {
            HostTargets::Classes(classes) => {
                classes.iter().map(|&class| usize::try_from(self.class(class)).unwrap_or_default()).collect()
            }
            HostTargets::Distributions(_) => Vec::new(),
        }
    }

    /// The product of the norms that the scores keep (N, 1), for margins on the angle.
    fn kept_norm(&self, scored: &Scores, classes: &Tensor<2, Int>) -> Option<Tensor<2>> {
        let angular = matches!(self.loss.spec().margin, Margin::Angle(_));
        if !angular || self.loss.spec().geometry.is_bounded() {
            return None;
        }
        let norm = scored.embedding_norms.clone()?;
        Some(match &scored.weight_norms {
            Some(norms) => norm * norms.clone().gather(0, classes.clone()),
            None => norm,
        })
    }

    /// Softmax cross-entropy against a distribution for each row, smoothed: `LSE_all(s z) - s sum P z`, in which the class
    /// of the largest score has the part of the target.
    fn against_distributions(&self, scores: Tensor<2>) -> Result<Tensor<2>> {
        let (
            Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } },
            HostTargets::Distributions(targets),
        ) = (self.loss.spec().comparison, &self.host.targets)
        else {
            return Err(not_composed("comparison", "one that takes no distributions"));
        };
        let data = TensorData::new(targets.iter().copied().collect::<Vec<f64>>(), scores.dims());
        let given: Tensor<2> = Tensor::from_data(data, (&scores.device(), scores.dtype()));
        let out = scores.clone().detach().lower_elem(least_number(&scores));
        let impossible = out.clone().bool_and(given.clone().greater_elem(0.0)).any_dim(1);
        let best = first_maximum(scores.clone());
        let scores = scores.mask_fill(out.clone(), 0.0);
        let present = out.bool_not();
        let own = class_numbers(&scores).equal(best.clone().expand(scores.dims()));
        let rows = Rows {
            target: scores.clone().gather(1, best),
            rivals: present.clone().bool_and(own.bool_not()),
            scores: scores.clone(),
            shift: Shift::default(),
            scale: Factor::of(self.loss, self.learned.scale.clone()),
        };
        let classes = scores.ones_like().mask_fill(present.clone().bool_not(), 0.0);
        let share = classes.clone() / classes.sum_dim(1).clamp_min(1.0);
        let expected = given.mul_scalar(1.0 - label_smoothing) + share.mul_scalar(label_smoothing);
        let behind = rows.scale.times(rows.target.clone() - scores.clone());
        let over = softplus(smooth_gap(&rows)).mask_fill(rows.alone(), 0.0);
        // What rounding leaves of 1 less the sum of a distribution, taken where it is exact.
        let missing: Vec<f64> =
            targets.rows().into_iter().map(|given| (1.0 - label_smoothing) * (1.0 - given.sum())).collect();
        let largest = rows.scale.times(rows.target.clone());
        let mut loss = over.clone() + (expected * behind).mask_fill(present.bool_not(), 0.0).sum_dim(1);
        loss = loss + largest.clone() * column(&missing, &scores);
        if z_loss > 0.0 {
            let log_sum_exp = largest + over;
            loss = loss + log_sum_exp.square().mul_scalar(z_loss);
        }
        Ok(loss.mask_fill(impossible, f64::INFINITY))
    }
}

/// The amounts of the rows that count; 0 for the others, whatever was given.
fn kept(amounts: &Array1<f64>, weights: &[f64]) -> Vec<f64> {
    amounts.iter().zip(weights).map(|(&amount, &weight)| if weight > 0.0 { amount } else { 0.0 }).collect()
}

/// Ignored rows without the infinities that a weight of 0 would turn into NaN. Their NaN stays, and shows in the loss: in
/// a head it is in the gradients anyway.
fn sound(scores: Tensor<2>, weights: &[f64]) -> Tensor<2> {
    let ignored: Vec<bool> = weights.iter().map(|&weight| weight == 0.0).collect();
    if !ignored.contains(&true) {
        return scores;
    }
    let ignored = mask(ignored, &scores).expand(scores.dims());
    let nan = scores.clone().detach().is_nan();
    scores.mask_fill(ignored.bool_and(nan.bool_not()), 0.0)
}
