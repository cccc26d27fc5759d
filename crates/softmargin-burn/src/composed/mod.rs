//! The loss composed of tensor operations, for any device and precision; Burn differentiates it.
//!
//! Some things need care that automatic differentiation does not take by itself. A derivative with a pole (arc cosine,
//! square root) is written down: `value + slope (x - x')`, `x'` detached, has that value and that slope. Infinities are
//! masked before, not after, the operation whose derivative they would make NaN. Maxima that cancel are detached. And
//! tensors are multiplied by the inverse of a number, not divided by it: Burn takes that quotient's slope in `f32`.

mod chunked;
mod comparison;
mod geometry;
mod margin;
mod negatives;
mod regularizer;
mod rows;

pub(crate) use chunked::forward_in_chunks;
pub(crate) use geometry::scores;
pub(crate) use rows::{Problem, forward};

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use softmargin::{Error, ErrorKind, Loss, Scale};

/// What scores are multiplied by, temperature included.
#[derive(Clone, Debug)]
pub(crate) enum Factor {
    Number(f64),
    /// (1, 1)
    Learned(Box<Tensor<2>>),
}

impl Factor {
    pub(crate) fn of(loss: &Loss, parameter: Option<Tensor<1>>) -> Self {
        let temperature = loss.spec().geometry.temperature();
        match (loss.spec().scale, parameter) {
            (Scale::Learned { min, max, .. }, Some(parameter)) => {
                // Past a bound the slope goes on, so that the parameter can come back.
                let clamped = parameter.clone().detach().clamp(min, max);
                let scale = parameter.clone() - parameter.detach() + clamped;
                Self::Learned(Box::new(scale.mul_scalar(1.0 / temperature).unsqueeze_dim(0)))
            }
            (scale, _) => Self::Number(scale.initial() / temperature),
        }
    }

    pub(crate) fn times(&self, scores: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Number(scale) => scores.mul_scalar(*scale),
            Self::Learned(scale) => scores * (**scale).clone(),
        }
    }
}

/// Scores as the softmax of probabilities wants them.
pub(crate) fn scaled(loss: &Loss, scale: Option<Tensor<1>>, scores: Tensor<2>) -> Tensor<2> {
    Factor::of(loss, scale).times(scores)
}

/// A column (N, 1) of numbers, beside a tensor.
fn column(values: &[f64], like: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1]);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

/// A mask (N, 1), beside a tensor.
fn mask(values: Vec<bool>, like: &Tensor<2>) -> Tensor<2, Bool> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), &like.device())
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

/// The first of the largest of each row (N, 1), whatever the device makes of ties.
fn first_maximum(scores: Tensor<2>) -> Tensor<2, Int> {
    let [rows, classes] = scores.dims();
    let scores = scores.detach();
    let largest = scores.clone().max_dim(1).expand([rows, classes]);
    let others = scores.clone().equal(largest).bool_not();
    // A row of NaN has no largest: any class will do, its loss is NaN.
    class_numbers(&scores).mask_fill(others, signed(classes) - 1).min_dim(1)
}

/// A tensor with this value and this derivative by `input`, which must be finite.
fn with_slope(value: Tensor<2>, slope: Tensor<2>, input: Tensor<2>) -> Tensor<2> {
    value.detach() + slope.detach() * (input.clone() - input.detach())
}

/// The refusal of a part of a loss that has no composition here.
fn not_composed(part: &str, found: &str) -> Error {
    let expected = "a part that this device can compute";
    let advice = "train this loss on the Flex backend in f32, where the core crate computes it";
    Error::new(ErrorKind::Spec, part, expected, found, advice)
}

/// The least finite number of a tensor's precision. It stands for minus infinity, which a shader may not have to know.
fn least_number(like: &Tensor<2>) -> f64 {
    like.dtype().finfo().map_or(f64::from(f32::MIN), |about| about.min)
}

/// See [`Real::LEAST_SINE`](softmargin::Real::LEAST_SINE).
fn least_sine(precision: DType) -> f64 {
    if precision == DType::F64 { <f64 as softmargin::Real>::LEAST_SINE } else { <f32 as softmargin::Real>::LEAST_SINE }
}
