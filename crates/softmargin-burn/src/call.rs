//! A call of a loss: its tensors, the values of the rows on the host, and its result.

use crate::inputs::{RowTensors, TargetInput};
use burn::tensor::{Element, Int, Tensor};
use ndarray::{Array1, Array2, ArrayView1};
use softmargin::head::Head;
use softmargin::rows::Learned;
use softmargin::{Geometry, Loss, LossState, Real, Reduction, RowInputs, Scale, Targets};
use std::sync::Arc;

/// The tensors from which scores are computed, or given scores.
#[derive(Clone, Debug)]
pub(crate) enum Operands {
    Head(HeadOperands),
    /// Scores (N, C), and the norms of the embeddings (N) and prototypes (C) that they were computed from.
    Scores {
        scores: Tensor<2>,
        embedding_norms: Option<Tensor<1>>,
        weight_norms: Option<Tensor<1>>,
    },
}

/// Embeddings (N, D), prototypes (C K, D) and, if the geometry has one, a bias (C K).
#[derive(Clone, Debug)]
pub(crate) struct HeadOperands {
    pub(crate) geometry: Geometry,
    /// K
    pub(crate) sub_centers: usize,
    pub(crate) embeddings: Tensor<2>,
    pub(crate) weight: Tensor<2>,
    pub(crate) bias: Option<Tensor<1>>,
}

impl Operands {
    pub(crate) fn matrices(&self) -> Vec<&Tensor<2>> {
        match self {
            Self::Head(head) => vec![&head.embeddings, &head.weight],
            Self::Scores { scores, .. } => vec![scores],
        }
    }

    pub(crate) fn vectors(&self) -> Vec<&Option<Tensor<1>>> {
        match self {
            Self::Head(head) => vec![&head.bias],
            Self::Scores { embedding_norms, weight_norms, .. } => vec![embedding_norms, weight_norms],
        }
    }
}

/// The parameters that a loss learns in addition to prototypes and bias, each of shape `[1]`.
#[derive(Clone, Debug)]
pub(crate) struct LearnedTensors {
    pub(crate) scale: Option<Tensor<1>>,
    pub(crate) radius: Option<Tensor<1>>,
}

/// The result that the caller requests in addition to the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Top,
    Scores,
}

/// The inputs of a loss other than the tensors that can be differentiated.
#[derive(Clone, Debug)]
pub(crate) struct Call<F> {
    /// The head of the loss, with wider bounds of a learned scale; see [`Prepared`](crate::prepared::Prepared).
    pub(crate) head: Arc<Head>,
    /// The scale with its true bounds.
    pub(crate) scale: Scale,
    pub(crate) rows: HostRows<F>,
    pub(crate) state: Option<LossState>,
    /// True if the batch updates the moving averages of the state before the loss is computed.
    pub(crate) trains: bool,
    pub(crate) reduction: Reduction,
    pub(crate) wanted: Wanted,
}

impl<F> Call<F> {
    pub(crate) fn loss(&self) -> &Loss {
        self.head.loss()
    }

    /// Returns the learned values, with the scale clamped to its bounds. The core crate rejects one that is not finite.
    pub(crate) fn learned(&self, scale: Option<f64>, radius: Option<f64>) -> Learned {
        let clamped = |parameter: f64| if parameter.is_finite() { self.scale.clamp(parameter) } else { parameter };
        let mut learned = Learned::default();
        learned.scale = scale.map(clamped);
        learned.radius = radius;
        learned
    }
}

/// The result of a call.
pub(crate) struct Answer {
    /// `[1]`, or `[N]` without a reduction.
    pub(crate) loss: Tensor<1>,
    /// (N, C), under [`Wanted::Scores`].
    pub(crate) scores: Option<Tensor<2>>,
    /// (N): the class of the largest score, under [`Wanted::Top`].
    pub(crate) top: Option<Tensor<1, Int>>,
    /// The state that the loss was computed with.
    pub(crate) state: Option<LossState>,
}

/// The constant inputs of the rows, on the host.
#[derive(Clone, Debug)]
pub(crate) struct HostRows<F> {
    pub(crate) targets: HostTargets<F>,
    sample_weights: Option<Array1<F>>,
    margins: Option<Array1<F>>,
}

#[derive(Clone, Debug)]
pub(crate) enum HostTargets<F> {
    Classes(Array1<i64>),
    Distributions(Array2<F>),
}

impl<F: Real + Element> HostRows<F> {
    pub(crate) fn read(targets: TargetInput, rows: &RowTensors) -> Self {
        let targets = match targets {
            TargetInput::Classes(classes) => HostTargets::Classes(classes.into_data().iter::<i64>().collect()),
            TargetInput::Labels(labels) => HostTargets::Classes(labels.into()),
            TargetInput::Distributions(rows) => HostTargets::Distributions(read_matrix(rows)),
        };
        let column = |values: &Option<Tensor<1>>| values.clone().map(|values| values.into_data().iter::<F>().collect());
        Self { targets, sample_weights: column(&rows.sample_weights), margins: column(&rows.margins) }
    }

    /// Returns the core crate's inputs. If given, `sample_weights` replaces the weights of the batch.
    pub(crate) fn inputs<'a>(
        &'a self,
        sample_weights: Option<ArrayView1<'a, F>>,
        state: Option<&'a LossState>,
    ) -> RowInputs<'a, F> {
        let mut inputs = RowInputs::with_targets(match &self.targets {
            HostTargets::Classes(classes) => Targets::Hard(classes.view()),
            HostTargets::Distributions(rows) => Targets::Soft(rows.view()),
        });
        if let Some(weights) = sample_weights.or(self.sample_weights.as_ref().map(|weights| weights.view())) {
            inputs = inputs.with_sample_weights(weights);
        }
        if let Some(margins) = &self.margins {
            inputs = inputs.with_margins(margins.view());
        }
        match state {
            Some(state) => inputs.with_state(state),
            None => inputs,
        }
    }

    /// Returns the sample weight of a row; 1 without sample weights.
    pub(crate) fn sample_weight(&self, row: usize) -> F {
        self.sample_weights.as_ref().map_or(F::one(), |weights| weights[row])
    }
}

fn read_matrix<F: Real + Element>(rows: Tensor<2>) -> Array2<F> {
    let [count, width] = rows.dims();
    let mut values = rows.into_data().iter::<F>().collect::<Vec<F>>().into_iter();
    Array2::from_shape_simple_fn((count, width), || values.next().unwrap_or_else(F::nan))
}
