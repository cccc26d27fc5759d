//! The loss of scores that the model makes itself.

use crate::composed;
use crate::head::cross_entropy;
use crate::inputs::{MarginOutput, Norms, RowInputs, Targets, Wanted};
use crate::prepared::{Learned, Operands, Prepared, expect};
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
    /// C.
    pub num_classes: usize,
    /// The loss; softmax cross-entropy where nothing is said.
    #[config(default = "cross_entropy()")]
    pub loss: LossSpec,
}

impl MarginLossConfig {
    /// The same with the loss of a preset, as `softmargin::presets` names it.
    ///
    /// # Errors
    /// On an unknown name; the message has the nearest known one.
    pub fn with_preset(self, name: &str) -> softmargin::Result<Self> {
        Ok(self.with_loss(presets::find(name)?.spec()))
    }

    /// A loss on a device.
    ///
    /// # Panics
    /// With the message of [`try_init`](Self::try_init) where that refuses.
    pub fn init(&self, device: &Device) -> MarginLoss {
        expect(self.try_init(device))
    }

    /// A loss on a device.
    ///
    /// # Errors
    /// When the parts of the loss do not go together, or ask for sub-centers: those belong to the prototypes of a head.
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

/// The loss of scores that the model makes itself, as the geometry of the loss says they are made: cosines for
/// `am-softmax`, inner products for `cross-entropy`. It owns what the loss learns.
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
    /// With the message of [`try_forward`](Self::try_forward) where that refuses.
    pub fn forward(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward(scores, targets))
    }

    /// The mean loss of a batch, shape `[1]`.
    ///
    /// # Errors
    /// When shapes disagree, a label is out of range, the loss needs norms, or (on the Flex backend) a score is NaN; the
    /// message names the rows.
    pub fn try_forward(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> softmargin::Result<Tensor<1>> {
        Ok(self.try_forward_batch(scores, targets, Norms::new(), RowInputs::new())?.loss)
    }

    /// The loss of each row, shape `[N]`; 0 for ignored rows.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_no_reduction(&self, scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let inputs = RowInputs::new().with_reduction(Reduction::None);
        expect(self.try_forward_batch(scores, targets, Norms::new(), inputs)).loss
    }

    /// The mean loss of a batch, shape `[1]`, for a loss that looks at the norms that the scores were made with.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_with_norms(&self, scores: Tensor<2>, targets: Tensor<1, Int>, norms: Norms) -> Tensor<1> {
        expect(self.try_forward_batch(scores, targets, norms, RowInputs::new())).loss
    }

    /// The mean loss of a batch, shape `[1]`, against a distribution over the classes (N, C) for each row: softmax
    /// cross-entropy without a margin only.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and where a row is no distribution.
    pub fn forward_soft(&self, scores: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        expect(self.try_forward_batch(scores, targets, Norms::new(), RowInputs::new())).loss
    }

    /// The loss of a batch with everything that its rows may bring.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward); also when the loss needs norms or margins and gets none, or gets what it has
    /// no use for.
    pub fn try_forward_batch(
        &self,
        scores: Tensor<2>,
        targets: impl Into<Targets>,
        norms: Norms,
        inputs: RowInputs,
    ) -> softmargin::Result<MarginOutput> {
        let operands = Operands::Scores { scores, embedding_norms: norms.embeddings, weight_norms: norms.weights };
        Ok(self.prepared.forward(operands, self.learned(), targets.into(), &inputs, Wanted::Scores)?.output)
    }

    /// Scores (N, C) times the scale, divided by the temperature: their softmax gives the probabilities of the classes.
    /// Gradients flow.
    pub fn scaled_scores(&self, scores: Tensor<2>) -> Tensor<2> {
        composed::scaled(self.loss(), self.learned().scale, scores)
    }

    /// The loss that it was made with.
    pub fn loss(&self) -> &Loss {
        &self.prepared.loss
    }

    /// What changes from step to step, for a loss that has it: annealing, draws, moving averages.
    pub fn state(&self) -> Option<&LossState> {
        self.prepared.state.as_ref()
    }

    /// Goes on from a state that was saved. A loss without one stays without.
    pub fn set_state(&mut self, state: LossState) {
        self.prepared.set_state(state);
    }

    /// To be called after each optimizer step: counts it, keeps what its batch has made of the moving averages, and puts
    /// a learned scale that it carried past its bounds back.
    pub fn advance(&mut self) {
        self.prepared.advance(&mut self.scale);
    }

    fn learned(&self) -> Learned {
        Learned { scale: self.scale.as_ref().map(Param::val), radius: self.radius.as_ref().map(Param::val) }
    }
}
