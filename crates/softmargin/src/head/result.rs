//! The results of a head: the value of a batch, statistics of its rows, gradients.

use crate::rows::Value;
use ndarray::{Array1, Array2};

/// The loss of a batch, and what is known of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadValue<F> {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Array1<F>,
    /// The rows, reduced. Under [`Reduction::None`](crate::Reduction::None) their sum, whose gradient is the one given.
    pub total: F,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// The number of valid rows. 0 tells that a mean is one of nothing.
    pub valid_rows: usize,
    /// What the scores of each row show.
    pub statistics: RowStatistics<F>,
}

impl<F> HeadValue<F> {
    pub(super) fn of(value: Value<F>, statistics: RowStatistics<F>) -> Self {
        let Value { rows, total, weight, valid_rows } = value;
        Self { rows, total, weight, valid_rows, statistics }
    }
}

/// What the scores of each row show, as the geometry makes them: without margin, and with the negatives as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct RowStatistics<F> {
    /// (N): the target's score; 0 for ignored rows and soft targets.
    pub target_score: Array1<F>,
    /// (N): the class of the largest score, the lowest on ties; -1 where there is none.
    pub top: Array1<i64>,
    /// (N): log-sum-exp and entropy of the scaled scores, in nats, where they were asked for; see
    /// [`HeadOptions::statistics`](super::HeadOptions::statistics).
    pub distribution: Option<Distribution<F>>,
}

/// What the softmax of each row's scaled scores is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution<F> {
    /// (N): `ln sum_j e^(s z_j)`
    pub log_sum_exp: Array1<F>,
    /// (N): `-sum_j p_j ln p_j`
    pub entropy: Array1<F>,
}

/// The gradient of [`HeadValue::total`].
#[derive(Clone, Debug, PartialEq)]
pub struct HeadGradients<F> {
    /// With respect to the embeddings (N, D).
    pub embeddings: Array2<F>,
    /// With respect to the prototypes (C K, D).
    pub weight: Array2<F>,
    /// With respect to everything else that is learned.
    pub learned: LearnedGradients<F>,
}

/// What a step leaves of the gradient of [`HeadValue::total`]: that with respect to the prototypes is used up.
#[derive(Clone, Debug, PartialEq)]
pub struct StepGradients {
    /// With respect to the embeddings (N, D), for the network before the head.
    pub embeddings: Array2<f32>,
    /// With respect to bias, scale and radius, before they were moved.
    pub learned: LearnedGradients<f32>,
}

/// The gradient of [`HeadValue::total`] with respect to the parameters of a head beside its prototypes.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedGradients<F> {
    /// With respect to the bias (C K); empty where the geometry has none.
    pub bias: Array1<F>,
    /// With respect to a learned scale; to the fixed one where it is not learned.
    pub scale: F,
    /// With respect to the radius of ring loss.
    pub radius: F,
}
