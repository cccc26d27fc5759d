//! What a head answers.

use crate::loss::Value;
use ndarray::Array1;

/// The loss of a batch, and what is known of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadValue<F> {
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
    pub rows: Array1<F>,
    /// The rows, reduced. Under [`Reduction::None`](crate::Reduction::None) their sum, whose gradient is the one given.
    pub total: F,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// Rows that counted. 0 says that a mean is one of nothing.
    pub kept: usize,
    /// What the scores of each row show.
    pub statistics: RowStatistics<F>,
}

impl<F> HeadValue<F> {
    pub(super) fn of(value: Value<F>, statistics: RowStatistics<F>) -> Self {
        let Value { rows, total, weight, kept } = value;
        Self { rows, total, weight, kept, statistics }
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
