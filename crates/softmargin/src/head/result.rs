//! The results of a head: the value of a batch, statistics of its rows, gradients.

use crate::rows::Value;
use ndarray::{Array1, Array2};

/// The loss of a batch, and the statistics of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadValue<F> {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Array1<F>,
    /// The reduced loss. Under [`Reduction::None`](crate::Reduction::None) it is the sum of the rows, and the gradient
    /// is that of the sum.
    pub total: F,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// The number of valid rows. If it is 0, the mean has no rows.
    pub valid_rows: usize,
    /// The statistics of the scores of each row.
    pub statistics: RowStatistics<F>,
}

impl<F> HeadValue<F> {
    pub(super) fn of(value: Value<F>, statistics: RowStatistics<F>) -> Self {
        let Value { rows, total, weight, valid_rows } = value;
        Self { rows, total, weight, valid_rows, statistics }
    }
}

/// Statistics of the scores of each row, without margin and with unmodified negatives.
#[derive(Clone, Debug, PartialEq)]
pub struct RowStatistics<F> {
    /// (N): the target's score; 0 for ignored rows and soft targets.
    pub target_score: Array1<F>,
    /// (N): the class of the largest score, the lowest on ties; -1 if there is none.
    pub top: Array1<i64>,
    /// Log-sum-exp and entropy of the scaled scores, with the option
    /// [`HeadOptions::statistics`](super::HeadOptions::statistics).
    pub distribution: Option<Distribution<F>>,
}

/// Statistics of the softmax of each row's scaled scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution<F> {
    /// (N): `ln sum_j e^(s z_j)`
    pub log_sum_exp: Array1<F>,
    /// (N): `-sum_j p_j ln p_j`, in nats
    pub entropy: Array1<F>,
}

/// The gradient of [`HeadValue::total`].
#[derive(Clone, Debug, PartialEq)]
pub struct HeadGradients<F> {
    /// With respect to the embeddings (N, D).
    pub embeddings: Array2<F>,
    /// With respect to the prototypes (C K, D).
    pub weight: Array2<F>,
    /// With respect to bias, scale and radius.
    pub learned: LearnedGradients<F>,
}

/// The gradient of [`HeadValue::total`] that is left after a step, which consumes that of the prototypes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepGradients {
    /// With respect to the embeddings (N, D), for the network below the head.
    pub embeddings: Array2<f32>,
    /// With respect to bias, scale and radius, at their values before the step.
    pub learned: LearnedGradients<f32>,
}

/// The gradient of [`HeadValue::total`] with respect to the parameters of a head other than its prototypes.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedGradients<F> {
    /// With respect to the bias (C K); empty if the geometry has none.
    pub bias: Array1<F>,
    /// With respect to the scale, learned or fixed.
    pub scale: F,
    /// With respect to the radius of ring loss; 0 for other losses.
    pub radius: F,
}
