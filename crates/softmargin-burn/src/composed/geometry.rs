//! Scores and norms, differentiated by Burn.

use super::first_maximum;
use crate::call::HeadOperands;
use burn::tensor::Tensor;
use ndarray::{ArrayView1, ArrayView2};
use softmargin::{Geometry, Loss, Result, Scale};

/// Scores (N, C) of embeddings (N, D) against prototypes (C K, D), K for each class.
pub(crate) fn scores(operands: HeadOperands) -> Result<Tensor<2>> {
    let HeadOperands { geometry, sub_centers, embeddings, weight, bias } = operands;
    check_shapes(geometry, &embeddings, &weight, bias.as_ref())?;
    let scores = of_prototypes(geometry, embeddings, weight, bias);
    Ok(if sub_centers > 1 { pooled(scores, sub_centers) } else { scores })
}

/// Scores times the scale, divided by the temperature, for the softmax of probabilities.
pub(crate) fn scaled(loss: &Loss, parameter: Option<Tensor<1>>, scores: Tensor<2>) -> Tensor<2> {
    // Burn rounds the derivative of a quotient by a number to f32, so the inverse multiplies.
    let inverse = 1.0 / loss.spec().geometry.temperature();
    match (loss.spec().scale, parameter) {
        (Scale::Learned { min, max, .. }, Some(parameter)) => {
            // Past a bound the derivative continues, so that the parameter can come back.
            let clamped = parameter.clone().detach().clamp(min, max);
            let scale = parameter.clone() - parameter.detach() + clamped;
            scores * scale.mul_scalar(inverse).unsqueeze_dim::<2>(0)
        }
        (scale, _) => scores.mul_scalar(scale.initial() * inverse),
    }
}

/// The best of each class, the first on ties.
fn pooled(scores: Tensor<2>, sub_centers: usize) -> Tensor<2> {
    let [rows, prototypes] = scores.dims();
    let classes = prototypes / sub_centers;
    if rows == 0 {
        return scores.slice([0..0, 0..classes]);
    }
    let centers: Tensor<2> = scores.reshape([rows * classes, sub_centers]);
    let winners = first_maximum(centers.clone());
    // The other prototypes of the class must not hide a NaN.
    let nan = centers.clone().detach().is_nan().any_dim(1);
    centers.gather(1, winners).mask_fill(nan, f32::NAN).reshape([rows, classes])
}

fn of_prototypes(geometry: Geometry, embeddings: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    match geometry {
        Geometry::InnerProduct { .. } => {
            let scores = embeddings.matmul(weight.transpose());
            match bias {
                Some(bias) => scores + bias.unsqueeze_dim::<2>(0),
                None => scores,
            }
        }
        Geometry::UnitWeights => embeddings.matmul(Directed::of(weight).direction.transpose()),
        Geometry::Cosine => {
            let cosines = Directed::of(embeddings).direction.matmul(Directed::of(weight).direction.transpose());
            // Rounding may carry a cosine past 1; the derivative stays.
            let excess = cosines.clone().detach() - cosines.clone().detach().clamp(-1.0, 1.0);
            cosines - excess
        }
    }
}

/// The norms (N) of rows.
pub(super) fn norms(rows: Tensor<2>) -> Tensor<1> {
    Directed::of(rows).norm.squeeze_dim(1)
}

/// Rows as direction and norm.
struct Directed {
    direction: Tensor<2>,
    /// (N, 1)
    norm: Tensor<2>,
}

impl Directed {
    /// Divides by the largest element first, so that no square overflows or underflows. A row of zeros has direction 0, norm
    /// 0, and no gradient.
    fn of(rows: Tensor<2>) -> Self {
        let largest = rows.clone().detach().abs().max_dim(1);
        let vanished = largest.clone().equal_elem(0.0);
        let largest = largest.mask_fill(vanished.clone(), 1.0);
        let present = Tensor::ones_like(&largest).mask_fill(vanished.clone(), 0.0);
        let small = rows / largest.clone() * present;
        let length = small.clone().square().sum_dim(1).mask_fill(vanished.clone(), 1.0).sqrt();
        Self { direction: small / length.clone(), norm: (length * largest).mask_fill(vanished, 0.0) }
    }
}

/// The core's check, on views of a single number.
fn check_shapes(geometry: Geometry, x: &Tensor<2>, w: &Tensor<2>, bias: Option<&Tensor<1>>) -> Result<()> {
    let bias_fits = bias.is_none_or(|bias| bias.dims()[0] == w.dims()[0]);
    if x.dims()[1] == w.dims()[1] && bias_fits {
        return Ok(());
    }
    let zero = [0.0_f64];
    let zero: ArrayView1<'_, f64> = ArrayView1::from(&zero[..]);
    let matrix = |[rows, columns]: [usize; 2]| -> Option<ArrayView2<'_, f64>> { zero.broadcast((rows, columns)) };
    let (Some(x), Some(w)) = (matrix(x.dims()), matrix(w.dims())) else { return Ok(()) };
    let bias = bias.and_then(|bias| zero.broadcast(bias.dims()[0]));
    geometry.scores(x, w, bias).map(|_| ())
}
