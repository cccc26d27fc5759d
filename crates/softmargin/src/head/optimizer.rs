//! The step of an optimizer on the rows of a matrix, with the update rules of PyTorch's SGD and AdamW.
//!
//! ```text
//! SGD     g <- g + decay w;   b <- momentum b + g;   w <- w - rate b, Nesterov: rate (g + momentum b)
//! AdamW   w <- w - rate decay w;   m <- beta1 m + (1 - beta1) g;   v <- beta2 v + (1 - beta2) g^2
//!         w <- w - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//! ```
//!
//! Sutskever et al. 2013 (momentum); Loshchilov and Hutter 2019, arXiv 1711.05101. The rate may have a factor per row.
//! A step row by row cannot clip by the norm of the whole gradient, which is known only after all rows. To clip, use
//! [`Head::value_and_grad`](super::Head::value_and_grad) and then [`Optimizer::apply`].

use super::batch::HeadParametersMut;
use super::result::LearnedGradients;
use crate::axes::scale::Scale;
use crate::buffer::{self, contiguous};
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::number::Real;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The update rule of an optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// The momentum, in `[0, 1)`.
        momentum: f64,
        /// True for Nesterov momentum, which needs a momentum above 0.
        nesterov: bool,
        /// The multiple of the weight that is added to the gradient, 0 or above.
        weight_decay: f64,
    },
    /// Adaptive moments with decoupled weight decay.
    AdamW {
        /// The decay rate of the mean of gradients, in `[0, 1)`.
        beta1: f64,
        /// The decay rate of the mean of squared gradients, in `[0, 1)`.
        beta2: f64,
        /// The value added to the root of the mean of squares, above 0.
        epsilon: f64,
        /// The decay of the weight per step, times the learning rate, 0 or above.
        weight_decay: f64,
    },
}

impl Rule {
    /// AdamW with the defaults of PyTorch.
    pub const ADAM_W: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };

    fn check(self) -> Result<()> {
        match self {
            Self::Sgd { momentum, nesterov, weight_decay } => {
                check_number("momentum", momentum, Bound::FractionBelowOne)?;
                check_number("weight decay", weight_decay, Bound::NotNegative)?;
                if nesterov && momentum == 0.0 {
                    let advice = "give a momentum, such as 0.9, or leave nesterov out";
                    return Err(Error::new(ErrorKind::Spec, "nesterov", "a momentum above 0 with it", "0", advice));
                }
                Ok(())
            }
            Self::AdamW { beta1, beta2, epsilon, weight_decay } => {
                check_number("beta1", beta1, Bound::FractionBelowOne)?;
                check_number("beta2", beta2, Bound::FractionBelowOne)?;
                check_number("epsilon", epsilon, Bound::Positive)?;
                check_number("weight decay", weight_decay, Bound::NotNegative)
            }
        }
    }
}

/// An optimizer of one weight matrix (R, D), with its moments. It also updates the bias, scale and radius of a head.
///
/// ```
/// use ndarray::array;
/// use softmargin::head::{Optimizer, Rule};
/// let mut weight = array![[1.0_f32, -1.0]];
/// let rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
/// let mut optimizer = Optimizer::new(rule, 0.1, weight.dim())?;
/// for _ in 0..2 {
///     optimizer.apply(weight.view_mut(), array![[1.0_f32, 0.0]].view())?;
/// }
/// assert_eq!(weight, array![[1.0 - 0.1 - 0.19, -1.0]]);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    learning_rate: f64,
    row_rates: Option<Vec<f32>>,
    steps: u64,
    weight: [Array2<f32>; 2],
    /// Empty before the first step with a bias.
    bias: [Vec<f32>; 2],
    scale: [f32; 2],
    radius: [f32; 2],
    shape: (usize, usize),
}

/// The moments of an optimizer, to be saved with the parameters: for each parameter the momentum or the mean of
/// gradients, and the mean of squared gradients. A moment that the rule does not use is empty, or 0.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OptimizerMoments<'a> {
    /// The moments of the weight (R, D).
    pub weight: [ArrayView2<'a, f32>; 2],
    /// The moments of the bias (R); empty before the first step with a bias.
    pub bias: [&'a [f32]; 2],
    /// The moments of the scale.
    pub scale: [f32; 2],
    /// The moments of the radius.
    pub radius: [f32; 2],
}

/// The result of [`Optimizer::moments`], owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedMoments {
    /// The moments of the weight (R, D).
    pub weight: [Array2<f32>; 2],
    /// The moments of the bias (R), or empty.
    pub bias: [Vec<f32>; 2],
    /// The moments of the scale.
    pub scale: [f32; 2],
    /// The moments of the radius.
    pub radius: [f32; 2],
}

impl Optimizer {
    /// Creates an optimizer of a matrix of `shape` (R, D).
    ///
    /// # Errors
    /// If a parameter is out of range, or Nesterov momentum has a momentum of 0.
    pub fn new(rule: Rule, learning_rate: f64, shape: (usize, usize)) -> Result<Self> {
        rule.check()?;
        check_number("learning rate", learning_rate, Bound::NotNegative)?;
        let (has_first, has_second) = match rule {
            Rule::Sgd { momentum, .. } => (momentum > 0.0, false),
            Rule::AdamW { .. } => (true, true),
        };
        let memory = |wanted: bool| if wanted { buffer::zeros(shape.0, shape.1) } else { Array2::zeros((0, 0)) };
        Ok(Self {
            rule,
            learning_rate,
            row_rates: None,
            steps: 0,
            weight: [memory(has_first), memory(has_second)],
            bias: [Vec::new(), Vec::new()],
            scale: [0.0; 2],
            radius: [0.0; 2],
            shape,
        })
    }

    /// Sets a factor of the learning rate of each row (R), 0 or above. By default all are 1.
    ///
    /// # Errors
    /// If the number of factors is not R, or one is below 0 or not finite.
    pub fn with_row_rates(self, rates: Vec<f32>) -> Result<Self> {
        if rates.len() != self.shape.0 {
            let expected = format!("{} numbers, one per row", self.shape.0);
            let advice = "give as many rates as rows";
            return Err(Error::new(ErrorKind::Shape, "row rates", expected, rates.len().to_string(), advice));
        }
        for (row, &rate) in rates.iter().enumerate() {
            check_number(&format!("row rates[{row}]"), f64::from(rate), Bound::NotNegative)?;
        }
        Ok(Self { row_rates: Some(rates), ..self })
    }

    /// Sets the learning rate of the next steps.
    ///
    /// # Errors
    /// If it is below 0 or not finite.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        check_number("learning rate", learning_rate, Bound::NotNegative)?;
        self.learning_rate = learning_rate;
        Ok(())
    }

    /// Returns the number of steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the moments, to be saved with the parameters.
    pub fn moments(&self) -> OptimizerMoments<'_> {
        OptimizerMoments {
            weight: self.weight.each_ref().map(|moment| moment.view()),
            bias: self.bias.each_ref().map(|moment| &moment[..]),
            scale: self.scale,
            radius: self.radius,
        }
    }

    /// Restores the moments that were saved after `steps` steps.
    ///
    /// # Errors
    /// If their shapes are not those of this optimizer.
    pub fn restore(&mut self, steps: u64, moments: SavedMoments) -> Result<()> {
        let advice = "give the moments that moments() returned";
        let SavedMoments { weight, bias, scale, radius } = moments;
        for ((name, own), given) in ["first moment", "second moment"].into_iter().zip(&self.weight).zip(&weight) {
            if own.dim() != given.dim() {
                let (expected, found) = (format!("{:?}", own.dim()), format!("{:?}", given.dim()));
                return Err(Error::new(ErrorKind::Shape, name, expected, found, advice));
            }
        }
        if let Some(given) = bias.iter().find(|moment| !moment.is_empty() && moment.len() != self.shape.0) {
            let (expected, found) = (format!("length {} or 0", self.shape.0), format!("length {}", given.len()));
            return Err(Error::new(ErrorKind::Shape, "moments of the bias", expected, found, advice));
        }
        (self.steps, self.weight, self.bias, self.scale, self.radius) = (steps, weight, bias, scale, radius);
        Ok(())
    }

    /// Makes a step of the whole matrix with a given gradient, which may have been clipped. It is the step that
    /// [`Head::step`](super::Head::step) makes on the prototypes.
    ///
    /// # Errors
    /// If weight or gradient have another shape.
    pub fn apply(&mut self, weight: ArrayViewMut2<'_, f32>, gradient: ArrayView2<'_, f32>) -> Result<()> {
        self.check_shape("weight", weight.dim())?;
        self.check_shape("gradient", gradient.dim())?;
        self.apply_where(weight, gradient, |_| true);
        self.count_step();
        Ok(())
    }

    /// Makes a step of the rows for which `is_stepped` returns true, without counting it. Shapes have been checked.
    pub(super) fn apply_where(
        &mut self,
        weight: ArrayViewMut2<'_, f32>,
        gradient: ArrayView2<'_, f32>,
        is_stepped: impl Fn(usize) -> bool + Sync,
    ) {
        const PARTS: usize = 64;
        let rows = weight.nrows();
        let starts: Vec<usize> = (0..=PARTS).map(|part| rows * part / PARTS).collect();
        self.split(weight, &starts).into_par_iter().for_each(|mut part| {
            let start = part.start;
            for row in (0..part.weight.nrows()).filter(|row| is_stepped(start + row)) {
                part.step(row, &contiguous(gradient.row(start + row)));
            }
        });
    }

    /// Makes the step of bias, scale and radius, if they are given, without weight decay. A learned scale is clamped to
    /// its range.
    pub(super) fn apply_to_learned(
        &mut self,
        parameters: &mut HeadParametersMut<'_>,
        gradients: &LearnedGradients<f32>,
        scale: Scale,
    ) {
        let step = Step::of(self.rule, self.learning_rate, self.steps + 1).without_decay();
        if let Some(bias) = &mut parameters.bias {
            let [first, second] = &mut self.bias;
            first.resize(bias.len(), 0.0);
            second.resize(bias.len(), 0.0);
            with_slice(bias, |bias| step.make(1.0, bias, &contiguous(gradients.bias.view()), first, second));
        }
        let number = |value: &mut f64, gradient: f32, [first, second]: &mut [f32; 2]| {
            let mut rounded = [f32::round_from(*value)];
            let before = rounded[0].widen();
            step.make(1.0, &mut rounded, &[gradient], std::slice::from_mut(first), std::slice::from_mut(second));
            *value += rounded[0].widen() - before;
        };
        if let Some(value) = &mut parameters.scale {
            number(value, gradients.scale, &mut self.scale);
            **value = scale.clamp(**value);
        }
        if let Some(value) = &mut parameters.radius {
            number(value, gradients.radius, &mut self.radius);
        }
    }

    pub(super) fn check_shape(&self, name: &str, found: (usize, usize)) -> Result<()> {
        if found == self.shape {
            return Ok(());
        }
        let advice = "create an optimizer with the shape of the weight";
        Err(Error::new(ErrorKind::Shape, name, format!("{:?}", self.shape), format!("{found:?}"), advice))
    }

    /// Splits the next step into parts, from each start to the next, which different threads may make.
    pub(super) fn split<'a>(&'a mut self, weight: ArrayViewMut2<'a, f32>, starts: &[usize]) -> Vec<StepRows<'a>> {
        let step = Step::of(self.rule, self.learning_rate, self.steps + 1);
        let lengths: Vec<usize> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let weights = split_rows(weight, &lengths);
        let [first, second] = &mut self.weight;
        let firsts = split_rows(first.view_mut(), &lengths);
        let seconds = split_rows(second.view_mut(), &lengths);
        let rates = self.row_rates.as_deref();
        let parts = weights.into_iter().zip(firsts).zip(seconds).zip(starts);
        parts
            .map(|(((weight, first), second), &start)| StepRows { start, step, rates, weight, first, second })
            .collect()
    }

    pub(super) fn count_step(&mut self) {
        self.steps += 1;
    }
}

/// Splits a matrix into consecutive runs of rows. A matrix without rows has empty parts.
fn split_rows<'a>(matrix: ArrayViewMut2<'a, f32>, lengths: &[usize]) -> Vec<ArrayViewMut2<'a, f32>> {
    let has_rows = matrix.nrows() > 0;
    let mut rest = matrix;
    let mut parts = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let (part, after) = rest.split_at(Axis(0), if has_rows { length } else { 0 });
        parts.push(part);
        rest = after;
    }
    parts
}

/// The coefficients of a step, the same for all rows.
#[derive(Clone, Copy, Debug)]
enum Step {
    Sgd { rate: f32, momentum: f32, nesterov: bool, decay: f32 },
    AdamW { rate: f32, beta: [f32; 2], rest: [f32; 2], correction: [f32; 2], epsilon: f32, decay: f32 },
}

impl Step {
    fn of(rule: Rule, learning_rate: f64, number: u64) -> Self {
        match rule {
            Rule::Sgd { momentum, nesterov, weight_decay } => Self::Sgd {
                rate: learning_rate as f32,
                momentum: momentum as f32,
                nesterov,
                decay: weight_decay as f32,
            },
            Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let number = i32::try_from(number).unwrap_or(i32::MAX);
                Self::AdamW {
                    rate: learning_rate as f32,
                    beta: [beta1 as f32, beta2 as f32],
                    rest: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
                    correction: [(1.0 - beta1.powi(number)) as f32, (1.0 - beta2.powi(number)).sqrt() as f32],
                    epsilon: epsilon as f32,
                    decay: weight_decay as f32,
                }
            }
        }
    }

    fn without_decay(self) -> Self {
        match self {
            Self::Sgd { rate, momentum, nesterov, .. } => Self::Sgd { rate, momentum, nesterov, decay: 0.0 },
            Self::AdamW { rate, beta, rest, correction, epsilon, .. } => {
                Self::AdamW { rate, beta, rest, correction, epsilon, decay: 0.0 }
            }
        }
    }

    /// Makes the step of a row with weight `w`, gradient `g` and moments `first` and `second`.
    fn make(self, rate_of_row: f32, w: &mut [f32], g: &[f32], first: &mut [f32], second: &mut [f32]) {
        match self {
            Self::Sgd { rate, decay, momentum: 0.0, .. } => {
                let rate = rate * rate_of_row;
                for (w, &g) in w.iter_mut().zip(g) {
                    *w -= rate * (g + decay * *w);
                }
            }
            Self::Sgd { rate, momentum, nesterov, decay } => {
                let rate = rate * rate_of_row;
                for ((w, &g), b) in w.iter_mut().zip(g).zip(first) {
                    let g = g + decay * *w;
                    *b = momentum * *b + g;
                    *w -= rate * if nesterov { g + momentum * *b } else { *b };
                }
            }
            Self::AdamW { rate, beta, rest, correction, epsilon, decay } => {
                let rate = rate * rate_of_row;
                for (((w, &g), m), v) in w.iter_mut().zip(g).zip(first).zip(second) {
                    *m = beta[0] * *m + rest[0] * g;
                    *v = beta[1] * *v + rest[1] * g * g;
                    let root = v.sqrt() / correction[1] + epsilon;
                    *w -= rate * decay * *w + rate / correction[0] * (*m / root);
                }
            }
        }
    }
}

/// Consecutive rows of a weight and their moments, for the step of an optimizer.
#[derive(Debug)]
pub(super) struct StepRows<'a> {
    start: usize,
    step: Step,
    rates: Option<&'a [f32]>,
    pub(super) weight: ArrayViewMut2<'a, f32>,
    first: ArrayViewMut2<'a, f32>,
    second: ArrayViewMut2<'a, f32>,
}

impl StepRows<'_> {
    /// Makes the step of a row; `row` is relative to the first of these rows.
    pub(super) fn step(&mut self, row: usize, gradient: &[f32]) {
        let rate = self.rates.map_or(1.0, |rates| rates[self.start + row]);
        let (mut w, mut first, mut second) =
            (self.weight.row_mut(row), row_or_none(&mut self.first, row), row_or_none(&mut self.second, row));
        let step = self.step;
        with_slice(&mut w, |w| {
            with_slice(&mut first, |first| {
                with_slice(&mut second, |second| step.make(rate, w, gradient, first, second))
            });
        });
    }
}

fn row_or_none<'a>(matrix: &'a mut ArrayViewMut2<'_, f32>, row: usize) -> ArrayViewMut1<'a, f32> {
    if matrix.nrows() > 0 { matrix.row_mut(row) } else { ArrayViewMut1::from(&mut []) }
}

/// Calls `act` with a row as a slice. A row whose elements are not contiguous is copied and written back.
fn with_slice(row: &mut ArrayViewMut1<'_, f32>, act: impl FnOnce(&mut [f32])) {
    if let Some(slice) = row.as_slice_mut() {
        act(slice);
        return;
    }
    let mut copy = row.to_vec();
    act(&mut copy);
    row.assign(&ArrayView1::from(&copy));
}
