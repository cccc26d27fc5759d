//! A last layer with its loss.

use crate::composed;
use crate::inputs::{MarginOutput, MarginTop, RowInputs, Targets, Wanted};
use crate::prepared::{Learned, Operands, Prepared, expect};
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use softmargin::{ErrorKind, Loss, LossSpec, LossState, Reduction, presets};

/// The configuration of a [`MarginHead`].
///
/// ```
/// use burn::tensor::Device;
/// use softmargin::{LossSpec, Margin, presets};
/// use softmargin_burn::MarginHeadConfig;
///
/// let by_name = MarginHeadConfig::new(64, 10).with_preset("arcface")?;
/// let spec = presets::find("am-softmax")?.spec().with_margin(Margin::score(0.2));
/// let by_spec = MarginHeadConfig::new(64, 10).with_loss(spec);
/// let head = by_spec.try_init(&Device::flex())?;
/// assert_eq!(head.weight.dims(), [10, 64]);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct MarginHeadConfig {
    /// D: numbers in an embedding.
    pub embedding_size: usize,
    /// C.
    pub num_classes: usize,
    /// The loss; softmax cross-entropy where nothing is said.
    #[config(default = "cross_entropy()")]
    pub loss: LossSpec,
    /// How the prototypes start: uniform within `1 / sqrt(D)`, as Burn's linear layer, where nothing is said. A bias
    /// starts at 0.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0 / f64::sqrt(3.0), fan_out_only: false }")]
    pub initializer: Initializer,
}

/// Softmax cross-entropy as its preset has it.
pub(crate) fn cross_entropy() -> LossSpec {
    expect(presets::find("cross-entropy")).spec()
}

impl MarginHeadConfig {
    /// The same with the loss of a preset, as `softmargin::presets` names it.
    ///
    /// # Errors
    /// On an unknown name; the message has the nearest known one.
    pub fn with_preset(self, name: &str) -> softmargin::Result<Self> {
        Ok(self.with_loss(presets::find(name)?.spec()))
    }

    /// A head on a device.
    ///
    /// # Panics
    /// With the message of [`try_init`](Self::try_init) where that refuses.
    pub fn init(&self, device: &Device) -> MarginHead {
        expect(self.try_init(device))
    }

    /// A head on a device.
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
/// Made by [`MarginHeadConfig`]. Its record holds the parameters. What a loss carries from step to step is no parameter:
/// save [`state`](Self::state) beside the record. Clones, [`valid`](Module::valid) and optimizer steps keep it.
///
/// On a device with autodiff a batch is taken into the moving averages of a loss that has them before its loss is computed;
/// [`advance`](Self::advance) keeps what the latest batch has made of them. Elsewhere the state is only read. An optimizer's
/// step makes a clone, so clones share the latest batch: two of them that start in one state must not be trained in turns;
/// [`set_state`](Self::set_state) parts them.
#[derive(Module, Debug)]
pub struct MarginHead {
    /// The prototypes (C, D); with K sub-centers (C K, D), those of a class one after the other.
    pub weight: Param<Tensor<2>>,
    /// The bias, one number a prototype, where the geometry has one.
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
    /// With the message of [`try_forward`](Self::try_forward) where that refuses.
    pub fn forward(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        expect(self.try_forward(embeddings, targets))
    }

    /// The mean loss of a batch, shape `[1]`.
    ///
    /// # Errors
    /// When shapes disagree, a label is out of range, or (on the Flex backend) a score is NaN; the message names the rows.
    pub fn try_forward(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> softmargin::Result<Tensor<1>> {
        self.loss_of(embeddings, targets.into(), &RowInputs::new())
    }

    /// The loss of each row, shape `[N]`; 0 for ignored rows.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_no_reduction(&self, embeddings: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        let inputs = RowInputs::new().with_reduction(Reduction::None);
        expect(self.loss_of(embeddings, targets.into(), &inputs))
    }

    /// The mean loss of a batch, shape `[1]`, against a distribution over the classes (N, C) for each row: softmax
    /// cross-entropy without a margin only.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and where a row is no distribution.
    pub fn forward_soft(&self, embeddings: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        expect(self.loss_of(embeddings, targets.into(), &RowInputs::new()))
    }

    /// Loss and scores of a batch with everything that its rows may bring.
    ///
    /// # Panics
    /// With the message of [`try_forward_batch`](Self::try_forward_batch) where that refuses.
    pub fn forward_batch(&self, embeddings: Tensor<2>, targets: impl Into<Targets>, inputs: RowInputs) -> MarginOutput {
        expect(self.try_forward_batch(embeddings, targets, inputs))
    }

    /// Loss and scores of a batch with everything that its rows may bring.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward); also when the loss needs margins and gets none, or gets what it has no use
    /// for.
    pub fn try_forward_batch(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<Targets>,
        inputs: RowInputs,
    ) -> softmargin::Result<MarginOutput> {
        let operands = self.operands(embeddings);
        Ok(self.prepared.forward(operands, self.learned(), targets.into(), &inputs, Wanted::Scores)?.output)
    }

    /// The loss alone: where nobody asks for the scores they need not be copied.
    fn loss_of(&self, embeddings: Tensor<2>, targets: Targets, inputs: &RowInputs) -> softmargin::Result<Tensor<1>> {
        let operands = self.operands(embeddings);
        Ok(self.prepared.forward(operands, self.learned(), targets, inputs, Wanted::Nothing)?.output.loss)
    }

    /// Loss of a batch and the class that each row is taken for. On the Flex backend its scores are never held, however many
    /// the classes.
    ///
    /// # Errors
    /// As [`try_forward_batch`](Self::try_forward_batch).
    pub fn try_forward_top(
        &self,
        embeddings: Tensor<2>,
        targets: impl Into<Targets>,
        inputs: RowInputs,
    ) -> softmargin::Result<MarginTop> {
        let device = embeddings.device();
        let operands = self.operands(embeddings);
        let answer = self.prepared.forward(operands, self.learned(), targets.into(), &inputs, Wanted::Top)?;
        let MarginOutput { loss, scores } = answer.output;
        let top = match answer.top {
            Some(top) => {
                let rows = top.len();
                Tensor::from_data(TensorData::new(top, [rows]), &device)
            }
            None => scores.argmax(1).flatten(0, 1),
        };
        Ok(MarginTop { loss, top })
    }

    fn operands(&self, embeddings: Tensor<2>) -> Operands {
        Operands::Head {
            geometry: self.loss().spec().geometry,
            sub_centers: self.loss().spec().sub_centers,
            embeddings,
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(Param::val),
        }
    }

    /// The scores (N, C) of embeddings (N, D), as the geometry makes them: cosines, or inner products and bias; of the
    /// prototypes of a class the best one counts. The largest of a row is its class. Gradients flow.
    ///
    /// # Panics
    /// When the embeddings are not as wide as the prototypes.
    pub fn scores(&self, embeddings: Tensor<2>) -> Tensor<2> {
        let bias = self.bias.as_ref().map(Param::val);
        let LossSpec { geometry, sub_centers, .. } = self.loss().spec();
        expect(composed::scores(*geometry, *sub_centers, embeddings, self.weight.val(), bias))
    }

    /// The scores (N, C) times the scale, divided by the temperature: their softmax gives the probabilities of the
    /// classes. Gradients flow.
    ///
    /// # Panics
    /// As [`scores`](Self::scores).
    pub fn scaled_scores(&self, embeddings: Tensor<2>) -> Tensor<2> {
        composed::scaled(self.loss(), self.learned().scale, self.scores(embeddings))
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
