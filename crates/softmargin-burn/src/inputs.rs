//! What comes with a batch, as tensors and as read back for the checks.

use burn::tensor::{Element, Int, Tensor};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use softmargin::{Batch, LossState, Real, Reduction};

/// What the rows of a batch are to become.
#[derive(Clone, Debug)]
pub enum Targets {
    /// (N): the class of each row, from 0.
    Classes(Tensor<1, Int>),
    /// (N, C): a distribution over the classes for each row; softmax cross-entropy without a margin only.
    Distributions(Tensor<2>),
}

impl From<Tensor<1, Int>> for Targets {
    fn from(classes: Tensor<1, Int>) -> Self {
        Self::Classes(classes)
    }
}

impl From<Tensor<2>> for Targets {
    fn from(distributions: Tensor<2>) -> Self {
        Self::Distributions(distributions)
    }
}

/// What a batch may bring for each of its rows, and how the rows become one loss.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use softmargin::Reduction;
/// use softmargin_burn::{MarginHeadConfig, RowInputs};
///
/// let device = Device::flex();
/// let head = MarginHeadConfig::new(2, 3).try_init(&device)?;
/// let embeddings = Tensor::<2>::ones([2, 2], &device);
/// let targets = Tensor::<1, Int>::from_ints([0, 2], &device);
/// let weights = Tensor::<1>::from_floats([1.0, 0.0], &device);
/// let inputs = RowInputs::new().with_sample_weights(weights).with_reduction(Reduction::None);
/// let rows = head.try_forward_batch(embeddings, targets, inputs)?.loss;
/// assert_eq!(rows.into_data().try_to_vec::<f32>().unwrap()[1], 0.0);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RowInputs {
    pub(crate) sample_weights: Option<Tensor<1>>,
    pub(crate) margins: Option<Tensor<1>>,
    pub(crate) reduction: Reduction,
    pub(crate) composed: bool,
}

impl RowInputs {
    /// Nothing, and the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loss weighting (N), 0 or above; a row of weight 0 is ignored.
    #[must_use]
    pub fn with_sample_weights(self, weights: Tensor<1>) -> Self {
        Self { sample_weights: Some(weights), ..self }
    }

    /// The margin value of each row (N), for [`MarginValue::PerSample`](softmargin::MarginValue::PerSample).
    #[must_use]
    pub fn with_margins(self, margins: Tensor<1>) -> Self {
        Self { margins: Some(margins), ..self }
    }

    /// How the losses of the rows become one; the mean where nothing is said.
    #[must_use]
    pub fn with_reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    /// Composes the loss of tensor operations even where the core crate could compute it, to compare the two.
    #[doc(hidden)]
    #[must_use]
    pub fn composed(self) -> Self {
        Self { composed: true, ..self }
    }
}

/// The norms that scores were made with, for losses that look at them: margins on the angle of scores that keep a norm,
/// and the terms on the norms of embeddings. Gradients flow to them.
#[derive(Clone, Debug, Default)]
pub struct Norms {
    pub(crate) embeddings: Option<Tensor<1>>,
    pub(crate) weights: Option<Tensor<1>>,
}

impl Norms {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The norm of each embedding (N).
    #[must_use]
    pub fn with_embeddings(self, norms: Tensor<1>) -> Self {
        Self { embeddings: Some(norms), ..self }
    }

    /// The norm of each prototype (C).
    #[must_use]
    pub fn with_weights(self, norms: Tensor<1>) -> Self {
        Self { weights: Some(norms), ..self }
    }
}

/// A loss, and the scores it was computed from.
#[derive(Clone, Debug)]
pub struct MarginOutput {
    /// Shape `[1]`; `[N]` under [`Reduction::None`].
    pub loss: Tensor<1>,
    /// The scores (N, C) as the geometry makes them, without scale and margin: whose largest is the answer. Detached.
    pub scores: Tensor<2>,
}

/// A loss, and the class of the largest score of each row.
#[derive(Clone, Debug)]
pub struct MarginTop {
    /// Shape `[1]`; `[N]` under [`Reduction::None`].
    pub loss: Tensor<1>,
    /// `[N]`: the answer for each row, of the scores as the geometry makes them.
    pub top: Tensor<1, Int>,
}

/// What is asked for beside the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Top,
    Scores,
}

/// Everything of a batch but its scores, read back to the host.
#[derive(Clone, Debug)]
pub(crate) struct Host<F> {
    pub(crate) targets: HostTargets<F>,
    pub(crate) sample_weights: Option<Array1<F>>,
    pub(crate) margins: Option<Array1<F>>,
}

#[derive(Clone, Debug)]
pub(crate) enum HostTargets<F> {
    Classes(Array1<i64>),
    Distributions(Array2<F>),
}

impl<F: Real + Element> Host<F> {
    pub(crate) fn read(targets: Targets, inputs: &RowInputs) -> Self {
        let targets = match targets {
            Targets::Classes(classes) => HostTargets::Classes(classes.into_data().iter::<i64>().collect()),
            Targets::Distributions(rows) => HostTargets::Distributions(read_matrix(rows)),
        };
        let column = |values: &Option<Tensor<1>>| values.clone().map(|values| values.into_data().iter::<F>().collect());
        Self { targets, sample_weights: column(&inputs.sample_weights), margins: column(&inputs.margins) }
    }

    /// What the rows are to become.
    pub(crate) fn targets(&self) -> softmargin::Targets<'_, F> {
        match &self.targets {
            HostTargets::Classes(classes) => softmargin::Targets::Hard(classes.view()),
            HostTargets::Distributions(rows) => softmargin::Targets::Soft(rows.view()),
        }
    }

    /// The batch of these scores; `sample_weights` takes the place of the batch's own.
    pub(crate) fn batch<'a>(
        &'a self,
        scores: ArrayView2<'a, F>,
        sample_weights: Option<ArrayView1<'a, F>>,
        state: Option<&'a LossState>,
    ) -> Batch<'a, F> {
        let mut batch = match &self.targets {
            HostTargets::Classes(classes) => Batch::new(scores, classes.view()),
            HostTargets::Distributions(rows) => Batch::soft(scores, rows.view()),
        };
        if let Some(weights) = sample_weights.or(self.sample_weights.as_ref().map(|weights| weights.view())) {
            batch = batch.with_sample_weights(weights);
        }
        if let Some(margins) = &self.margins {
            batch = batch.with_margins(margins.view());
        }
        if let Some(state) = state {
            batch = batch.with_state(state);
        }
        batch
    }
}

fn read_matrix<F: Real + Element>(rows: Tensor<2>) -> Array2<F> {
    let [count, width] = rows.dims();
    let mut values = rows.into_data().iter::<F>().collect::<Vec<F>>().into_iter();
    Array2::from_shape_simple_fn((count, width), || values.next().unwrap_or_else(F::nan))
}
