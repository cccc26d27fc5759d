//! What becomes of the scores of the classes that are not the target, before they are compared with it.
//!
//! With `psi` the target's modified score and `cos_j = cos theta_j` a negative's:
//!
//! | negatives | `cos_j` becomes | slope | source |
//! |---|---|---|---|
//! | plain | `cos_j` | 1 | |
//! | misclassified | `t cos_j + t - 1` where `cos_j > psi` | `t` | Wang et al. 2019, arXiv 1912.00833 |
//! | curricular | `cos_j (T + cos_j)` where `cos_j > psi` | `T + 2 cos_j` | Huang et al. 2020, arXiv 2004.00288 |
//! | divided angle | `cos(theta_j / m)` | `sin(theta_j / m) / (m sin theta_j)` | Liu et al. 2021, arXiv 2109.05565 |
//!
//! Which negatives are above `psi` is not differentiated. Curricular negatives are compared with `psi` as it is where nothing
//! is done about angles past pi, and `T` is the average cosine of the targets, kept in [`LossState`](crate::LossState).
//! The last slope has a pole at `theta_j = pi`: `sin theta_j` is not taken below
//! [`Real::LEAST_SINE`](crate::Real::LEAST_SINE). Infinite scores stay as they are. At `t = 1` and `m = 1` no bit changes.

use super::geometry::Geometry;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::number::Real;
use crate::simd::NegativeTransform;
use serde::{Deserialize, Serialize};

/// How the scores `j != y` are modified. All but plain ones need cosines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Negatives {
    /// They are compared as they are.
    #[default]
    #[serde(deserialize_with = "super::no_options::no_options")]
    Plain,
    /// Those above the target's modified score are raised: MV-Softmax.
    Misclassified {
        /// `t`, from 1 (neutral) to 100.
        factor: f64,
    },
    /// Those above the target's modified score are weighed the more, the better the targets do: CurricularFace.
    Curricular {
        /// The share of a new batch in the average cosine of the targets, above 0 and up to 1.
        momentum: f64,
    },
    /// Their angles are divided: SphereFace-R v2.
    DividedAngle {
        /// `m`, from 1 (neutral) to 100.
        by: f64,
    },
}

/// Larger factors have no use.
const MOST: f64 = 100.0;

impl Negatives {
    /// The share of a new batch in the average cosine of the targets, where that is looked at.
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
        let advice = "these negatives are defined for cosines: take the cosine geometry, or plain negatives";
        Err(Error::new(ErrorKind::Spec, "negatives", expected, "modified ones", advice))
    }

    /// What is done to the negatives of a row; `None` where nothing is. `psi` is the target's modified score, `plain_psi`
    /// the same without a continuation past pi.
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
