//! A checked loss with what training adds to it, and the choice between the two ways of computing it.

use crate::composed::{self, Problem};
use crate::flex::{self, Request, Source};
use crate::flex_memory::is_flex;
use crate::inputs::{Host, MarginOutput, RowInputs, Targets, Wanted};
use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use softmargin::head::Head;
use softmargin::{Geometry, Loss, LossSpec, LossState, Regularizer, Result, Scale};
use std::sync::{Arc, Mutex, PoisonError};

/// What [`MarginHead`](crate::MarginHead) and [`MarginLoss`](crate::MarginLoss) share.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) loss: Arc<Loss>,
    /// Its head, with wider bounds of a learned scale, which are never met. Its own are kept here: which slope they stop
    /// depends on its sign, which is known only when the gradient of what follows the loss is.
    pub(crate) unbounded: Arc<Head>,
    pub(crate) state: Option<LossState>,
    next: Next,
}

/// What the latest training batch makes of a state, until the step is counted. Clones share it: an optimizer takes a
/// model and gives back another, and the batch was seen by the first.
#[derive(Clone, Debug, Default)]
struct Next(Arc<Mutex<Option<Change>>>);

#[derive(Clone, Debug)]
struct Change {
    from: LossState,
    to: LossState,
}

impl Next {
    fn set(&self, from: LossState, to: LossState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Change { from, to });
    }

    /// What was made of this very state; a clone that went another way does not count.
    fn take(&self, from: &LossState) -> Option<LossState> {
        let mut change = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change.take_if(|change| change.from == *from).map(|change| change.to)
    }
}

/// What a loss answers, and the state that it was computed with.
pub(crate) struct Answer {
    pub(crate) output: MarginOutput,
    /// The class of the largest score of each row, where it is known.
    pub(crate) top: Option<Vec<i64>>,
    pub(crate) state: Option<LossState>,
}

/// The tensors that a loss is a function of.
#[derive(Clone, Debug)]
pub(crate) enum Operands {
    Head { geometry: Geometry, sub_centers: usize, embeddings: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>> },
    Scores { scores: Tensor<2>, embedding_norms: Option<Tensor<1>>, weight_norms: Option<Tensor<1>> },
}

/// The learned numbers of a loss.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    pub(crate) scale: Option<Tensor<1>>,
    pub(crate) radius: Option<Tensor<1>>,
}

impl Prepared {
    pub(crate) fn new(spec: LossSpec, num_classes: usize) -> Result<Self> {
        let loss = spec.build(num_classes)?;
        let unbounded = match loss.spec().scale {
            Scale::Learned { initial, min, max } => {
                let scale = Scale::Learned { initial, min: 0.5 * min, max: 2.0 * max };
                let spec = loss.spec().clone().with_scale(scale);
                // Refused only at the very ends of what a scale may be.
                spec.build(num_classes).unwrap_or_else(|_| loss.clone())
            }
            _ => loss.clone(),
        };
        let state = loss.initial_state();
        Ok(Self { loss: Arc::new(loss), unbounded: Arc::new(Head::new(unbounded)), state, next: Next::default() })
    }

    /// The parameter of a learned scale, at its start.
    pub(crate) fn initial_scale(&self, device: &Device) -> Option<Param<Tensor<1>>> {
        let scale = self.loss.spec().scale;
        scale.is_learned().then(|| number(scale.initial(), device))
    }

    /// The parameter of ring loss, at its start.
    pub(crate) fn initial_radius(&self, device: &Device) -> Option<Param<Tensor<1>>> {
        let radius = self.loss.spec().regularizer.and_then(Regularizer::initial_radius);
        radius.map(|radius| number(radius, device))
    }

    pub(crate) fn set_state(&mut self, state: LossState) {
        if self.state.is_some() {
            self.state = Some(state);
            self.next = Next::default();
        }
    }

    /// One step of training: of the state, and of a scale that its step may have carried past its bounds.
    pub(crate) fn advance(&mut self, scale: &mut Option<Param<Tensor<1>>>) {
        if let Some(state) = &mut self.state {
            if let Some(next) = self.next.take(state) {
                *state = next;
            }
            state.advance();
        }
        if let (Scale::Learned { min, max, .. }, Some(parameter)) = (self.loss.spec().scale, scale.take()) {
            *scale = Some(parameter.map(|value| {
                let required = value.is_require_grad();
                // Clamped before it is detached: only a leaf can require a gradient.
                let value = value.clamp(min, max).detach();
                if required { value.require_grad() } else { value }
            }));
        }
    }

    pub(crate) fn forward(
        &self,
        operands: Operands,
        learned: Learned,
        targets: Targets,
        inputs: &RowInputs,
        wanted: Wanted,
    ) -> Result<Answer> {
        // A batch that nothing is learned from leaves no trace.
        let trains = operands.is_autodiff();
        let answer = if !inputs.composed && operands.are_flex_f32(&learned) {
            let request = Request {
                head: Arc::clone(&self.unbounded),
                scale: self.loss.spec().scale,
                source: operands.source(),
                host: Host::read(targets, inputs),
                state: self.state.clone(),
                trains,
                reduction: inputs.reduction,
                wants_scores: wanted == Wanted::Scores,
            };
            flex::forward(operands, learned, request)?
        } else {
            let host = Host::read(targets, inputs);
            let (loss, state) = (&*self.loss, self.state.as_ref());
            let problem = Problem { loss, state, trains, host: &host, learned, reduction: inputs.reduction };
            match composed::forward_in_chunks(&operands, &problem, wanted)? {
                Some(answer) => answer,
                None => composed::forward(operands, &problem)?,
            }
        };
        if let (true, Some(from), Some(to)) = (trains, &self.state, &answer.state) {
            self.next.set(from.clone(), to.clone());
        }
        Ok(answer)
    }
}

impl Operands {
    fn is_autodiff(&self) -> bool {
        match self {
            Self::Head { embeddings, .. } => embeddings.is_autodiff(),
            Self::Scores { scores, .. } => scores.is_autodiff(),
        }
    }

    /// Whether the core crate can compute on these tensors where they lie.
    fn are_flex_f32(&self, learned: &Learned) -> bool {
        let (matrices, vectors) = match self {
            Self::Head { embeddings, weight, bias, .. } => (vec![embeddings, weight], vec![bias]),
            Self::Scores { scores, embedding_norms, weight_norms } => {
                (vec![scores], vec![embedding_norms, weight_norms])
            }
        };
        let vectors = vectors.into_iter().chain([&learned.scale, &learned.radius]).flatten();
        matrices.iter().all(|tensor| is_flex(&tensor.device()) && tensor.dtype() == DType::F32)
            && vectors.into_iter().all(|tensor| is_flex(&tensor.device()) && tensor.dtype() == DType::F32)
    }

    fn source(&self) -> Source {
        match self {
            Self::Head { geometry, sub_centers, bias, .. } => {
                Source::Embeddings { geometry: *geometry, sub_centers: *sub_centers, bias: bias.is_some() }
            }
            Self::Scores { embedding_norms, weight_norms, .. } => {
                Source::Scores { embedding_norms: embedding_norms.is_some(), weight_norms: weight_norms.is_some() }
            }
        }
    }
}

fn number(value: f64, device: &Device) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(vec![value], [1]), device))
}

/// The losses of this crate's modules are methods that cannot return an error, by Burn's convention.
pub(crate) fn expect<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
