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
    /// The loss. The default is am-softmax, as for all heads of this project.
    #[config(default = "presets::AM_SOFTMAX.spec()")]
    pub loss: LossSpec,
    /// The initializer of the prototypes. The default is uniform from `-1 / sqrt(D)` to `1 / sqrt(D)`, as in Burn's
    /// linear layer. A bias starts at 0.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0 / f64::sqrt(3.0), fan_out_only: false }")]
    pub initializer: Initializer,
}

impl MarginHeadConfig {
    /// Sets the loss to that of a preset, by its name in `softmargin::presets`.
    ///
    /// # Errors
    /// If the name is unknown. The message has the nearest known one.
    pub fn with_preset(self, name: &str) -> softmargin::Result<Self> {
        Ok(self.with_loss(presets::find(name)?.spec()))
    }

    /// Creates a head on a device.
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error, with its message.
    pub fn init(&self, device: &Device) -> MarginHead {
        expect(self.try_init(device))
    }

    /// Creates a head on a device.
    ///
    /// # Errors
    /// If the parts of the loss are out of range or cannot be combined, or a size is 0.
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

/// A last layer with its loss. It owns the prototypes, and all other parameters that the loss learns.
///
/// [`MarginHeadConfig`] creates it. Its record has the parameters. The [`state`](Self::state) of a loss is not a
/// parameter: save it with the record. Clones, [`valid`](Module::valid) and optimizer steps preserve it.
///
/// On a device with autodiff, a batch updates the moving averages of the loss, if it has any, before the loss is
/// computed; [`advance`](Self::advance) makes the result the state. On other devices the state is only read. An
/// optimizer step returns a clone, so clones share the averages of the latest batch. Do not train two clones of one
/// state in turns, unless one of them has a state of its own, set with [`set_state`](Self::set_state).
#[derive(Module, Debug)]
pub struct MarginHead {
    /// The prototypes (C, D); with K sub-centers (C K, D), where those of a class are consecutive.
    pub weight: Param<Tensor<2>>,
    /// The bias (C K), one value per prototype; `None` unless the geometry has one.
    pub bias: Option<Param<Tensor<1>>>,
    /// The scale, of shape `[1]`; `None` unless it is learned.
    pub scale: Option<Param<Tensor<1>>>,
    /// The radius of ring loss, of shape `[1]`; `None` for other losses.
    pub radius: Option<Param<Tensor<1>>>,
    #[module(skip)]
    prepared: Prepared,
}

impl MarginHead {
    /// Computes the mean loss of a batch, of shape `[1]`.
    ///
    /// # Shapes
    /// - embeddings: `[N, D]`
    /// - targets: `[N]`, classes from 0
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error, with its message.
    pub fn forward(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward(embeddings, targets))
    }

    /// Computes the mean loss of a batch, of shape `[1]`.
    ///
    /// # Errors
    /// If shapes disagree, a label is out of range, the loss needs margins, or (on the Flex backend) a score is NaN.
    /// The message names the rows.
    pub fn try_forward(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> softmargin::Result<Tensor<1>> {
        self.loss_of(embeddings, targets.into(), &RowTensors::new())
    }

    /// Computes the loss of each row, of shape `[N]`; 0 for ignored rows.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_no_reduction(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let rows = RowTensors::new().with_reduction(Reduction::None);
        expect(self.loss_of(embeddings, targets.into(), &rows))
    }

    /// Computes the mean loss of a batch, of shape `[1]`, against distributions over the classes `[N, C]`. Only softmax
    /// cross-entropy without a margin takes them.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); also if a row of the targets is not a distribution.
    pub fn forward_soft(&self, embeddings: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        expect(self.loss_of(embeddings, targets.into(), &RowTensors::new()))
    }

    /// Computes loss and scores of a batch, with optional tensors of its rows. Targets are classes `[N]` or
    /// distributions `[N, C]`.
    ///
    /// # Panics
    /// If [`try_forward_batch`](Self::try_forward_batch) returns an error, with its message.
    pub fn forward_batch(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<TargetInput>,
        rows: RowTensors,
    ) -> MarginOutput {
        expect(self.try_forward_batch(embeddings, targets, rows))
    }

    /// Computes loss and scores of a batch, with optional tensors of its rows. Targets are classes `[N]` or
    /// distributions `[N, C]`.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward); also if the loss does not use a tensor that is given, or a soft target is
    /// not a distribution.
    pub fn try_forward_batch(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<TargetInput>,
        rows: RowTensors,
    ) -> softmargin::Result<MarginOutput> {
        let Answer { loss, scores, .. } = self.answer(embeddings, targets.into(), &rows, Wanted::Scores)?;
        Ok(MarginOutput { loss, scores: scores.expect("the scores were asked for") })
    }

    /// Computes the loss only, so that the scores need not be stored.
    fn loss_of(&self, embeddings: Tensor<2>, targets: TargetInput, rows: &RowTensors) -> softmargin::Result<Tensor<1>> {
        Ok(self.answer(embeddings, targets, rows, Wanted::Nothing)?.loss)
    }

    /// Computes the loss of a batch and the predicted class of each row. On the Flex backend, in `f32`, the memory
    /// for scores is limited, for any number of classes.
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

    /// Computes the scores (N, C) of embeddings (N, D) in the geometry of the loss: cosines, or inner products and
    /// bias. With sub-centers, the score of a class is the largest of its prototypes. The predicted class has the
    /// largest score. Gradients flow to embeddings and parameters.
    ///
    /// # Panics
    /// If the embedding dimension is not that of the prototypes.
    pub fn scores(&self, embeddings: Tensor<2>) -> Tensor<2> {
        expect(composed::scores(self.operands(embeddings)))
    }

    /// Computes the scores (N, C) of embeddings (N, D) times the scale, divided by the temperature: their softmax gives
    /// the probabilities of the classes. Gradients flow to embeddings and parameters.
    ///
    /// # Panics
    /// As [`scores`](Self::scores).
    pub fn scaled_scores(&self, embeddings: Tensor<2>) -> Tensor<2> {
        self.scale_scores(self.scores(embeddings))
    }

    /// Multiplies scores (N, C) by the scale and divides them by the temperature, for callers that need both: computing
    /// [`scores`](Self::scores) costs a product of matrices.
    pub fn scale_scores(&self, scores: Tensor<2>) -> Tensor<2> {
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
