//! Terms on the norms of the embeddings.

use super::{first_maximum, not_composed, with_slope};
use burn::tensor::{Int, Tensor};
use softmargin::{Regularizer, Result};

/// The term of every row (N, 1), and which rows it concerns: 1 or 0 (N, 1).
pub(super) struct Term {
    pub(super) values: Tensor<2>,
    pub(super) concerned: Tensor<2>,
}

/// `classes` (N, 1) are the right ones.
pub(super) fn term(
    regularizer: Regularizer,
    norms: Tensor<2>,
    radius: Option<Tensor<1>>,
    scores: Tensor<2>,
    classes: Option<Tensor<2, Int>>,
) -> Result<Term> {
    match (regularizer, classes) {
        (Regularizer::FeatureIncay { weight }, Some(classes)) => {
            let correct = first_maximum(scores).equal(classes);
            let vanished = norms.clone().detach().equal_elem(0.0);
            let inverse = norms.clone().mask_fill(vanished.clone(), 1.0).recip();
            let values = inverse.square().mul_scalar(weight).mask_fill(vanished, 0.0);
            let concerned = norms.zeros_like().mask_fill(correct, 1.0);
            Ok(Term { values: values * concerned.clone(), concerned })
        }
        (Regularizer::Ring { weight, radius: start }, _) => {
            let off = match radius {
                Some(radius) => norms.clone() - radius.unsqueeze_dim::<2>(0),
                None => norms.clone().sub_scalar(start),
            };
            Ok(Term { values: off.square().mul_scalar(weight / 2.0), concerned: norms.ones_like() })
        }
        (Regularizer::Magnitude { weight, low, high }, _) => {
            let norm = norms.clone().detach();
            let clamped = norm.clone().clamp(low, high);
            let inside = norm.clone().equal(clamped.clone());
            let inside = inside.bool_and(norm.clone().greater_elem(low)).bool_and(norm.lower_elem(high));
            let value = clamped.clone().mul_scalar(1.0 / (high * high)) + clamped.clone().recip();
            // 1 / high^2 - 1 / a^2, without the difference of what is nearly equal
            let apart = clamped.clone().sub_scalar(high) * clamped.clone().add_scalar(high);
            let slope = (apart / clamped.square()).mul_scalar(1.0 / (high * high));
            let slope = slope.mask_fill(inside.bool_not(), 0.0);
            let values = with_slope(value.mul_scalar(weight), slope.mul_scalar(weight), norms.clone());
            Ok(Term { values, concerned: norms.ones_like() })
        }
        _ => Err(not_composed("regularizer", "a term of another kind")),
    }
}
