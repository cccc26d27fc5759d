//! A head on a device that is not the core's, some rows at a time: the scores of all rows and all classes, and what
//! differentiation keeps of them, would be many times larger than embeddings and prototypes.
//!
//! Each chunk is differentiated at once, from leaves of its own. The loss that is given back has that value and those
//! slopes: `L' = L + sum (p - p') g_p`, `p'` and `g_p` constants. It may be multiplied by any number, so a reduction to one
//! number is needed; and rows must not know of each other, so losses with a state and terms on the norms are computed whole.

use super::rows::{Problem, forward};
use crate::inputs::{Host, HostTargets, MarginOutput, Wanted};
use crate::prepared::{Answer, Learned, Operands};
use burn::tensor::Tensor;
use ndarray::{Array1, ArrayView2, s};
use softmargin::{Reduction, Result};
use std::ops::Range;

/// Scores that are composed at once: about thirty matrices of that size live at a time.
const MOST_SCORES: usize = 1 << 22;

/// The loss of a head in chunks of rows; nothing where it is to be computed whole.
pub(crate) fn forward_in_chunks(operands: &Operands, problem: &Problem<'_>, wanted: Wanted) -> Result<Option<Answer>> {
    let Operands::Head { embeddings, weight, bias, geometry, sub_centers } = operands else { return Ok(None) };
    let ([rows, _], [prototypes, _]) = (embeddings.dims(), weight.dims());
    let rows_at_a_time = (MOST_SCORES / prototypes.max(1)).max(1);
    let loss = problem.loss;
    let apart = loss.initial_state().is_none() && loss.spec().regularizer.is_none();
    let one_number = problem.reduction != Reduction::None;
    if rows <= rows_at_a_time || !apart || !one_number || wanted == Wanted::Scores || !embeddings.is_autodiff() {
        return Ok(None);
    }
    // Checked as a whole first: a message has the number of the row in the batch.
    let zero = ArrayView2::from_shape((1, 1), &[0.0]).expect("one number makes a matrix of one");
    let scores = zero.broadcast((rows, loss.num_classes())).expect("a single number takes any shape");
    let norms = Array1::zeros(rows.max(prototypes));
    let mut batch = problem.host.batch(scores, None, None);
    if loss.needs_embedding_norms() {
        batch = batch.with_embedding_norms(norms.slice(s![..rows]));
    }
    if loss.needs_weight_norms() {
        batch = batch.with_weight_norms(norms.slice(s![..prototypes]));
    }
    let total: f64 = loss.row_weights(&batch)?.iter().sum();
    let factor = match problem.reduction {
        Reduction::Sum | Reduction::None => 1.0,
        Reduction::Mean if total == 0.0 => 0.0,
        Reduction::Mean | Reduction::MeanOrNan => 1.0 / total,
    };
    if total == 0.0 {
        // The mean of nothing is answered where that is done for any batch.
        return Ok(None);
    }

    let mut sum = Sum::of([Some(flat(weight)), bias.clone(), problem.learned.scale.clone()]);
    let (mut value, mut top, mut of_embeddings) = (None, Vec::new(), Vec::new());
    for first in (0..rows).step_by(rows_at_a_time) {
        let range = first..rows.min(first + rows_at_a_time);
        let leaf = embeddings.clone().slice([range.clone()]).detach().require_grad();
        let [of_weight, of_bias, of_scale] = sum.leaves();
        let part = Operands::Head {
            geometry: *geometry,
            sub_centers: *sub_centers,
            embeddings: leaf.clone(),
            weight: of_weight.clone().expect("a head has prototypes").reshape(weight.dims()),
            bias: of_bias.clone(),
        };
        let host = rows_of(problem.host, range);
        let learned = Learned { scale: of_scale.clone(), radius: None };
        let of_part = Problem { loss, state: None, trains: false, host: &host, learned, reduction: Reduction::Sum };
        let MarginOutput { loss: of_rows, scores } = forward(part, &of_part)?.output;
        if wanted == Wanted::Top {
            top.extend(scores.argmax(1).into_data().iter::<i64>());
        }
        let of_rows = of_rows.mul_scalar(factor);
        let gradients = of_rows.clone().backward();
        of_embeddings.push(Tensor::from_inner(leaf.grad(&gradients).expect("the loss depends on its embeddings")));
        sum.add([of_weight, of_bias, of_scale].map(|leaf| leaf.and_then(|leaf| leaf.grad(&gradients))));
        let of_rows = of_rows.detach();
        value = Some(match value {
            None => of_rows,
            Some(value) => value + of_rows,
        });
    }
    let slopes: Tensor<2> = Tensor::cat(of_embeddings, 0);
    let mut loss = value.expect("there are rows") + along(flat(embeddings), slopes.flatten(0, 1));
    for (parameter, slope) in
        [Some(flat(weight)), bias.clone(), problem.learned.scale.clone()].into_iter().zip(sum.sums)
    {
        if let (Some(parameter), Some(slope)) = (parameter, slope) {
            loss = loss + along(parameter, slope);
        }
    }
    let scores = embeddings.clone().detach().slice([0..1, 0..1]);
    Ok(Some(Answer { output: MarginOutput { loss, scores }, top: (wanted == Wanted::Top).then_some(top), state: None }))
}

/// `sum (p - p') g`: 0, with slope `g`.
fn along(parameter: Tensor<1>, slope: Tensor<1>) -> Tensor<1> {
    ((parameter.clone() - parameter.detach()) * slope).sum()
}

fn flat(matrix: &Tensor<2>) -> Tensor<1> {
    matrix.clone().flatten(0, 1)
}

/// Parameters that all chunks share, and the sums of their gradients.
struct Sum {
    parameters: [Option<Tensor<1>>; 3],
    sums: [Option<Tensor<1>>; 3],
}

impl Sum {
    fn of(parameters: [Option<Tensor<1>>; 3]) -> Self {
        Self { parameters, sums: [None, None, None] }
    }

    fn leaves(&self) -> [Option<Tensor<1>>; 3] {
        self.parameters.clone().map(|parameter| parameter.map(|parameter| parameter.detach().require_grad()))
    }

    fn add(&mut self, gradients: [Option<Tensor<1>>; 3]) {
        for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
            let gradient = gradient.map(Tensor::from_inner);
            *sum = match (sum.take(), gradient) {
                (Some(sum), Some(gradient)) => Some(sum + gradient),
                (sum, gradient) => sum.or(gradient),
            };
        }
    }
}

/// Some rows of what was read back.
fn rows_of(host: &Host<f64>, range: Range<usize>) -> Host<f64> {
    let part = |values: &Array1<f64>| values.slice(s![range.clone()]).to_owned();
    Host {
        targets: match &host.targets {
            HostTargets::Classes(classes) => HostTargets::Classes(classes.slice(s![range.clone()]).to_owned()),
            HostTargets::Distributions(rows) => {
                HostTargets::Distributions(rows.slice(s![range.clone(), ..]).to_owned())
            }
        },
        sample_weights: host.sample_weights.as_ref().map(part),
        margins: host.margins.as_ref().map(part),
    }
}
