//! The mathematics of the rows of a batch, apart from the sweep over their scores: the seam that every device shares.
//!
//! Whoever computes a loss owes the N x C work alone: the scores, a few accumulators over the negatives of each row, and
//! the derivatives of these. Everything of size N is done here, in f64:
//!
//! ```text
//! RowInputs      targets, sample weights, margins, norms, state
//!   Loss::plan        -> RowPlan        checked: weights, classes, margin values
//! z_y            the score of each row's target
//!   RowPlan::target   -> Target         psi(z_y), its derivatives, what is done to the negatives
//! sweep 1        scores of the negatives -> Accumulators (SweepKind tells which)
//!   RowPlan::outcome  -> RowOutcome     the loss of the row, and the factors of its derivatives
//! sweep 2        derivatives with respect to the scores, by those factors
//!   RowPlan::totals   -> RowTotals      the loss of the batch, and all other derivatives
//! ```
//!
//! [`Loss`](crate::Loss) runs the two sweeps over given scores, [`Head`](crate::head::Head) over tiles of scores that it
//! makes and forgets. A device that has neither runs them in its own way:
//!
//! ```
//! use ndarray::array;
//! use softmargin::rows::{Accumulators, ExpSums, Exponentials, Learned, Present};
//! use softmargin::{Reduction, presets};
//!
//! let loss = presets::AM_SOFTMAX.spec().with_scale(4.0).build(3)?;
//! let (cosines, targets) = ([[0.8_f64, 0.1, -0.3]], array![0]);
//! let plan = loss.plan::<f64>(&targets.view().into(), Learned::default())?;
//! let target = plan.target::<f64>(0, cosines[0][0]);
//!
//! // Sweep 1: exponentials of the negatives, relative to the largest.
//! let (negatives, reference) = (&cosines[0][1..], 0.1);
//! let exponents = negatives.iter().map(|z| plan.scale() * (z - reference));
//! let sums = exponents.fold(ExpSums::default(), |sums, d| sums.and(ExpSums { exp: d.exp(), weighted: d * d.exp() }));
//! let found = Accumulators::Exponentials(Exponentials { reference, sums, present: Present::default() });
//!
//! let outcome = plan.outcome(0, &target, Some(&found), true);
//! let psi: f64 = 0.8 - 0.35;
//! let direct = (1.0 + (4.0 * (0.1 - psi)).exp() + (4.0 * (-0.3 - psi)).exp()).ln();
//! assert!((outcome.loss - direct).abs() < 1e-12);
//!
//! // Sweep 2: the derivative with respect to the first negative's score.
//! let derivative = plan.row_factor(0, Reduction::Mean) * plan.scale() * outcome.negatives * 1.0;
//! let probability = (4.0 * (0.1 - psi)).exp() / direct.exp();
//! assert!((derivative - 4.0 * probability).abs() < 1e-12);
//! assert!((plan.totals(&[outcome], Reduction::Mean).total - direct).abs() < 1e-12);
//! # Ok::<(), softmargin::Error>(())
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `inputs.rs` | what rows bring, and its checks |
//! | `plan.rs`, `margin_values.rs` | weights, classes and margin values of the rows |
//! | `target.rs` | the target under its margin |
//! | `accumulators.rs`, `comparison/` | what a sweep leaves, and the loss of a row from it: one equation a file |
//! | `outcome.rs`, `totals.rs` | derivatives of a row; the batch |
//! | `update.rs` | moving averages of a [`LossState`](crate::LossState) |

mod accumulators;
pub(crate) mod comparison;
mod inputs;
mod margin_values;
mod outcome;
mod plan;
mod target;
mod totals;
mod update;

pub use crate::simd::{ExpSums, GateSums, NegativeTransform};
pub use accumulators::{Accumulators, Exponentials, Present, SweepKind};
pub(crate) use inputs::disagree;
pub use inputs::{Learned, RowInputs, Targets};
pub use outcome::RowOutcome;
pub use plan::RowPlan;
pub(crate) use target::Aim;
pub use target::Target;
pub(crate) use totals::rounded;
pub use totals::{RowTotals, Value};
