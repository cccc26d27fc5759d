//! Softmax-style classification losses as one composition, exact, with their gradients.
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
//! | [`MarginValue`] of a margin | one for all, per class, per sample, drawn, by the frequency of the class, from the norm |
//! | [`Negatives`] | plain, misclassified ones raised, curricular, angles divided |
//! | [`sub_centers`] | prototypes of each class, of which the best one counts |
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
//! For cosine losses the scores are cosines. [`Geometry::scores`] makes them of embeddings and prototypes, and
//! [`Geometry::backward`] carries the gradients back. Some losses want more of a [`Batch`], and say so:
//!
//! | loss | what its batches bring |
//! |---|---|
//! | a learned scale (normface) | [`with_scale`](Batch::with_scale): where it stands; its start where nothing is brought |
//! | a margin on the angle of scores with norms (sphereface, l-softmax) | [`with_embedding_norms`](Batch::with_embedding_norms), for inner products also [`with_weight_norms`](Batch::with_weight_norms) |
//! | a margin from the norm (adaface, magface) | [`with_embedding_norms`](Batch::with_embedding_norms) |
//! | a state: annealed margins (sphereface, l-softmax), drawn ones (elasticface), averages (adaface, curricularface) | [`with_state`](Batch::with_state), from [`Loss::initial_state`] |
//! | a margin value per sample | [`with_margins`](Batch::with_margins) |
//! | a [`Regularizer`] | [`with_embedding_norms`](Batch::with_embedding_norms) |
//!
//! A step of training with a [`LossState`]: [`Loss::update`] takes the batch into its averages, the loss is computed with
//! it, [`LossState::advance`] counts the step. Evaluation reads it as it is. A margin by frequency (ldam) is told the
//! counts of the classes by [`LossSpec::with_class_counts`], before the loss is built.
//!
//! Class weights and an ignored label are fields of [`LossSpec`]; sample weights and soft targets come with the batch.
//!
//! A loss by name, with the parts and numbers that differ, is a [`request::LossRequest`].
//!
//! Beside the family stand the [`measures`] of distributions and the [`smooth`] functions that it is made of.
//! Gradients are first order. Results have the same bits for any number of threads.

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
