//! How the target is set against the other classes: one row at a time.
//!
//! With `u = s psi(z_y)` the target's modified score and `g` a [gate](crate::Gate):
//!
//! | comparison | loss of a row | file |
//! |---|---|---|
//! | each pair | `sum_{j != y} g(s z_j - u)` | `each_pair.rs` |
//! | hardest | `g(max_{j != y} s z_j - u)` | `hardest.rs` |
//! | log-sum-exp | `g(ln sum_{j != y} e^(s z_j) - u)` | `log_sum_exp.rs`, `soft_targets.rs` |
//! | against zero | `g(-u) + sum_{j != y} g(s z_j)` | `against_zero.rs` |
//!
//! Infinite scores have their answers in `limits.rs`. A row without negatives (C = 1) has loss 0 and gradient 0.

mod against_zero;
mod each_pair;
mod hardest;
mod limits;
mod log_sum_exp;
mod soft_targets;

use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::gate::Gate;
use crate::margin::ModifiedTarget;
use crate::real::Real;
use crate::scale::Scale;
use crate::simd::{GateSums, Scan, Sweeps, TILE};
pub(crate) use log_sum_exp::{NegativeSums, Present};
use serde::{Deserialize, Serialize};
pub(crate) use soft_targets::{SoftRow, soft_row};
use std::ops::Range;

/// How the target's score is compared with the scores of the other classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Comparison {
    /// With each of them, and the losses added.
    EachPair {
        /// Bends each gap.
        gate: Gate,
    },
    /// With the largest of them, the lowest index on ties.
    Hardest {
        /// Bends the gap.
        gate: Gate,
    },
    /// With their smooth maximum.
    LogSumExp {
        /// Bends the gap.
        gate: SmoothGate,
    },
    /// Every score with zero: the target above, the others below.
    AgainstZero {
        /// Bends each score.
        gate: Gate,
    },
}

/// The gate of the log-sum-exp comparison. Softplus makes it softmax cross-entropy, which has options of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SmoothGate {
    /// The hinge of the gap.
    #[serde(deserialize_with = "crate::spec::no_options")]
    Relu,
    /// Softmax cross-entropy; the only form that takes soft targets.
    Softplus {
        /// `eps` in `[0, 1)`: the target is `(1 - eps) e_y + eps / C`. The best gap is then finite.
        #[serde(default, rename = "label-smoothing")]
        label_smoothing: f64,
        /// `lambda >= 0`: adds `lambda LSE_all^2`, over all the modified scores.
        #[serde(default, rename = "z-loss")]
        z_loss: f64,
    },
    /// The gap itself.
    #[serde(deserialize_with = "crate::spec::no_options")]
    Identity,
}

impl SmoothGate {
    /// Softmax cross-entropy without options.
    pub const SOFTPLUS: Self = Self::Softplus { label_smoothing: 0.0, z_loss: 0.0 };

    fn gate(self) -> Gate {
        match self {
            Self::Relu => Gate::Relu,
            Self::Softplus { .. } => Gate::Softplus,
            Self::Identity => Gate::Identity,
        }
    }
}

impl Comparison {
    /// Softmax cross-entropy: log-sum-exp under softplus, without options.
    pub const CROSS_ENTROPY: Self = Self::LogSumExp { gate: SmoothGate::SOFTPLUS };

    /// The gate, whichever the comparison.
    pub fn gate(self) -> Gate {
        match self {
            Self::EachPair { gate } | Self::Hardest { gate } | Self::AgainstZero { gate } => gate,
            Self::LogSumExp { gate } => gate.gate(),
        }
    }

    /// The options of softmax cross-entropy: label smoothing and z-loss. `None` for any other comparison.
    pub(crate) fn cross_entropy_options(self) -> Option<(f64, f64)> {
        match self {
            Self::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } } => {
                Some((label_smoothing, z_loss))
            }
            _ => None,
        }
    }

    pub(crate) fn check(self, bounded: bool, scale: Scale) -> Result<()> {
        if let Some((label_smoothing, z_loss)) = self.cross_entropy_options() {
            check_number("comparison.gate.label-smoothing", label_smoothing, Bound::FractionBelowOne)?;
            check_number("comparison.gate.z-loss", z_loss, Bound::NotNegative)?;
        }
        let gate = self.gate();
        if gate == Gate::Identity && !bounded {
            let advice = "choose relu or softplus, or the cosine, whose scores are bounded";
            let found = "the identity on unbounded scores, which has no minimum";
            return Err(Error::new(ErrorKind::Spec, "comparison.gate", "a gate with a minimum", found, advice));
        }
        let smooth = matches!(self, Self::LogSumExp { .. }) && gate != Gate::Identity;
        if scale.is_learned() && !smooth && gate != Gate::Softplus {
            let expected = "a fixed scale with this comparison and gate";
            let found = "a learned one, which this loss would only drive to a bound";
            return Err(Error::new(ErrorKind::Spec, "scale", expected, found, "fix the scale, or choose softplus"));
        }
        Ok(())
    }
}

/// One row, as a comparison sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a, F> {
    pub(crate) scores: &'a [F],
    pub(crate) target: usize,
    pub(crate) modified: ModifiedTarget,
    /// `s`, temperature included.
    pub(crate) scale: f64,
    /// What the gradient of the row's loss is multiplied by.
    pub(crate) factor: f64,
}

impl<F: Real> Row<'_, F> {
    fn target_score(&self) -> f64 {
        self.scores[self.target].widen()
    }

    fn aim(&self) -> Aim {
        Aim { score: self.target_score(), shift: self.modified.shift, scale: self.scale }
    }

    fn psi(&self) -> f64 {
        self.aim().psi()
    }

    fn gap(&self, score: f64) -> f64 {
        self.aim().gap(score)
    }
}

/// The target of a row, as its negatives are compared with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    /// `z_y`
    pub(crate) score: f64,
    /// `psi(z_y) - z_y`; a logit margin counts as `m / s`.
    pub(crate) shift: f64,
    /// `s`, temperature included.
    pub(crate) scale: f64,
}

impl Aim {
    /// `psi(z_y)`
    pub(crate) fn psi(&self) -> f64 {
        self.score + self.shift
    }

    /// The gap to a negative's score. The difference of the scores is taken first: it is exact where they are close.
    pub(crate) fn gap(&self, score: f64) -> f64 {
        self.scale * ((score - self.score) - self.shift)
    }
}

/// What sweeps over the negatives of a row have found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NegativeStatistics {
    /// For log-sum-exp.
    Exponentials(NegativeSums),
    /// For each pair, or against zero.
    Gated(GateSums),
    /// For hardest: the largest score.
    Largest(f64),
}

/// The loss of a row, and its slopes by the scaled scores of the negatives: `slope` times what the sweep has written (an
/// exponential, the slope of a gate, or 1 at the strongest), less `share`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) row: RowLoss,
    pub(crate) slope: f64,
    pub(crate) share: f64,
}

/// The loss of a row and its slopes, the row's factor not applied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowLoss {
    pub(crate) loss: f64,
    /// `dL / du`, `u = s psi`.
    pub(crate) target_slope: f64,
    /// `dL / ds` through the negatives' scores alone.
    pub(crate) negatives_scale_slope: f64,
}

/// Room that a thread uses again for each of its rows.
#[derive(Debug)]
pub(crate) struct Work<F> {
    tile: Vec<F>,
}

impl<F: Real> Work<F> {
    pub(crate) fn new() -> Self {
        Self { tile: vec![F::zero(); TILE] }
    }

    /// Where a sweep writes: into the gradient, or where nobody looks.
    fn destination<'a>(&'a mut self, gradient: &'a mut Option<&mut [F]>, range: &Range<usize>) -> &'a mut [F] {
        match gradient {
            Some(gradient) => &mut gradient[range.clone()],
            None => &mut self.tile[..range.len()],
        }
    }
}

/// What slopes are multiplied by, in their own type. Beyond its range the largest number: infinity would make NaN of a
/// slope of 0.
pub(crate) fn multiplier<F: Real>(value: f64) -> F {
    let rounded = F::round_from(value);
    if rounded.is_infinite() { F::max_value().copysign(rounded) } else { rounded }
}

/// The classes but the target, in tiles.
pub(crate) fn negative_tiles(classes: usize, target: usize) -> impl Iterator<Item = Range<usize>> {
    [0..target, target + 1..classes].into_iter().flat_map(|part| {
        let end = part.end;
        part.step_by(TILE).map(move |start| start..end.min(start + TILE))
    })
}

/// The largest of the negatives, and whether any score of the row is NaN.
fn scan<F: Real>(sweeps: &Sweeps<F>, scores: &[F], target: usize) -> Scan<F> {
    let first = Scan { max: F::neg_infinity(), has_nan: scores[target].is_nan() };
    negative_tiles(scores.len(), target).fold(first, |so_far, range| {
        let tile = (sweeps.scan)(&scores[range]);
        let max = if tile.max > so_far.max { tile.max } else { so_far.max };
        Scan { max, has_nan: so_far.has_nan || tile.has_nan }
    })
}

/// Why a row has no answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowFault {
    /// A score is NaN.
    Nan,
    /// Both the target's score and a negative's are plus infinity.
    Contradiction,
    /// The target's score is no cosine, and the margin needs the angle.
    NotACosine(f64),
    /// A negative's score is no cosine, and its angle is to be divided.
    NegativeIsNotACosine(f64),
}

impl Comparison {
    /// The loss of a row with negatives from what sweeps have found, for callers that sweep in their own way; all scores below
    /// plus infinity, the target's finite.
    pub(crate) fn outcome(self, aim: &Aim, found: &NegativeStatistics) -> Outcome {
        match (self, found) {
            (Self::LogSumExp { gate }, NegativeStatistics::Exponentials(negatives)) => {
                log_sum_exp::outcome(gate, aim, negatives)
            }
            (Self::Hardest { gate }, NegativeStatistics::Largest(max)) => hardest::outcome(gate, aim, *max),
            (Self::AgainstZero { gate }, NegativeStatistics::Gated(sums)) => {
                Outcome { row: against_zero::outcome(gate, aim, sums), slope: 1.0, share: 0.0 }
            }
            (Self::EachPair { .. }, NegativeStatistics::Gated(sums)) => {
                Outcome { row: each_pair::outcome(aim, sums), slope: 1.0, share: 0.0 }
            }
            (comparison, found) => unreachable!("{comparison:?} sweeps for something else than {found:?}"),
        }
    }

    /// The loss of a row; its gradient by the scores is written (all C entries) where one is given.
    pub(crate) fn row<F: Real>(
        self,
        sweeps: &Sweeps<F>,
        row: &Row<'_, F>,
        work: &mut Work<F>,
        mut gradient: Option<&mut [F]>,
    ) -> std::result::Result<RowLoss, RowFault> {
        let scan = scan(sweeps, row.scores, row.target);
        if scan.has_nan {
            return Err(RowFault::Nan);
        }
        let (target, negative) = (row.scores[row.target], scan.max);
        if target == F::infinity() && negative == F::infinity() {
            return Err(RowFault::Contradiction);
        }
        let no_negatives = negative == F::neg_infinity() && !matches!(self, Self::AgainstZero { .. });
        if row.scores.len() == 1 || no_negatives {
            if let Some(gradient) = gradient {
                gradient.fill(F::zero());
            }
            return Ok(RowLoss::default());
        }
        if target.is_infinite() || negative == F::infinity() {
            return Ok(limits::row(self, row, gradient));
        }
        let gradient_of_negatives = gradient.as_deref_mut();
        let outcome = match self {
            Self::EachPair { gate } => each_pair::row(gate, sweeps, row, work, gradient_of_negatives),
            Self::Hardest { gate } => hardest::row(gate, row, negative, gradient_of_negatives),
            Self::LogSumExp { gate } => log_sum_exp::row(gate, sweeps, row, negative, work, gradient_of_negatives),
            Self::AgainstZero { gate } => against_zero::row(gate, sweeps, row, work, gradient_of_negatives),
        };
        if let Some(gradient) = gradient {
            let slope = row.factor * row.scale * outcome.target_slope * row.modified.slope;
            gradient[row.target] = F::round_from(slope);
        }
        Ok(outcome)
    }
}
