//! The losses of [`softmargin`] as modules for Burn.
//!
//! | module | from | for |
//! |---|---|---|
//! | [`MarginHead`] | embeddings (N, D) | a last layer with its loss, which owns the prototypes (C, D) |
//! | [`MarginLoss`] | scores (N, C) | models that make the scores themselves |
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
//! On Burn's Flex backend, in `f32`, the core crate computes value and gradients: one operation with a backward of its own,
//! bitwise identical results for any number of threads, and an error that names the rows where a score is NaN. A head whose
//! scores are not asked for ([`MarginHead::forward`], [`MarginHead::try_forward_top`]) never stores them there, for any
//! number of classes.
//!
//! On any other device, and in any other precision, the device computes the scores and two sweeps over them by tensor
//! operations, a head with many scores some rows at a time. Everything of size N is computed by the core crate on the host.
//! A step waits for the device twice, to read back the scores of the targets, then a few accumulators of each row. Targets,
//! sample weights, margins, norms and the learned scale and radius are checked there too; scores are not: a NaN, or a plus
//! infinity, shows as a loss that is not finite, and a score that is no cosine, where the loss needs an angle, counts as the
//! nearest one.
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
