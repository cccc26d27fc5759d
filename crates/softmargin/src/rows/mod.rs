//! The mathematics of the rows of a batch, without the sweeps over their scores: the API for devices.
//!
//! A device computes only the N x C work: the scores, a few accumulators over the negatives of each row, and the
//! derivatives with respect to the scores. This module computes everything of size N, in f64:
//!
//! ```text
//! RowInputs      targets, sample weights, margins, norms, state
//!   Loss::plan        -> RowPlan        checked: weights, classes, margin values
//! z_y            the score of each row's target
//!   RowPlan::target   -> Target         psi(z_y), its derivatives, the transform of the negatives
//! sweep 1        scores of the negatives -> Accumulators (SweepKind names them)
//!   RowPlan::outcome  -> RowOutcome     the loss of the row, and the factors of its derivatives
//! sweep 2        derivatives with respect to the scores, from those factors
//!   RowPlan::totals   -> RowTotals      the loss of the batch, and all other derivatives
//! ```
//!
//! # The two sweeps
//!
//! With `s` the [scale](RowPlan::scale), `psi = score + shift()` of the row's [`Target`], and `n_j` the score `z_j` of
//! a negative after the row's [transform](Target::negatives) (`n_j = z_j` without one), sweep 1 adds up over all
//! classes `j != y`, and writes or recomputes `e_j` for sweep 2:
//!
//! | [`SweepKind`] | `x_j` | `e_j` | [`Accumulators`] |
//! |---|---|---|---|
//! | `Exponentials` | `s (n_j - reference)` | `exp(x_j)` | [`ExpSums`]: `sum e_j`, `sum e_j x_j`; under label smoothing also [`Present`] |
//! | `Gated`, not against zero | `s (n_j - psi)` | `g'(x_j)` | [`GateSums`]: `sum g(x_j)`, `sum g'(x_j)`, `sum g'(x_j) x_j` |
//! | `Gated`, against zero | `s n_j` | `g'(x_j)` | the same |
//! | `Largest` | | 1 at the first largest `n_j`, else 0 | the largest `n_j` |
//!
//! `s (n_j - psi)` is best computed as `s ((n_j - z_y) - shift)`, which is exact if the scores are close.
//!
//! A negative of score minus infinity is masked: it adds nothing to any accumulator, and its derivative is 0.
//! `reference` must be finite and at or near the largest `n_j`, so that `sum e_j` neither overflows nor vanishes. If
//! all negatives of a row are masked, or C is 1, `found` of [`RowPlan::outcome`] is `None`. Only a comparison against
//! zero with C > 1 then still takes its accumulators, which are 0.
//!
//! Sweep 2 writes, with `f` the [factor](RowPlan::row_factor) of the row, `o` its [`RowOutcome`] and `dn_j / dz_j` the
//! derivative of the transform (1 without one):
//!
//! ```text
//! dL/dz_j = f s (o.negatives e_j - o.share) dn_j/dz_j    for j != y, 0 if masked
//! dL/dz_y = f o.target
//! ```
//!
//! # What the device must check
//!
//! [`Loss::plan`](crate::Loss::plan) checks all inputs of the rows. The scores are checked by the device: a NaN score
//! is an error, and so is a target's score for which [`RowPlan::is_cosine`] is false, or, under
//! [`DividedAngle`](NegativeTransform::DividedAngle), a finite negative's score beyond -1 or 1 by more than 1e-3.
//! [`RowPlan::outcome`] is defined for finite target scores and for negatives below plus infinity.
//! [`Loss::value`](crate::Loss::value) computes the limits of other rows. Rows of weight 0 are ignored: their loss and
//! derivatives are 0, and they need no sweep.
//!
//! Soft targets have no target column. [`Loss`](crate::Loss) computes them over given scores.
//!
//! # Example
//!
//! [`Loss`](crate::Loss) runs the two sweeps over given scores, [`Head`](crate::head::Head) over tiles of scores that
//! it computes and discards. Another device runs them in its own way:
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
//! # Files
//!
//! | file | content |
//! |---|---|
//! | `inputs.rs` | the inputs of the rows and their checks |
//! | `plan.rs`, `margin_values.rs` | weights, classes and margin values of the rows |
//! | `target.rs` | the target's score under its margin |
//! | `accumulators.rs`, `comparison/` | the accumulators of a sweep, and the loss of a row from them: one equation per file |
//! | `outcome.rs`, `totals.rs` | the derivatives of a row; the loss of the batch |
//! | `update.rs` | the moving averages of a [`LossState`](crate::LossState) |

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
