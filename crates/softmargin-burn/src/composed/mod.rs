//! The loss composed of tensor operations, for any device and precision.
//!
//! The device computes what has a value for each class: scores and two sweeps over them. Everything of size N is computed by
//! the [`rows`](softmargin::rows) of the core crate, in f64 on the host:
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
//! The result is a constant plus `z g - (z g)'`, where `g` is the derivative with respect to a tensor `z` and `'` detaches:
//! it has the value and the derivatives that were computed. Heads with many scores compute some rows at a time (`chunks.rs`).

mod batch;
mod chunks;
mod geometry;
mod negatives;
mod sweeps;

pub(crate) use batch::forward;
pub(crate) use geometry::{scaled, scores};

use burn::tensor::{DType, Int, Tensor, TensorData};
use softmargin::{Error, ErrorKind};

/// A column (N, 1) of numbers, on the device and in the precision of a tensor.
fn column(values: Vec<f64>, like: &Tensor<2>) -> Tensor<2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), (&like.device(), like.dtype()))
}

/// The numbers of the classes, in every row (N, C).
fn class_numbers(like: &Tensor<2>) -> Tensor<2, Int> {
    let [rows, classes] = like.dims();
    let numbers = Tensor::<1, Int>::arange(0..signed(classes), &like.device());
    numbers.unsqueeze_dim::<2>(0).expand([rows, classes])
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The first of the largest scores of each row (N, 1), whatever the device does on ties.
fn first_maximum(scores: Tensor<2>) -> Tensor<2, Int> {
    let [rows, classes] = scores.dims();
    let scores = constant(scores);
    let largest = scores.clone().max_dim(1).expand([rows, classes]);
    let others = scores.clone().equal(largest).bool_not();
    // A row of NaN has no largest: any class will do, its loss is NaN.
    class_numbers(&scores).mask_fill(others, signed(classes) - 1).min_dim(1)
}

/// The same values outside the autodiff graph. Unlike `detach`, which leaves a leaf a leaf, it stops all tracking.
fn constant<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor.inner() } else { tensor }
}

/// The same in a precision that sums can be taken in.
fn wide<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.dtype() == DType::F64 { tensor } else { tensor.cast(DType::F32) }
}

fn shape_error(subject: &str, expected: String, found: String) -> Error {
    Error::new(ErrorKind::Shape, subject, expected, found, "give arrays whose shapes agree")
}

/// The least finite number of a tensor's precision. It stands for minus infinity, which some shaders do not know.
fn least_number(like: &Tensor<2>) -> f64 {
    like.dtype().finfo().map_or(f64::from(f32::MIN), |about| about.min)
}
