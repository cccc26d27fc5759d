//! From scores to the loss of a batch.

use super::comparison::{Rows, losses, smooth_gap, softplus};
use super::margin::{Shift, Target, plain_shift, shift};
use super::negatives;
use super::regularizer::{Term, term};
use super::{Factor, class_numbers, column, first_maximum, geometry, least_number, mask, not_composed, signed};
use crate::inputs::{Host, HostTargets, MarginOutput};
use crate::prepared::{Answer, Learned, Operands};
use burn::tensor::{Int, Tensor, TensorData};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use softmargin::{Batch, Comparison, Loss, LossState, Margin, Negatives, Reduction, Result, RowMargins, SmoothGate};

const BROADCASTS: &str = "a single number takes any shape";

/// A loss on a batch, the scores apart.
pub(crate) struct Problem<'a> {
    pub(crate) loss: &'a Loss,
    pub(crate) state: Option<&'a LossState>,
    /// Whether the state takes the batch in before the loss is computed with it.
    pub(crate) trains: bool,
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

pub(crate) fn forward(operands: Operands, problem: &Problem<'_>) -> Result<Answer> {
    let loss = problem.loss;
    let scored = match operands {
        Operands::Head { geometry, sub_centers, embeddings, weight, bias } => Scores {
            embedding_norms: loss.needs_embedding_norms().then(|| geometry::norms(embeddings.clone())),
            weight_norms: loss.needs_weight_norms().then(|| geometry::norms(weight.clone())),
            scores: geometry::scores(geometry, sub_centers, embeddings, weight, bias)?,
        },
        Operands::Scores { scores, embedding_norms, weight_norms } => Scores {
            scores,
            embedding_norms: embedding_norms.map(|norms| norms.unsqueeze_dim(1)),
            weight_norms: weight_norms.map(|norms| norms.unsqueeze_dim(1)),
        },
    };
    let norms = problem.host_norms(&scored);
    let state = problem.next_state(&scored, &norms)?;
    let problem = Problem { state: state.as_ref(), learned: problem.learned.clone(), ..*problem };
    let checked = problem.checked(&scored, &norms)?;
    let scores = scored.scores.clone().detach();
    let output = MarginOutput { loss: problem.total(scored, &checked)?, scores };
    Ok(Answer { output, top: None, state })
}

/// The norms (N) and (C) that the loss looks at, for the core's checks; zeros where it need not know them.
struct HostNorms {
    embeddings: Option<Array1<f64>>,
    weights: Option<Array1<f64>>,
}

/// What the core says of the rows, without their scores.
struct Checked {
    weights: Vec<f64>,
    values: RowMargins,
}

impl Problem<'_> {
    /// The state once it has taken the batch in; only what it looks at is read back from the device.
    fn next_state(&self, scored: &Scores, norms: &HostNorms) -> Result<Option<LossState>> {
        let mut state = self.state.cloned();
        if let (true, Some(state)) = (self.trains, &mut state) {
            let target_scores = match self.loss.spec().negatives {
                Negatives::Curricular { .. } => self.target_scores(&scored.scores),
                _ => Array2::zeros((scored.scores.dims()[0], 1)),
            };
            let scores = target_scores.broadcast(scored.scores.dims()).expect(BROADCASTS);
            self.loss.update(state, &self.batch(scores, norms))?;
        }
        Ok(state)
    }

    /// (N, 1): each row's score of its class; that of the first class where a label is none, which is refused.
    fn target_scores(&self, scores: &Tensor<2>) -> Array2<f64> {
        let [rows, classes] = scores.dims();
        let own: Vec<i64> = match &self.host.targets {
            HostTargets::Classes(labels) if labels.len() == rows && classes > 0 => labels
                .iter()
                .map(|&label| self.class(label))
                .map(|class| if (0..signed(classes)).contains(&class) { class } else { 0 })
                .collect(),
            _ => return Array2::zeros((rows, 1)),
        };
        let own: Tensor<2, Int> = Tensor::from_data(TensorData::new(own, [rows, 1]), &scores.device());
        read_column(scores.clone().gather(1, own)).insert_axis(Axis(1))
    }

    /// Checks all that the core checks without looking at scores that lie on the device.
    fn checked(&self, scored: &Scores, norms: &HostNorms) -> Result<Checked> {
        let scores = ArrayView2::from_shape((1, 1), &[0.0]).expect("one number makes a matrix of one");
        let scores = scores.broadcast(scored.scores.dims()).expect(BROADCASTS);
        let batch = self.batch(scores, norms);
        Ok(Checked { weights: self.loss.row_weights(&batch)?, values: self.loss.row_margins(&batch)? })
    }

    /// Norms are read back only where margin values follow them: once a batch, because it waits for the device.
    fn host_norms(&self, scored: &Scores) -> HostNorms {
        let zeros = |norms: &Tensor<2>| Array1::zeros(norms.dims()[0]);
        let from_norm = self.loss.spec().margin.is_from_norm();
        let known = |norms: &Tensor<2>| if from_norm { read_column(norms.clone()) } else { zeros(norms) };
        HostNorms {
            embeddings: scored.embedding_norms.as_ref().map(known),
            weights: scored.weight_norms.as_ref().map(zeros),
        }
    }

    /// The batch of these scores.
    fn batch<'b>(&'b self, scores: ArrayView2<'b, f64>, norms: &'b HostNorms) -> Batch<'b, f64> {
        let mut batch = self.host.batch(scores, None, self.state);
        if let Some(norms) = &norms.embeddings {
            batch = batch.with_embedding_norms(norms.view());
        }
        if let Some(norms) = &norms.weights {
            batch = batch.with_weight_norms(norms.view());
        }
        batch
    }

    /// The losses of the rows, reduced.
    fn total(&self, scored: Scores, checked: &Checked) -> Result<Tensor<1>> {
        let weights = &checked.weights;
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
                Some(classes) => self.against_classes(scores.clone(), classes, &scored, &checked.values)?,
                None => self.against_distributions(scores.clone())?,
            }
        };
        let term = match (self.loss.spec().regularizer, scored.embedding_norms) {
            (Some(regularizer), Some(norms)) => {
                Some(term(regularizer, norms, self.learned.radius.clone(), scores, targets)?)
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
        values: &RowMargins,
    ) -> Result<Tensor<2>> {
        let spec = self.loss.spec();
        let own = class_numbers(&scores).equal(classes.clone().expand(scores.dims()));
        // A class of score minus infinity is out. Its score is made finite: infinity times a slope of 0 is NaN.
        let out = scores.clone().detach().lower_elem(least_number(&scores));
        let scores = scores.mask_fill(out.clone().bool_and(own.clone().bool_not()), 0.0);
        let target = scores.clone().gather(1, classes.clone());
        let of_target = Target {
            score: target.clone(),
            norm: self.kept_norm(scored, classes),
            embedding_norm: scored.embedding_norms.clone().filter(|_| spec.margin.is_from_norm()),
            values,
            state: self.state,
        };
        let negatives = own.bool_or(out).bool_not();
        let scale = Factor::of(self.loss, self.learned.scale.clone());
        let rows = Rows { scores, negatives, target, shift: shift(&spec.margin, &of_target), scale };
        let plain = || Rows { shift: plain_shift(&spec.margin, &of_target), ..rows.clone() };
        let scores = negatives::modified(spec.negatives, &rows, plain, self.state)?;
        Ok(losses(spec.comparison, &Rows { scores, ..rows }))
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
            negatives: present.clone().bool_and(own.bool_not()),
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

fn read_column(column: Tensor<2>) -> Array1<f64> {
    column.into_data().iter::<f64>().collect()
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
