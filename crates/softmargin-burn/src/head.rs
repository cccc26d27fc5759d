//! A last layer with its loss.

use crate::call::{Answer, HeadOperands, LearnedTensors, Operands, Wanted};
use crate::composed;
use crate::inputs::{MarginOutput, MarginTop, RowTensors, TargetInput};
use crate::prepared::{Prepared, expect};
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Int, Tensor};
use softmargin::{ErrorKind, Loss, LossSpec, LossState, Reduction, presets};

/// The configuration of a [`MarginHead`].
///
/// ```
/// use burn::tensor::Device;
/// use softmargin::{LossSpec, Margin, presets};
/// use softmargin_burn::MarginHeadConfig;
///
/// let by_name = MarginHeadConfig::new(64, 10).with_preset("arcface")?;
/// let spec = presets::AM_SOFTMAX.spec().with_margin(Margin::score(0.2));
/// let by_spec = MarginHeadConfig::new(64, 10).with_loss(spec);
/// let head = by_spec.try_init(&Device::flex())?;
/// assert_eq!(head.weight.dims(), [10, 64]);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct MarginHeadConfig {
    /// D: the embedding dimension.
    pub embedding_size: usize,
    /// C: the number of classes.
    pub num_classes: usize,
    /// The loss; by default am-softmax, as everywhere in this project where a head is made.
    #[config(default = "presets::AM_SOFTMAX.spec()")]
    pub loss: LossSpec,
    /// The initializer of the prototypes; by default uniform within `1 / sqrt(D)`, as in Burn's linear layer. A bias starts
    /// at 0.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0 / f64::sqrt(3.0), fan_out_only: false }")]
    pub initializer: Initializer,
}

impl MarginHeadConfig {
    /// Sets the loss to that of a preset, by its name in `softmargin::presets`.
    ///
    /// # Errors
    /// When the name is unknown; the message has the nearest known one.
    pub fn with_preset(self, name: &str) -> softmargin::Result<Self> {
        Ok(self.with_loss(presets::find(name)?.spec()))
    }

    /// Makes a head on a device.
    ///
    /// # Panics
    /// With the message of [`try_init`](Self::try_init) where that returns an error.
    pub fn init(&self, device: &Device) -> MarginHead {
        expect(self.try_init(device))
    }

    /// Makes a head on a device.
    ///
    /// # Errors
    /// When the parts of the loss do not go together, or a size is 0.
    pub fn try_init(&self, device: &Device) -> softmargin::Result<MarginHead> {
        let (classes, width) = (self.num_classes, self.embedding_size);
        let prepared = Prepared::new(self.loss.clone(), classes)?;
        if width == 0 {
            let advice = "give the width of the embeddings";
            return Err(softmargin::Error::new(ErrorKind::Spec, "embedding_size", "at least 1", "0", advice));
        }
        let has_bias = self.loss.geometry.has_bias();
        let prototypes = classes * self.loss.sub_centers;
        Ok(MarginHead {
            weight: self.initializer.init_with([prototypes, width], Some(width), Some(prototypes), device),
            bias: has_bias.then(|| Initializer::Zeros.init([prototypes], device)),
            scale: prepared.initial_scale(device),
            radius: prepared.initial_radius(device),
            prepared,
        })
    }
}

/// A last layer with its loss: it owns a prototype for each class and all that the loss learns.
///
/// Made by [`MarginHeadConfig`]. Its record holds the parameters. The [`state`](Self::state) of a loss is no parameter: save
/// it beside the record. Clones, [`valid`](Module::valid) and optimizer steps keep it.
///
/// On a device with autodiff a batch is taken into the moving averages of a loss that has them before its loss is computed;
/// [`advance`](Self::advance) makes the result the state. Elsewhere the state is only read. An optimizer's step makes a
/// clone, so clones share the latest batch: do not train two clones of one state in turns, or give one of them a state of
/// its own by [`set_state`](Self::set_state).
#[derive(Module, Debug)]
pub struct MarginHead {
    /// The prototypes (C, D); with K sub-centers (C K, D), those of a class one after the other.
    pub weight: Param<Tensor<2>>,
    /// The bias, one value a prototype, where the geometry has one.
    pub bias: Option<Param<Tensor<1>>>,
    /// Shape `[1]`: the scale, where it is learned.
    pub scale: Option<Param<Tensor<1>>>,
    /// Shape `[1]`: the radius of ring loss, where there is one.
    pub radius: Option<Param<Tensor<1>>>,
    #[module(skip)]
    prepared: Prepared,
}

impl MarginHead {
    /// The mean loss of a batch, shape `[1]`.
    ///
    /// # Shapes
    /// - embeddings: `[N, D]`
    /// - targets: `[N]`, classes from 0
    ///
    /// # Panics
    /// With the message of [`try_forward`](Self::try_forward) where that returns an error.
    pub fn forward(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward(embeddings, targets))
    }

    /// The mean loss of a batch, shape `[1]`.
    ///
    /// # Errors
    /// When shapes disagree, a label is out of range, or (on the Flex backend) a score is NaN; the message names the rows.
    pub fn try_forward(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> softmargin::Result<Tensor<1>> {
        self.loss_of(embeddings, targets.into(), &RowTensors::new())
    }

    /// The loss of each row, shape `[N]`; 0 for ignored rows.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_no_reduction(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let rows = RowTensors::new().with_reduction(Reduction::None);
        expect(self.loss_of(embeddings, targets.into(), &rows))
    }

    /// The mean loss of a batch, shape `[1]`, against a distribution over the classes (N, C) for each row: softmax
    /// cross-entropy without a margin only.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and where a row is no distribution.
    pub fn forward_soft(&self, embeddings: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        expect(self.loss_of(embeddings, targets.into(), &RowTensors::new()))
    }

    /// Loss and scores of a batch, with optional tensors of its rows.
    ///
    /// # Panics
    /// With the message of [`try_forward_batch`](Self::try_forward_batch) where that returns an error.
    pub fn forward_batch(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<TargetInput>,
        rows: RowTensors,
    ) -> MarginOutput {
        expect(self.try_forward_batch(embeddings, targets, rows))
    }

    /// Loss and scores of a batch, with optional tensors of its rows.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward); also when the loss needs margins that are missing, or has no use for a tensor
    /// that is there.
    pub fn try_forward_batch(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<TargetInput>,
        rows: RowTensors,
    ) -> softmargin::Result<MarginOutput> {
        let Answer { loss, scores, .. } = self.answer(embeddings, targets.into(), &rows, Wanted::Scores)?;
        Ok(MarginOutput { loss, scores: scores.expect("the scores were asked for") })
    }

    /// The loss alone: the scores need not be stored.
    fn loss_of(&self, embeddings: Tensor<2>, targets: TargetInput, rows: &RowTensors) -> softmargin::Result<Tensor<1>> {
        Ok(self.answer(embeddings, targets, rows, Wanted::Nothing)?.loss)
    }

    /// Loss of a batch and the class that each row is predicted as. On the Flex backend the scores are never stored, for any
    /// number of classes.
    ///
    /// # Errors
    /// As [`try_forward_batch`](Self::try_forward_batch).
    pub fn try_forward_top(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<TargetInput>,
        rows: RowTensors,
    ) -> softmargin::Result<MarginTop> {
        let Answer { loss, top, .. } = self.answer(embeddings, targets.into(), &rows, Wanted::Top)?;
        Ok(MarginTop { loss, top: top.expect("the predicted classes were asked for") })
    }

    fn answer(
        &self,
        embeddings: Tensor<2>,
        targets: TargetInput,
        rows: &RowTensors,
        wanted: Wanted,
    ) -> softmargin::Result<Answer> {
        self.prepared.forward(Operands::Head(self.operands(embeddings)), self.learned(), targets, rows, wanted)
    }

    fn operands(&self, embeddings: Tensor<2>) -> HeadOperands {
        let LossSpec { geometry, sub_centers, .. } = *self.loss().spec();
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        HeadOperands { geometry, sub_centers, embeddings, weight, bias }
    }

    /// The scores (N, C) of embeddings (N, D), as the geometry makes them: cosines, or inner products and bias, the best of
    /// the prototypes of each class. The predicted class has the largest. Gradients flow.
    ///
    /// # Panics
    /// When the embeddings are not as wide as the prototypes.
    pub fn scores(&self, embeddings: Tensor<2>) -> Tensor<2> {
        expect(composed::scores(self.operands(embeddings)))
    }

    /// The scores (N, C) times the scale, divided by the temperature: their softmax gives the probabilities of the
    /// classes. Gradients flow.
    ///
    /// # Panics
    /// As [`scores`](Self::scores).
    pub fn scaled_scores(&self, embeddings: Tensor<2>) -> Tensor<2> {
        composed::scaled(self.loss(), self.learned().scale, self.scores(embeddings))
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
