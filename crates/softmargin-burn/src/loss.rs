//! The loss of scores that the model makes itself.

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
    /// The loss; by default softmax cross-entropy, because the default of heads, am-softmax, would take any scores for cosines.
    #[config(default = "presets::CROSS_ENTROPY.spec()")]
    pub loss: LossSpec,
}

impl MarginLossConfig {
    /// Sets the loss to that of a preset, by its name in `softmargin::presets`.
    ///
    /// # Errors
    /// When the name is unknown; the message has the nearest known one.
    pub fn with_preset(self, name: &str) -> softmargin::Result<Self> {
        Ok(self.with_loss(presets::find(name)?.spec()))
    }

    /// Makes a loss on a device.
    ///
    /// # Panics
    /// With the message of [`try_init`](Self::try_init) where that returns an error.
    pub fn init(&self, device: &Device) -> MarginLoss {
        expect(self.try_init(device))
    }

    /// Makes a loss on a device.
    ///
    /// # Errors
    /// When the parts of the loss do not go together, or there are sub-centers: those belong to the prototypes of a head.
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

/// The loss of scores that the model makes itself, in the geometry of the loss: cosines for `am-softmax`, inner products for
/// `cross-entropy`. It owns the parameters that the loss learns.
///
/// Made by [`MarginLossConfig`]. For record and state see [`MarginHead`](crate::MarginHead).
#[derive(Module, Debug)]
pub struct MarginLoss {
    /// Shape `[1]`: the scale, where it is learned.
    pub scale: Option<Param<Tensor<1>>>,
    /// Shape `[1]`: the radius of ring loss, where there is one.
    pub radius: Option<Param<Tensor<1>>>,
    #[module(skip)]
    prepared: Prepared,
}

impl MarginLoss {
    /// The mean loss of a batch, shape `[1]`.
    ///
    /// # Shapes
    /// - scores: `[N, C]`
    /// - targets: `[N]`, classes from 0
    ///
    /// # Panics
    /// With the message of [`try_forward`](Self::try_forward) where that returns an error.
    pub fn forward(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward(scores, targets))
    }

    /// The mean loss of a batch, shape `[1]`.
    ///
    /// # Errors
    /// When shapes disagree, a label is out of range, the loss needs norms, or (on the Flex backend) a score is NaN; the
    /// message names the rows.
    pub fn try_forward(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> softmargin::Result<Tensor<1>> {
        Ok(self.try_forward_batch(scores, targets, NormTensors::new(), RowTensors::new())?.loss)
    }

    /// The loss of each row, shape `[N]`; 0 for ignored rows.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_no_reduction(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let rows = RowTensors::new().with_reduction(Reduction::None);
        expect(self.try_forward_batch(scores, targets, NormTensors::new(), rows)).loss
    }

    /// The mean loss of a batch, shape `[1]`, for a loss that depends on the norms that the scores were made with.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_with_norms(&self, scores: Tensor<2>, targets: Tensor<1, Int>, norms: NormTensors) -> Tensor<1> {
        expect(self.try_forward_batch(scores, targets, norms, RowTensors::new())).loss
    }

    /// The mean loss of a batch, shape `[1]`, against a distribution over the classes (N, C) for each row: softmax
    /// cross-entropy without a margin only.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and where a row is no distribution.
    pub fn forward_soft(&self, scores: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        expect(self.try_forward_batch(scores, targets, NormTensors::new(), RowTensors::new())).loss
    }

    /// The loss of a batch, with optional tensors of its rows.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward); also when the loss needs norms or margins that are missing, or has no use for a
    /// tensor that is there.
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

    /// Scores (N, C) times the scale, divided by the temperature: their softmax gives the probabilities of the classes.
    /// Gradients flow.
    pub fn scaled_scores(&self, scores: Tensor<2>) -> Tensor<2> {
        composed::scaled(self.loss(), self.learned().scale, scores)
    }

    /// The loss that the module was made with.
    pub fn loss(&self) -> &Loss {
        &self.prepared.loss
    }

    /// The state of a loss that changes from step to step: annealing, draws, moving averages.
    pub fn state(&self) -> Option<&LossState> {
        self.prepared.state.as_ref()
    }

    /// Continues from a saved state. A loss without a state stays without one.
    pub fn set_state(&mut self, state: LossState) {
        self.prepared.set_state(state);
    }

    /// Counts a step; call it after each optimizer step. Updates the moving averages by the latest batch, and clamps a learned
    /// scale to its bounds.
    pub fn advance(&mut self) {
        self.prepared.advance(&mut self.scale);
    }

    fn learned(&self) -> LearnedTensors {
        LearnedTensors { scale: self.scale.as_ref().map(Param::val), radius: self.radius.as_ref().map(Param::val) }
    }
}
