//! A checked loss with its state in training, and the choice between the Flex operation and the composed loss.

use crate::call::{Answer, Call, HostRows, LearnedTensors, Operands, Wanted};
use crate::flex_memory::is_flex;
use crate::inputs::{RowTensors, TargetInput};
use crate::{composed, flex};
use burn::module::Param;
use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use softmargin::head::Head;
use softmargin::{Loss, LossSpec, LossState, Real, Regularizer, Result, Scale};
use std::sync::{Arc, Mutex, PoisonError};

/// The common part of [`MarginHead`](crate::MarginHead) and [`MarginLoss`](crate::MarginLoss).
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) loss: Arc<Loss>,
    /// The head of the loss, with bounds of a learned scale that the clamped parameter cannot reach. The true bounds
    /// must be applied to the final gradient: they stop one sign of it, which depends on the upstream gradient.
    pub(crate) unbounded: Arc<Head>,
    pub(crate) state: Option<LossState>,
    next: Next,
}

/// The state after the latest training batch, until the step is counted. Clones share it: an optimizer consumes the
/// module that computed the batch and returns a clone.
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

    /// Takes the change if it starts from this state. A clone may have stored a change of another state.
    fn take(&self, from: &LossState) -> Option<LossState> {
        let mut change = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change.take_if(|change| change.from == *from).map(|change| change.to)
    }
}

impl Prepared {
    pub(crate) fn new(spec: LossSpec, num_classes: usize) -> Result<Self> {
        let loss = spec.build(num_classes)?;
        let unbounded = match loss.spec().scale {
            Scale::Learned { initial, min, max } => {
                let scale = Scale::Learned { initial, min: 0.5 * min, max: 2.0 * max };
                let spec = loss.spec().clone().with_scale(scale);
                // The wider bounds are rejected only at the ends of the range of scales.
                spec.build(num_classes).unwrap_or_else(|_| loss.clone())
            }
            _ => loss.clone(),
        };
        let state = loss.initial_state();
        Ok(Self { loss: Arc::new(loss), unbounded: Arc::new(Head::new(unbounded)), state, next: Next::default() })
    }

    /// Returns the parameter of a learned scale, at its initial value.
    pub(crate) fn initial_scale(&self, device: &Device) -> Option<Param<Tensor<1>>> {
        let scale = self.loss.spec().scale;
        scale.is_learned().then(|| number(scale.initial(), device))
    }

    /// Returns the radius of ring loss, at its initial value.
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

    /// Counts a training step, and clamps a learned scale, which the step may have moved past its bounds.
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
                // The value is clamped before it is detached, since only a leaf can require a gradient.
                let value = value.clamp(min, max).detach();
                if required { value.require_grad() } else { value }
            }));
        }
    }

    pub(crate) fn forward(
        &self,
        operands: Operands,
        learned: LearnedTensors,
        targets: TargetInput,
        rows: &RowTensors,
        wanted: Wanted,
    ) -> Result<Answer> {
        let trains = operands.matrices()[0].is_autodiff();
        let answer = if !rows.composed && are_flex_f32(&operands, &learned) {
            flex::forward(operands, learned, self.call(targets, rows, trains, wanted))?
        } else {
            composed::forward(operands, &learned, &self.call(targets, rows, trains, wanted))?
        };
        if let (true, Some(from), Some(to)) = (trains, &self.state, &answer.state) {
            self.next.set(from.clone(), to.clone());
        }
        Ok(answer)
    }

    fn call<F: Real + Element>(
        &self,
        targets: TargetInput,
        rows: &RowTensors,
        trains: bool,
        wanted: Wanted,
    ) -> Call<F> {
        Call {
            head: Arc::clone(&self.unbounded),
            scale: self.loss.spec().scale,
            rows: HostRows::read(targets, rows),
            state: self.state.clone(),
            trains,
            reduction: rows.reduction,
            wanted,
        }
    }
}

/// Returns true if all tensors are `f32` in the memory of the Flex backend, where the core crate can read them.
fn are_flex_f32(operands: &Operands, learned: &LearnedTensors) -> bool {
    let vectors = operands.vectors().into_iter().chain([&learned.scale, &learned.radius]).flatten();
    let mut all = operands.matrices().into_iter().map(|tensor| (tensor.device(), tensor.dtype()));
    all.all(|(device, dtype)| is_flex(&device) && dtype == DType::F32)
        && vectors.into_iter().all(|tensor| is_flex(&tensor.device()) && tensor.dtype() == DType::F32)
}

fn number(value: f64, device: &Device) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(vec![value], [1]), device))
}

/// Returns the value, or panics with the message of the error: by Burn's convention `forward` returns no `Result`.
pub(crate) fn expect<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
