//! The comparison of the target with the negatives.
//!
//! With `u = s psi(z_y)` the target's modified score and `g` a [gate](Gate):
//!
//! | comparison | loss of a row |
//! |---|---|
//! | each pair | `sum_{j != y} g(s z_j - u)` |
//! | hardest | `g(max_{j != y} s z_j - u)` |
//! | log-sum-exp | `g(ln sum_{j != y} e^(s z_j) - u)` |
//! | against zero | `g(-u) + sum_{j != y} g(s z_j)` |
//!
//! A row without negatives (C = 1) has loss 0 and gradient 0.

use super::gate::Gate;
use super::scale::Scale;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use serde::{Deserialize, Serialize};

/// The comparison of the target's score with the scores of the negatives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Comparison {
    /// The target against each negative; the losses are added.
    EachPair {
        /// The gate of each gap.
        gate: Gate,
    },
    /// The target against the largest negative, the first one on ties.
    Hardest {
        /// The gate of the gap.
        gate: Gate,
    },
    /// The target against the smooth maximum of the negatives.
    LogSumExp {
        /// The gate of the gap.
        gate: SmoothGate,
    },
    /// Every score against zero: the target above, the negatives below.
    AgainstZero {
        /// The gate of each score.
        gate: Gate,
    },
}

/// The gate of the log-sum-exp comparison. Softplus makes it softmax cross-entropy, which has options of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SmoothGate {
    /// The hinge of the gap.
    #[serde(deserialize_with = "super::no_options::no_options")]
    Relu,
    /// Softmax cross-entropy; the only form that takes soft targets.
    Softplus {
        /// `eps` in `[0, 1)`: the target distribution is `(1 - eps) e_y + eps / C`. The optimal gap is then finite.
        #[serde(default, rename = "label-smoothing")]
        label_smoothing: f64,
        /// `lambda >= 0`: adds `lambda LSE_all^2`, with the log-sum-exp over all modified scores.
        #[serde(default, rename = "z-loss")]
        z_loss: f64,
    },
    /// The gap itself.
    #[serde(deserialize_with = "super::no_options::no_options")]
    Identity,
}

impl SmoothGate {
    /// Softmax cross-entropy without options.
    pub const SOFTPLUS: Self = Self::Softplus { label_smoothing: 0.0, z_loss: 0.0 };

    /// Returns the label smoothing, 0 for a gate without it.
    pub(crate) fn label_smoothing(self) -> f64 {
        match self {
            Self::Softplus { label_smoothing, .. } => label_smoothing,
            Self::Relu | Self::Identity => 0.0,
        }
    }

    pub(crate) fn gate(self) -> Gate {
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

    /// Returns the gate of the comparison.
    pub fn gate(self) -> Gate {
        match self {
            Self::EachPair { gate } | Self::Hardest { gate } | Self::AgainstZero { gate } => gate,
            Self::LogSumExp { gate } => gate.gate(),
        }
    }

    /// Returns the label smoothing, 0 for a comparison without it.
    pub fn label_smoothing(self) -> f64 {
        match self {
            Self::LogSumExp { gate } => gate.label_smoothing(),
            _ => 0.0,
        }
    }

    /// Returns the options of softmax cross-entropy: label smoothing and z-loss. `None` for any other comparison.
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
            let found = "a learned one, which this loss would drive to a bound";
            return Err(Error::new(ErrorKind::Spec, "scale", expected, found, "fix the scale, or choose softplus"));
        }
        Ok(())
    }
}
