//! The computation of the loss of a batch from its operands.

use super::chunks::{Attached, Scores};
use super::sweeps::{COLUMNS, Rows};
use super::{column, constant, first_maximum, geometry, shape_error, wide};
use crate::call::{Answer, Call, HostTargets, LearnedTensors, Operands, Wanted};
use burn::tensor::{DType, Int, Tensor, TensorData};
use ndarray::ArrayView1;
use softmargin::rows::{RowOutcome, RowPlan, Target};
use softmargin::{Error, ErrorKind, LossState, Real, Reduction, Result, RowInputs};
use std::ops::Range;

/// Computes the loss of a batch on any device.
pub(crate) fn forward(operands: Operands, learned: &LearnedTensors, call: &Call<f64>) -> Result<Answer> {
    let batch = ComposedBatch::new(&operands, learned, call)?;
    match operands.matrices()[0].dtype() {
        DType::F64 => batch.forward::<f64>(),
        _ => batch.forward::<f32>(),
    }
}

/// The tensors of a batch.
struct ComposedBatch<'a> {
    call: &'a Call<f64>,
    scores: Scores,
    /// The class of each row; 0 for a label that is no class, which is ignored or rejected.
    classes: Vec<i64>,
    embedding_norms: Option<Tensor<1>>,
    /// For a head, the norms of the targets' prototypes (N); else those that were given (C).
    weight_norms: Option<Tensor<1>>,
    is_head: bool,
    learned: &'a LearnedTensors,
}

/// The values of a batch that are read back before its sweeps.
struct Known {
    /// (N)
    target_scores: Vec<f64>,
    embedding_norms: Option<Vec<f64>>,
    weight_norms: Option<Vec<f64>>,
    scale: Option<f64>,
    radius: Option<f64>,
}

impl<'a> ComposedBatch<'a> {
    fn new(operands: &Operands, learned: &'a LearnedTensors, call: &'a Call<f64>) -> Result<Self> {
        let (scores, loss) = (Scores::of(operands, call)?, call.loss());
        let [rows, classes] = scores.dims();
        if classes != loss.num_classes() {
            let expected = format!("(N, {}), one column per class", loss.num_classes());
            return Err(shape_error("scores", expected, format!("{:?}", (rows, classes))));
        }
        let given = call.rows.inputs(None, None).count();
        if given != rows {
            return Err(shape_error("targets", format!("length {rows}, one per row"), format!("length {given}")));
        }
        let in_range =
            |label: &i64| if usize::try_from(*label).is_ok_and(|label| label < classes) { *label } else { 0 };
        let classes = match &call.rows.targets {
            HostTargets::Classes(labels) => labels.iter().map(in_range).collect(),
            HostTargets::Distributions(_) => vec![0; rows],
        };
        let (embedding_norms, weight_norms, is_head) = match operands {
            Operands::Head(head) => {
                let of_targets = || geometry::norms(head.weight.clone().select(0, integers(&classes, &head.weight)));
                let of_embeddings = loss.needs_embedding_norms().then(|| geometry::norms(head.embeddings.clone()));
                (of_embeddings, (loss.needs_weight_norms() && rows > 0).then(of_targets), true)
            }
            Operands::Scores { embedding_norms, weight_norms, .. } => {
                (embedding_norms.clone(), weight_norms.clone(), false)
            }
        };
        Ok(Self { call, scores, classes, embedding_norms, weight_norms, is_head, learned })
    }

    fn forward<F: Real>(&self) -> Result<Answer> {
        let Call { reduction, wanted, .. } = *self.call;
        let known = self.read_known()?;
        let state = self.next_state(&known)?;
        let plan = self.plan(&known, state.as_ref())?;
        let (mut outcomes, mut attached, mut top) = (Vec::new(), Attached::default(), Vec::new());
        for range in self.scores.ranges() {
            let chunk = self.scores.chunk(&range)?;
            let scores = wide(constant(chunk.scores.clone()));
            let score = |row: usize| known.target_scores[row];
            let targets: Vec<Target<F>> = range.clone().map(|row| plan.target(row, score(row))).collect();
            let rows = Rows { plan: &plan, first: range.start, targets: &targets };
            let sweep = rows.first_sweep(&scores, self.classes(&scores, &range), self.distributions(&scores, &range));
            let columns = read(sweep.columns.clone().flatten(0, 1));
            let columns = columns.chunks_exact(COLUMNS).map(|row| std::array::from_fn(|column| row[column]));
            outcomes.extend(columns.enumerate().map(|(index, columns)| {
                let mass = match &self.call.rows.targets {
                    HostTargets::Classes(_) => None,
                    HostTargets::Distributions(all) => Some(all.row(range.start + index).sum()),
                };
                rows.outcome(index, columns, mass)
            }));
            if chunk.scores.is_autodiff() {
                let masked = sweep.masked.clone();
                let gradient = rows.second_sweep(sweep, &outcomes[range.clone()], reduction);
                attached.add(chunk, masked, gradient);
            }
            if wanted == Wanted::Top {
                top.push(scores.argmax(1).squeeze_dim(1));
            }
        }
        let scores = (wanted == Wanted::Scores).then(|| self.like().clone().detach());
        let top = (wanted == Wanted::Top).then(|| match top.is_empty() {
            true => integers(&[], self.like()),
            false => Tensor::cat(top, 0),
        });
        Ok(Answer { loss: self.loss(&plan, &outcomes, attached), scores, top, state })
    }

    /// Returns the scores if they are whole, else a tensor of their device and precision.
    fn like(&self) -> &Tensor<2> {
        match &self.scores {
            Scores::Whole(scores) => scores,
            Scores::InChunks { operands, .. } => &operands.embeddings,
        }
    }

    /// Returns the class of each row (n, 1); for a distribution, the class of the largest score.
    fn classes(&self, scores: &Tensor<2>, rows: &Range<usize>) -> Tensor<2, Int> {
        match &self.call.rows.targets {
            HostTargets::Classes(_) => integers(&self.classes[rows.clone()], scores).unsqueeze_dim(1),
            HostTargets::Distributions(_) => first_maximum(scores.clone()),
        }
    }

    fn distributions(&self, scores: &Tensor<2>, rows: &Range<usize>) -> Option<Tensor<2>> {
        let HostTargets::Distributions(all) = &self.call.rows.targets else { return None };
        let values: Vec<f64> = all.slice(ndarray::s![rows.clone(), ..]).iter().copied().collect();
        let shape = [rows.len(), all.ncols()];
        Some(Tensor::from_data(TensorData::new(values, shape), (&scores.device(), scores.dtype())))
    }

    /// Reads back, in one transfer, all values that the host needs before the sweeps.
    fn read_known(&self) -> Result<Known> {
        let mut tensors = Vec::new();
        for range in self.scores.ranges() {
            let scores = wide(self.scores.constant(&range)?);
            let classes = self.classes(&scores, &range);
            tensors.push(scores.gather(1, classes).squeeze_dim(1));
        }
        let others = [&self.embedding_norms, &self.weight_norms, &self.learned.scale, &self.learned.radius];
        tensors.extend(others.into_iter().flatten().map(|tensor| wide(constant(tensor.clone()))));
        tensors.retain(|tensor: &Tensor<1>| tensor.dims()[0] > 0);
        let mut values = if tensors.is_empty() { Vec::new() } else { read(Tensor::cat(tensors, 0)) }.into_iter();
        let mut take = |count: usize| -> Vec<f64> { values.by_ref().take(count).collect() };
        let target_scores = take(self.scores.dims()[0]);
        let [embedding_norms, weight_norms, scale, radius] =
            others.map(|tensor| tensor.as_ref().map(|tensor| take(tensor.dims()[0])));
        let first = |values: Option<Vec<f64>>| values.and_then(|values| values.first().copied());
        Ok(Known { target_scores, embedding_norms, weight_norms, scale: first(scale), radius: first(radius) })
    }

    /// Returns the state, in training with its moving averages updated with the batch.
    fn next_state(&self, known: &Known) -> Result<Option<LossState>> {
        let mut state = self.call.state.clone();
        if let (true, Some(state)) = (self.call.trains, &mut state) {
            let inputs = self.inputs(known, None);
            self.call.loss().update_rows(state, &inputs, &known.target_scores)?;
        }
        Ok(state)
    }

    fn plan(&self, known: &Known, state: Option<&LossState>) -> Result<RowPlan> {
        let loss = self.call.loss();
        if loss.needs_weight_norms() && self.weight_norms.is_none() && !self.is_head {
            let expected = "to come with the batch: this loss needs it";
            let advice = "give the weight norms with the batch";
            return Err(Error::new(ErrorKind::Input, "weight norms", expected, "nothing", advice));
        }
        let mut plan = loss.plan(&self.inputs(known, state), self.call.learned(known.scale, known.radius))?;
        if let (true, Some(norms)) = (self.is_head, &known.weight_norms) {
            plan.set_target_norms(norms.iter().copied());
        }
        Ok(plan)
    }

    fn inputs<'b>(&'b self, known: &'b Known, state: Option<&'b LossState>) -> RowInputs<'b, f64> {
        let mut inputs = self.call.rows.inputs(None, state);
        if let Some(norms) = &known.embedding_norms {
            inputs = inputs.with_embedding_norms(ArrayView1::from(norms));
        }
        match &known.weight_norms {
            Some(norms) if !self.is_head => inputs.with_weight_norms(ArrayView1::from(norms)),
            _ => inputs,
        }
    }

    /// Returns the loss, attached to the graph of its operands.
    fn loss(&self, plan: &RowPlan, outcomes: &[RowOutcome], attached: Attached) -> Tensor<1> {
        let (like, of_rows) = (self.like(), self.call.reduction == Reduction::None);
        let totals = plan.totals(outcomes, self.call.reduction);
        let vector = |values: Vec<f64>| column(values, like).squeeze_dim::<1>(1);
        let value = vector(if of_rows { totals.rows.clone() } else { vec![totals.total] });
        if !like.is_autodiff() {
            return value;
        }
        if outcomes.is_empty() {
            // A leaf, so that backward has a node to start from.
            return value.require_grad();
        }
        let learned_slopes = match of_rows {
            true => [totals.scale_of_rows, totals.radius_of_rows],
            false => [vec![totals.scale], vec![totals.radius]],
        };
        let select =
            |norms: Tensor<1>| if self.is_head { norms } else { norms.select(0, integers(&self.classes, like)) };
        let target_norms = self.weight_norms.clone().map(select);
        let norms = [(&self.embedding_norms, totals.embedding_norms), (&target_norms, totals.target_norms)];
        let norms = norms.into_iter().filter_map(|(norms, slopes)| Some(norms.clone()? * vector(slopes?)));
        let rows = attached.finish(&self.scores).into_iter().chain(norms);
        let rows = rows.map(|rows| if of_rows { rows } else { rows.sum() });
        let learned = [&self.learned.scale, &self.learned.radius].into_iter().zip(learned_slopes);
        let learned = learned.filter_map(|(number, slopes)| Some(number.clone()? * vector(slopes)));
        rows.chain(learned).fold(value, |loss, term| loss + (term.clone() - term.detach()).cast(like.dtype()))
    }
}

fn read(values: Tensor<1>) -> Vec<f64> {
    values.into_data().iter::<f64>().collect()
}

fn integers(values: &[i64], like: &Tensor<2>) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &like.device())
}
