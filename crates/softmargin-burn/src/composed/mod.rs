//! The loss composed of tensor operations, for any device and precision.
//!
//! The device computes all arrays of size N x C: scores and two sweeps over them. The [`rows`](softmargin::rows) of the
//! core crate compute everything of size N, in f64 on the host:
//!
//! ```text
//! device  scores, norms, by differentiable operations        geometry.rs
//! host    <- scores of the targets, norms, scale, radius     (first read-back)
//!         state, plan, targets under their margins           batch.rs
//! device  accumulators over the negatives                    sweeps.rs, negatives.rs
//! host    <- accumulators                                    (second read-back)
//!         outcomes of the rows, totals                       batch.rs
//! device  derivatives with respect to the scores             sweeps.rs
//! ```
//!
//! The result is a constant plus `z g - (z g)'`, where `g` is the derivative with respect to a tensor `z` and `'`
//! detaches, so it has the computed value and derivatives. `chunks.rs` computes a head with many scores in chunks.

mod batch;
mod chunks;
mod geometry;
mod negatives;
mod sweeps;

pub(crate) use batch::forward;
pub(crate) use geometry::{scaled, scores};

use burn::tensor::{DType, Int, Tensor, TensorData};
use softmargin::{Error, ErrorKind};

/// Returns values as a column (N, 1), on the device and in the precision of `like`.
fn column(values: Vec<f64>, like: &Tensor<2>) -> Tensor<2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), (&like.device(), like.dtype()))
}

/// Returns the numbers of the classes in every row (N, C).
fn class_numbers(like: &Tensor<2>) -> Tensor<2, Int> {
    let [rows, classes] = like.dims();
    let numbers = Tensor::<1, Int>::arange(0..signed(classes), &like.device());
    numbers.unsqueeze_dim::<2>(0).expand([rows, classes])
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns the class of the largest score of each row (N, 1), the first on ties on every device.
fn first_maximum(scores: Tensor<2>) -> Tensor<2, Int> {
    let [rows, classes] = scores.dims();
    let scores = constant(scores);
    let largest = scores.clone().max_dim(1).expand([rows, classes]);
    let others = scores.clone().equal(largest).bool_not();
    // A row with NaN has no largest score. Any class may be returned, since its loss is NaN.
    class_numbers(&scores).mask_fill(others, signed(classes) - 1).min_dim(1)
}

/// Returns the same values outside the autodiff graph. Unlike `detach`, it also stops tracking a leaf.
fn constant<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor.inner() } else { tensor }
}

/// Returns the same values in a precision that is sufficient for sums: f32 or f64.
fn wide<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.dtype() == DType::F64 { tensor } else { tensor.cast(DType::F32) }
}

fn shape_error(subject: &str, expected: String, found: String) -> Error {
    Error::new(ErrorKind::Shape, subject, expected, found, "give arrays whose shapes agree")
}

/// Returns the least finite number of a tensor's precision. It replaces minus infinity, which some shaders lack.
fn least_number(like: &Tensor<2>) -> f64 {
    like.dtype().finfo().map_or(f64::from(f32::MIN), |about| about.min)
}
