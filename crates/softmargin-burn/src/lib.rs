//! The losses of [`softmargin`] as modules for Burn.
//!
//! | module | from | for |
//! |---|---|---|
//! | [`MarginHead`] | embeddings (N, D) | a last layer with its loss, which owns the prototypes (C, D) |
//! | [`MarginLoss`] | scores (N, C) | models that compute the scores themselves |
//!
//! Both take any [`LossSpec`](softmargin::LossSpec): cross-entropy, margins on score, logit and angle, hinges, with a
//! learned scale, label smoothing, class weights and the rest of the family.
//!
//! ```
//! use burn::optim::{AdamConfig, GradientsParams};
//! use burn::tensor::{Device, Int, Tensor};
//! use softmargin_burn::MarginHeadConfig;
//!
//! let device = Device::flex().autodiff();
//! let embeddings = Tensor::<2>::from_floats([[2.0, 0.1], [0.2, 1.0], [-1.0, -1.1]], &device);
//! let targets = Tensor::<1, Int>::from_ints([0, 1, 2], &device);
//! let mut head = MarginHeadConfig::new(2, 3).with_preset("am-softmax")?.try_init(&device)?;
//! let mut optimizer = AdamConfig::new().init();
//! let before = head.forward(embeddings.clone(), targets.clone()).into_scalar::<f32>();
//! for _ in 0..50 {
//!     let gradients = head.forward(embeddings.clone(), targets.clone()).backward();
//!     let gradients = GradientsParams::from_grads(gradients, &head);
//!     head = optimizer.step(0.05, head, gradients);
//!     head.advance();
//! }
//! let after = head.forward(embeddings, targets).into_scalar::<f32>();
//! assert!(after < before);
//! # Ok::<(), softmargin::Error>(())
//! ```
//!
//! # Devices
//!
//! On Burn's Flex backend, in `f32`, the core crate computes value and gradients. The loss is one operation with its
//! own backward pass, results are bitwise identical for any number of threads, and if scores are NaN, an error names
//! their rows. [`MarginHead::forward`] and [`MarginHead::try_forward_top`], which do not return scores, store them
//! there only within [a limit](softmargin::head::HeadOptions::memory), for any number of classes.
//!
//! On any other device, and in any other precision, tensor operations on the device compute the scores and two sweeps
//! over them, for some rows at a time if a head has many scores. The core crate computes everything of size N on the
//! host. A step waits for the device twice: to read back the scores of the targets, and then a few accumulators per
//! row. Targets, sample weights, margins, norms and the learned scale and radius are checked there too. Scores are not
//! checked: a NaN or a plus infinity gives a loss that is not finite, and if the loss needs an angle, a score that is
//! not a cosine is treated as the nearest one.
//!
//! Gradients are first order. Targets, sample weights and margins are constants: no gradient flows to them.

mod call;
mod composed;
mod flex;
pub mod flex_memory;
mod head;
mod inputs;
mod loss;
mod prepared;

pub use head::{MarginHead, MarginHeadConfig};
pub use inputs::{MarginOutput, MarginTop, NormTensors, RowTensors, TargetInput};
pub use loss::{MarginLoss, MarginLossConfig};
pub use softmargin;
