//! The inputs of a batch that a caller gives, and the results.

use burn::tensor::{Int, Tensor};
use softmargin::Reduction;

/// The targets of a batch.
#[derive(Clone, Debug)]
pub enum TargetInput {
    /// (N): the class of each row, from 0.
    Classes(Tensor<1, Int>),
    /// (N): the same, in main memory; nothing is read back from a device.
    Labels(Vec<i64>),
    /// (N, C): a distribution over the classes for each row; softmax cross-entropy without a margin only.
    Distributions(Tensor<2>),
}

impl From<Tensor<1, Int>> for TargetInput {
    fn from(classes: Tensor<1, Int>) -> Self {
        Self::Classes(classes)
    }
}

impl From<Vec<i64>> for TargetInput {
    fn from(labels: Vec<i64>) -> Self {
        Self::Labels(labels)
    }
}

impl From<Tensor<2>> for TargetInput {
    fn from(distributions: Tensor<2>) -> Self {
        Self::Distributions(distributions)
    }
}

/// Optional tensors of the rows of a batch, and the reduction of their losses.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use softmargin::Reduction;
/// use softmargin_burn::{MarginHeadConfig, RowTensors};
///
/// let device = Device::flex();
/// let head = MarginHeadConfig::new(2, 3).try_init(&device)?;
/// let embeddings = Tensor::<2>::ones([2, 2], &device);
/// let targets = Tensor::<1, Int>::from_ints([0, 2], &device);
/// let weights = Tensor::<1>::from_floats([1.0, 0.0], &device);
/// let rows = RowTensors::new().with_sample_weights(weights).with_reduction(Reduction::None);
/// let losses = head.try_forward_batch(embeddings, targets, rows)?.loss;
/// assert_eq!(losses.into_data().try_to_vec::<f32>().unwrap()[1], 0.0);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RowTensors {
    pub(crate) sample_weights: Option<Tensor<1>>,
    pub(crate) margins: Option<Tensor<1>>,
    pub(crate) reduction: Reduction,
    pub(crate) composed: bool,
}

impl RowTensors {
    /// Creates inputs without tensors, whose losses are reduced to the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the weight of each row (N), 0 or above; a row of weight 0 is ignored.
    #[must_use]
    pub fn with_sample_weights(self, weights: Tensor<1>) -> Self {
        Self { sample_weights: Some(weights), ..self }
    }

    /// Sets the margin value of each row (N), for [`MarginValue::PerSample`](softmargin::MarginValue::PerSample).
    #[must_use]
    pub fn with_margins(self, margins: Tensor<1>) -> Self {
        Self { margins: Some(margins), ..self }
    }

    /// Sets the reduction of the losses of the rows. The default is the mean.
    #[must_use]
    pub fn with_reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    /// Composes the loss of tensor operations even if the core crate could compute it, to compare the two.
    #[doc(hidden)]
    #[must_use]
    pub fn composed(self) -> Self {
        Self { composed: true, ..self }
    }
}

/// The norms of the embeddings and prototypes that given scores were computed from, for losses that depend on them:
/// margins on the angle of scores that keep a norm, margin values from the norm, and regularizers. Gradients flow to
/// them.
#[derive(Clone, Debug, Default)]
pub struct NormTensors {
    pub(crate) embeddings: Option<Tensor<1>>,
    pub(crate) weights: Option<Tensor<1>>,
}

impl NormTensors {
    /// Creates inputs without norms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the norm of each embedding (N).
    #[must_use]
    pub fn with_embeddings(self, norms: Tensor<1>) -> Self {
        Self { embeddings: Some(norms), ..self }
    }

    /// Sets the norm of each prototype (C).
    #[must_use]
    pub fn with_weights(self, norms: Tensor<1>) -> Self {
        Self { weights: Some(norms), ..self }
    }
}

/// A loss, and the scores that it was computed from.
#[derive(Clone, Debug)]
pub struct MarginOutput {
    /// The loss, of shape `[1]`; the losses of the rows `[N]` under [`Reduction::None`].
    pub loss: Tensor<1>,
    /// The scores (N, C) of the geometry, without scale and margin. The predicted class has the largest. They are
    /// detached.
    pub scores: Tensor<2>,
}

/// A loss, and the class of the largest score of each row.
#[derive(Clone, Debug)]
pub struct MarginTop {
    /// The loss, of shape `[1]`; the losses of the rows `[N]` under [`Reduction::None`].
    pub loss: Tensor<1>,
    /// `[N]`: the predicted class of each row, which has the largest score of the geometry, without scale and margin.
    pub top: Tensor<1, Int>,
}
