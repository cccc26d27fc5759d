//! A call of a loss: its tensors, what is read back of them for the core crate, and its result.

use crate::inputs::{RowTensors, TargetInput};
use burn::tensor::{Element, Int, Tensor};
use ndarray::{Array1, Array2, ArrayView1};
use softmargin::head::Head;
use softmargin::rows::Learned;
use softmargin::{Geometry, Loss, LossState, Real, Reduction, RowInputs, Scale, Targets};
use std::sync::Arc;

/// The tensors that scores are made of, or the scores.
#[derive(Clone, Debug)]
pub(crate) enum Operands {
    Head(HeadOperands),
    /// Scores (N, C), and the norms (N) and (C) that they were made with.
    Scores {
        scores: Tensor<2>,
        embedding_norms: Option<Tensor<1>>,
        weight_norms: Option<Tensor<1>>,
    },
}

/// Embeddings (N, D), prototypes (C K, D) and perhaps a bias (C K).
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

/// What a loss learns beside the prototypes, each of shape `[1]`.
#[derive(Clone, Debug)]
pub(crate) struct LearnedTensors {
    pub(crate) scale: Option<Tensor<1>>,
    pub(crate) radius: Option<Tensor<1>>,
}

/// What the caller wants beside the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Top,
    Scores,
}

/// Everything that a loss is computed with, but the tensors that can be differentiated.
#[derive(Clone, Debug)]
pub(crate) struct Call<F> {
    /// The head of the loss, without the bounds of a learned scale.
    pub(crate) head: Arc<Head>,
    /// The scale with its bounds.
    pub(crate) scale: Scale,
    pub(crate) rows: HostRows<F>,
    pub(crate) state: Option<LossState>,
    /// Whether the state takes the batch in before the loss is computed with it.
    pub(crate) trains: bool,
    pub(crate) reduction: Reduction,
    pub(crate) wanted: Wanted,
}

impl<F> Call<F> {
    pub(crate) fn loss(&self) -> &Loss {
        self.head.loss()
    }

    /// The learned numbers, the scale within its bounds. One that is not finite is left to the checks of the core.
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
    /// (N, C), where [`Wanted::Scores`] asks for them.
    pub(crate) scores: Option<Tensor<2>>,
    /// (N): the class of the largest score, where [`Wanted::Top`] asks for it.
    pub(crate) top: Option<Tensor<1, Int>>,
    /// The state that the loss was computed with.
    pub(crate) state: Option<LossState>,
}

/// The inputs of the rows that are constants, on the host.
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

    /// The core crate's inputs. `sample_weights` replaces the weights of the batch.
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

    /// The weight of a row under an upstream gradient, without the weight of its class.
    pub(crate) fn sample_weight(&self, row: usize) -> F {
        self.sample_weights.as_ref().map_or(F::one(), |weights| weights[row])
    }
}

fn read_matrix<F: Real + Element>(rows: Tensor<2>) -> Array2<F> {
    let [count, width] = rows.dims();
    let mut values = rows.into_data().iter::<F>().collect::<Vec<F>>().into_iter();
    Array2::from_shape_simple_fn((count, width), || values.next().unwrap_or_else(F::nan))
}
