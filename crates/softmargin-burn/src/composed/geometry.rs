//! Scores and norms, differentiated by Burn.

use super::{first_maximum, shape_error};
use crate::call::HeadOperands;
use burn::tensor::Tensor;
use softmargin::{Geometry, Loss, Result, Scale};

/// Computes the scores (N, C) of embeddings (N, D) and prototypes (C K, D), K per class.
pub(crate) fn scores(operands: HeadOperands) -> Result<Tensor<2>> {
    let HeadOperands { geometry, sub_centers, embeddings, weight, bias } = operands;
    check_shapes(&embeddings, &weight, bias.as_ref())?;
    let scores = of_prototypes(geometry, embeddings, weight, bias);
    Ok(if sub_centers > 1 { pooled(scores, sub_centers) } else { scores })
}

/// Computes scores times the scale, divided by the temperature, whose softmax gives the probabilities.
pub(crate) fn scaled(loss: &Loss, parameter: Option<Tensor<1>>, scores: Tensor<2>) -> Tensor<2> {
    // Burn rounds the derivative of a quotient by a number to f32, so the inverse multiplies.
    let inverse = 1.0 / loss.spec().geometry.temperature();
    match (loss.spec().scale, parameter) {
        (Scale::Learned { min, max, .. }, Some(parameter)) => {
            // The derivative continues past a bound, so that the parameter can return.
            let clamped = parameter.clone().detach().clamp(min, max);
            let scale = parameter.clone() - parameter.detach() + clamped;
            scores * scale.mul_scalar(inverse).unsqueeze_dim::<2>(0)
        }
        (scale, _) => scores.mul_scalar(scale.initial() * inverse),
    }
}

/// Returns the largest score of each class, the first on ties.
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
            // Rounding may carry a cosine past 1. The derivative is not changed.
            let excess = cosines.clone().detach() - cosines.clone().detach().clamp(-1.0, 1.0);
            cosines - excess
        }
    }
}

/// Computes the norms (N) of rows.
pub(super) fn norms(rows: Tensor<2>) -> Tensor<1> {
    Directed::of(rows).norm.squeeze_dim(1)
}

/// The directions and norms of rows.
struct Directed {
    direction: Tensor<2>,
    /// (N, 1)
    norm: Tensor<2>,
}

impl Directed {
    /// Divides by the largest element first, so that no square overflows or underflows. A row of zeros has direction 0,
    /// norm 0, and no gradient.
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

fn check_shapes(embeddings: &Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Result<()> {
    let ([_, width], [prototypes, found]) = (embeddings.dims(), weight.dims());
    if found != width {
        let expected = format!("(C, {width}), as wide as the embeddings");
        return Err(shape_error("weight", expected, format!("{:?}", (prototypes, found))));
    }
    match bias.map(|bias| bias.dims()[0]).filter(|length| *length != prototypes) {
        Some(length) => {
            let expected = format!("length {prototypes}, one per prototype");
            Err(shape_error("bias", expected, format!("one of length {length}")))
        }
        None => Ok(()),
    }
}
