//! The modification of the scores of the negatives (the classes that are not the target) before the comparison.
//!
//! With `psi` the target's modified score and `cos_j = cos theta_j` the score of a negative:
//!
//! | negatives | modified `cos_j` | derivative | source |
//! |---|---|---|---|
//! | plain | `cos_j` | 1 | |
//! | misclassified | `t cos_j + t - 1` where `cos_j > psi` | `t` | Wang et al. 2019, arXiv 1912.00833 |
//! | curricular | `cos_j (T + cos_j)` where `cos_j > psi` | `T + 2 cos_j` | Huang et al. 2020, arXiv 2004.00288 |
//! | divided angle | `cos(theta_j / m)` | `sin(theta_j / m) / (m sin theta_j)` | Liu et al. 2021, arXiv 2109.05565 |
//!
//! The threshold `psi` is treated as a constant. For curricular negatives it is `psi` without a continuation past pi
//! ([`BeyondPi::Plain`](crate::BeyondPi::Plain)), and `T` is the moving average of the targets' cosines in
//! [`LossState`](crate::LossState). The derivative for divided angles has a pole at `theta_j = pi`, so the divisor
//! `sin theta_j` is at least [`Real::LEAST_SINE`](crate::Real::LEAST_SINE). Infinite scores are not modified. With `t =
//! 1` or `m = 1` the scores are returned exactly.

use super::geometry::Geometry;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::number::Real;
use crate::simd::NegativeTransform;
use serde::{Deserialize, Serialize};

/// The modification of the scores `j != y`. All variants except `Plain` need the cosine geometry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Negatives {
    /// No modification.
    #[default]
    #[serde(deserialize_with = "super::no_options::no_options")]
    Plain,
    /// Increases the scores above the target's modified score: MV-Softmax.
    Misclassified {
        /// `t`, from 1 (neutral) to 100.
        factor: f64,
    },
    /// Weights the scores above the target's modified score by `T + cos_j`, which grows as training progresses:
    /// CurricularFace.
    Curricular {
        /// The weight of a new batch in the moving average `T` of the targets' cosines, above 0 and up to 1.
        momentum: f64,
    },
    /// Divides the angles: SphereFace-R v2.
    DividedAngle {
        /// `m`, from 1 (neutral) to 100.
        by: f64,
    },
}

/// The largest factor. Larger ones have no use.
const MOST: f64 = 100.0;

impl Negatives {
    /// Returns the momentum of the moving average of the targets' cosines, if the negatives depend on it.
    pub(crate) fn momentum(self) -> Option<f64> {
        match self {
            Self::Curricular { momentum } => Some(momentum),
            _ => None,
        }
    }

    pub(crate) fn check(self, geometry: Geometry) -> Result<()> {
        match self {
            Self::Plain => return Ok(()),
            Self::Misclassified { factor } => check_number("negatives.factor", factor, Bound::Between(1.0, MOST))?,
            Self::Curricular { momentum } => check_number("negatives.momentum", momentum, Bound::Share)?,
            Self::DividedAngle { by } => check_number("negatives.by", by, Bound::Between(1.0, MOST))?,
        }
        if geometry.is_bounded() {
            return Ok(());
        }
        let expected = "plain ones, unless scores are cosines";
        let advice = "these negatives are defined for cosines: use the cosine geometry, or plain negatives";
        Err(Error::new(ErrorKind::Spec, "negatives", expected, "modified ones", advice))
    }

    /// Returns the transform of the negatives of a row; `None` for no modification. `psi` is the target's modified
    /// score, and `plain_psi` the same without a continuation past pi.
    pub(crate) fn transform<F: Real>(
        self,
        psi: f64,
        plain_psi: impl Fn() -> f64,
        target_mean: f64,
    ) -> Option<NegativeTransform<F>> {
        match self {
            Self::Misclassified { factor } if factor != 1.0 => {
                Some(NegativeTransform::Misclassified { above: F::round_down(psi), factor: F::round_from(factor) })
            }
            Self::Curricular { .. } => Some(NegativeTransform::Curricular {
                above: F::round_down(plain_psi()),
                mean: F::round_from(target_mean),
            }),
            Self::DividedAngle { by } if by != 1.0 => Some(NegativeTransform::DividedAngle { by: F::round_from(by) }),
            _ => None,
        }
    }
}
