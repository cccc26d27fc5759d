//! The loss of scores that the model computes itself.

use crate::call::{LearnedTensors, Operands, Wanted};
use crate::composed;
use crate::inputs::{MarginOutput, NormTensors, RowTensors, TargetInput};
use crate::prepared::{Prepared, expect};
use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use softmargin::{ErrorKind, Loss, LossSpec, LossState, Reduction, presets};

/// The configuration of a [`MarginLoss`].
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use softmargin_burn::MarginLossConfig;
///
/// let device = Device::flex();
/// let loss = MarginLossConfig::new(3).with_preset("crammer-singer")?.try_init(&device)?;
/// let scores = Tensor::<2>::from_floats([[2.0, 1.5, 0.0]], &device);
/// let targets = Tensor::<1, Int>::from_ints([0], &device);
/// assert_eq!(loss.forward(scores, targets).into_scalar::<f32>(), 0.5);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct MarginLossConfig {
    /// C: the number of classes.
    pub num_classes: usize,
    /// The loss. The default is softmax cross-entropy, which takes any scores: am-softmax, the default of heads, needs
    /// cosines.
    #[config(default = "presets::CROSS_ENTROPY.spec()")]
    pub loss: LossSpec,
}

impl MarginLossConfig {
    /// Sets the loss to that of a preset, by its name in `softmargin::presets`.
    ///
    /// # Errors
    /// If the name is unknown. The message has the nearest known one.
    pub fn with_preset(self, name: &str) -> softmargin::Result<Self> {
        Ok(self.with_loss(presets::find(name)?.spec()))
    }

    /// Creates a loss on a device.
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error, with its message.
    pub fn init(&self, device: &Device) -> MarginLoss {
        expect(self.try_init(device))
    }

    /// Creates a loss on a device.
    ///
    /// # Errors
    /// If the parts of the loss are out of range or cannot be combined, or it has sub-centers, which only a head has.
    pub fn try_init(&self, device: &Device) -> softmargin::Result<MarginLoss> {
        if self.loss.sub_centers != 1 {
            let advice = "take a MarginHead, or give the best score of each class with sub_centers = 1";
            let found = self.loss.sub_centers.to_string();
            return Err(softmargin::Error::new(ErrorKind::Spec, "sub_centers", "1 for given scores", found, advice));
        }
        let prepared = Prepared::new(self.loss.clone(), self.num_classes)?;
        Ok(MarginLoss { scale: prepared.initial_scale(device), radius: prepared.initial_radius(device), prepared })
    }
}

/// The loss of scores that the model computes itself, in the geometry of the loss: cosines for `am-softmax`, inner
/// products for `cross-entropy`. It owns the parameters that the loss learns.
///
/// [`MarginLossConfig`] creates it. For record and state see [`MarginHead`](crate::MarginHead).
#[derive(Module, Debug)]
pub struct MarginLoss {
    /// The scale, of shape `[1]`; `None` unless it is learned.
    pub scale: Option<Param<Tensor<1>>>,
    /// The radius of ring loss, of shape `[1]`; `None` for other losses.
    pub radius: Option<Param<Tensor<1>>>,
    #[module(skip)]
    prepared: Prepared,
}

impl MarginLoss {
    /// Computes the mean loss of a batch, of shape `[1]`.
    ///
    /// # Shapes
    /// - scores: `[N, C]`
    /// - targets: `[N]`, classes from 0
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error, with its message.
    pub fn forward(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward(scores, targets))
    }

    /// Computes the mean loss of a batch, of shape `[1]`.
    ///
    /// # Errors
    /// If shapes disagree, a label is out of range, the loss needs norms or margins, or (on the Flex backend) a score
    /// is NaN. The message names the rows.
    pub fn try_forward(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> softmargin::Result<Tensor<1>> {
        Ok(self.try_forward_batch(scores, targets, NormTensors::new(), RowTensors::new())?.loss)
    }

    /// Computes the loss of each row, of shape `[N]`; 0 for ignored rows.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_no_reduction(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let rows = RowTensors::new().with_reduction(Reduction::None);
        expect(self.try_forward_batch(scores, targets, NormTensors::new(), rows)).loss
    }

    /// Computes the mean loss of a batch, of shape `[1]`, for a loss that depends on the norms of the embeddings or
    /// prototypes.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_with_norms(&self, scores: Tensor<2>, targets: Tensor<1, Int>, norms: NormTensors) -> Tensor<1> {
        expect(self.try_forward_batch(scores, targets, norms, RowTensors::new())).loss
    }

    /// Computes the mean loss of a batch, of shape `[1]`, against distributions over the classes `[N, C]`. Only softmax
    /// cross-entropy without a margin takes them.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); also if a row of the targets is not a distribution.
    pub fn forward_soft(&self, scores: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        expect(self.try_forward_batch(scores, targets, NormTensors::new(), RowTensors::new())).loss
    }

    /// Computes the loss of a batch of scores `[N, C]`, with optional norms and tensors of its rows. Targets are
    /// classes `[N]` or distributions `[N, C]`.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward); also if the loss does not use a tensor that is given, or a soft target is
    /// not a distribution.
    pub fn try_forward_batch(
        &self,
        scores: Tensor<2>,
        targets: impl Into<TargetInput>,
        norms: NormTensors,
        rows: RowTensors,
    ) -> softmargin::Result<MarginOutput> {
        let operands = Operands::Scores { scores, embedding_norms: norms.embeddings, weight_norms: norms.weights };
        let answer = self.prepared.forward(operands, self.learned(), targets.into(), &rows, Wanted::Scores)?;
        Ok(MarginOutput { loss: answer.loss, scores: answer.scores.expect("the scores were asked for") })
    }

    /// Computes scores (N, C) times the scale, divided by the temperature: their softmax gives the probabilities of the
    /// classes. Gradients flow to the scores and a learned scale.
    pub fn scaled_scores(&self, scores: Tensor<2>) -> Tensor<2> {
        composed::scaled(self.loss(), self.learned().scale, scores)
    }

    /// Returns the checked loss of the module.
    pub fn loss(&self) -> &Loss {
        &self.prepared.loss
    }

    /// Returns the state of the loss: the step, the seed of drawn margins, and moving averages. `None` for a loss
    /// without a state.
    pub fn state(&self) -> Option<&LossState> {
        self.prepared.state.as_ref()
    }

    /// Sets the state, such as a saved one. A loss without a state ignores it.
    pub fn set_state(&mut self, state: LossState) {
        self.prepared.set_state(state);
    }

    /// Counts a training step; call it after each optimizer step. It also stores the moving averages of the latest
    /// batch, and clamps a learned scale to its bounds.
    pub fn advance(&mut self) {
        self.prepared.advance(&mut self.scale);
    }

    fn learned(&self) -> LearnedTensors {
        LearnedTensors { scale: self.scale.as_ref().map(Param::val), radius: self.radius.as_ref().map(Param::val) }
    }
}
