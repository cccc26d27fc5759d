//! Softmax-style classification losses as one composable function, with exact gradients.
//!
//! ```text
//! loss = gate( comparison_{j != y}( s * score_j ) - s * psi(score_y) )
//! ```
//!
//! A loss is a point on a few axes; the published losses are [`presets`]: functions that return a [`LossSpec`].
//!
//! | axis | choices |
//! |---|---|
//! | [`Geometry`] | inner product (bias, temperature), unit weights, cosine |
//! | [`Scale`] | fixed, learned |
//! | [`Margin`] | none, on the score, on the scaled logit, on the angle |
//! | [`MarginValue`] of a margin | one, per class, per sample, drawn, by class frequency, from the norm of the embedding |
//! | [`Negatives`] | plain, misclassified (increased), curricular, divided angle |
//! | [`sub_centers`] | several prototypes per class, of which the largest score counts |
//! | [`Comparison`] | each pair, hardest, log-sum-exp, against zero |
//! | [`Gate`] | ReLU, softplus, identity |
//! | [`Regularizer`] | feature incay, ring loss, magnitude |
//! | [`Reduction`] | none, sum, mean, mean or NaN |
//!
//! ```
//! use ndarray::array;
//! use softmargin::{presets, Batch, Reduction};
//!
//! let loss = presets::find("arcface")?.spec().build(3)?;
//! let cosines = array![[0.8_f32, 0.1, -0.2], [0.3, 0.4, 0.0]];
//! let targets = array![0, 1];
//! let (value, gradients) = loss.value_and_grad(&Batch::new(cosines.view(), targets.view()), Reduction::Mean)?;
//! assert!(value.total > 0.0);
//! assert!(gradients.scores[[0, 0]] < 0.0 && gradients.scores[[0, 1]] > 0.0);
//! # Ok::<(), softmargin::Error>(())
//! ```
//!
//! # Three ways to compute a loss
//!
//! | input | use |
//! |---|---|
//! | scores (N, C) | [`Loss`] with a [`Batch`] |
//! | embeddings (N, D) and prototypes (C, D) | [`head::Head`] with a [`head::HeadBatch`] and [`head::HeadParameters`]: tile by tile, in limited memory |
//! | a device with its own sweeps | [`rows`]: everything except the N x C work |
//!
//! For cosine losses the scores are cosines. [`Geometry::scores`] computes scores from embeddings and prototypes, and
//! [`Geometry::backward`] computes the gradients with respect to both.
//!
//! # Inputs
//!
//! [`request::LossRequest`] describes a loss by the name of a preset and the parts and numbers that differ from it.
//!
//! Every batch takes [`RowInputs`], or a view of labels, which converts into them. [`RowInputs`] hold the targets
//! (classes, or distributions for softmax cross-entropy), optional sample weights, and what else the loss needs. A
//! missing input and an input that the loss does not use are errors:
//!
//! | loss | input |
//! |---|---|
//! | margin on the angle of scores that keep norms (sphereface, l-softmax) | [`with_embedding_norms`](RowInputs::with_embedding_norms), for inner products also [`with_weight_norms`](RowInputs::with_weight_norms) |
//! | margin from the norm (adaface, magface), [`Regularizer`] | [`with_embedding_norms`](RowInputs::with_embedding_norms) |
//! | annealed margin (sphereface, l-softmax), drawn margin (elasticface), moving averages (adaface, curricularface) | [`with_state`](RowInputs::with_state), from [`Loss::initial_state`] |
//! | margin value per sample | [`with_margins`](RowInputs::with_margins) |
//! | margin by class frequency (ldam) | [`LossSpec::with_class_counts`], before the loss is built |
//!
//! A head computes the norms of embeddings and prototypes itself, and rejects them in its [`RowInputs`].
//!
//! A learned scale (normface) and the radius of [ring loss](Regularizer::Ring) are parameters, not inputs of rows. They
//! are given with [`Batch::with_scale`] and [`Batch::with_radius`], with the same methods of [`head::HeadParameters`],
//! or as [`rows::Learned`]. Without them, the loss uses the initial values of its spec. The bias of a geometry that has
//! one is [`head::HeadParameters::with_bias`].
//!
//! Class weights and an ignored label are fields of [`LossSpec`].
//!
//! # State
//!
//! In a training step with a [`LossState`], [`Loss::update`] (or [`head::Head::update`]) adds the batch to the moving
//! averages, the loss is computed, and [`LossState::advance`] counts the step. Evaluation only reads the state.
//!
//! # Other modules
//!
//! [`measures`] has measures of distributions, and [`smooth`] the smooth functions that the losses are composed of.
//! Gradients are first order. Results are bitwise identical for any number of threads.

mod axes;
mod buffer;
mod error;
pub mod head;
mod loss;
pub mod measures;
mod number;
pub mod presets;
pub mod random;
mod reduction;
pub mod request;
pub mod rows;
mod scores;
pub mod simd;
pub mod smooth;
mod spec;
mod state;

pub use axes::comparison::{Comparison, SmoothGate};
pub use axes::gate::Gate;
pub use axes::geometry::{Geometry, OperandGradients, ScoreGradients, Scored};
pub use axes::margin::{AngularMargin, Anneal, BeyondPi, Margin, MarginGradient};
pub use axes::margin_value::{MarginValue, NormMargin, Radians};
pub use axes::negatives::Negatives;
pub use axes::regularizer::Regularizer;
pub use axes::scale::Scale;
pub use axes::sub_centers;
pub use error::{Error, ErrorKind, Result};
pub use loss::Loss;
pub use number::Real;
pub use reduction::Reduction;
pub use rows::{RowInputs, Targets, Value};
pub use scores::{Batch, Gradients, RowGradients};
pub use simd::InstructionSet;
pub use spec::LossSpec;
pub use state::LossState;

/// The example in the README is compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
