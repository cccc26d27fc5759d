//! Terms on the norms `a = |x|` of the embeddings.
//!
//! | term | value of a row | derivative with respect to `a` | rows | source |
//! |---|---|---|---|---|
//! | feature incay | `weight / a^2` | `-2 weight / a^3` | those classified correctly | Yuan et al. 2017, arXiv 1705.10284 |
//! | ring loss | `weight / 2 (a - R)^2` | `weight (a - R)`; with respect to `R` its negative | all | Zheng et al. 2018, arXiv 1803.00130 |
//! | magnitude | `weight (a / high^2 + 1 / a)`, `a` clamped to `[low, high]` | `weight (1 / high^2 - 1 / a^2)`; 0 at and beyond the ends | all | Meng et al. 2021, arXiv 2103.06627 |
//!
//! Under a mean, each term is averaged over the rows of the fourth column, with the rows' weights.

use super::geometry::Geometry;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use serde::{Deserialize, Serialize};

/// A term on the norms of the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Regularizer {
    /// Increases the norms of correctly classified embeddings.
    FeatureIncay {
        /// Strength of the term, above 0.
        weight: f64,
    },
    /// Pulls all norms to one learned radius.
    Ring {
        /// Strength of the term, above 0.
        weight: f64,
        /// The radius `R` at the start, 0 or above.
        radius: f64,
    },
    /// Pulls norms up to `high`. MagFace combines it with a margin that grows with the norm.
    Magnitude {
        /// Strength of the term, above 0.
        weight: f64,
        /// The lower limit of the norm, above 0.
        low: f64,
        /// The upper limit of the norm, above `low`, where the term is smallest.
        high: f64,
    },
}

/// The range of `low` and `high`, whose squares and inverse squares must be finite in single precision.
const LEAST_NORM: f64 = 1e-9;
const MOST_NORM: f64 = 1e9;

/// The value of a term for one row, and its derivatives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NormTerm {
    pub(crate) value: f64,
    pub(crate) norm_slope: f64,
    pub(crate) radius_slope: f64,
}

impl Regularizer {
    /// Returns true if the term applies only to correctly classified rows.
    pub(crate) fn is_for_correct_rows(self) -> bool {
        matches!(self, Self::FeatureIncay { .. })
    }

    /// Returns the initial radius of ring loss; `None` for other terms.
    pub fn initial_radius(self) -> Option<f64> {
        match self {
            Self::FeatureIncay { .. } | Self::Magnitude { .. } => None,
            Self::Ring { radius, .. } => Some(radius),
        }
    }

    /// Computes the term of a row to which it applies. Feature incay is 0 for an embedding of norm 0, which has no
    /// direction.
    pub(crate) fn apply(self, norm: f64, radius: f64) -> NormTerm {
        match self {
            Self::FeatureIncay { .. } if norm == 0.0 => NormTerm::default(),
            Self::FeatureIncay { weight } => {
                let value = weight / (norm * norm);
                NormTerm { value, norm_slope: -2.0 * value / norm, radius_slope: 0.0 }
            }
            Self::Ring { weight, .. } => {
                let off = norm - radius;
                NormTerm { value: weight / 2.0 * off * off, norm_slope: weight * off, radius_slope: -weight * off }
            }
            Self::Magnitude { weight, low, high } => {
                let a = norm.clamp(low, high);
                let norm_slope = if a == norm && low < a && a < high {
                    // 1 / high^2 - 1 / a^2, without cancellation
                    weight * (a - high) * (a + high) / (high * high * a * a)
                } else {
                    0.0
                };
                NormTerm { value: weight * (a / (high * high) + 1.0 / a), norm_slope, radius_slope: 0.0 }
            }
        }
    }

    pub(crate) fn check(self, geometry: Geometry) -> Result<()> {
        match self {
            Self::FeatureIncay { weight } => {
                check_number("regularizer.weight", weight, Bound::Positive)?;
                if geometry != Geometry::Cosine {
                    return Ok(());
                }
                let expected = "a geometry whose scores grow with the norm of the embedding";
                let advice = "under the cosine feature incay would only grow norms: use unit weights or inner products, or ring loss";
                Err(Error::new(ErrorKind::Spec, "regularizer", expected, "the cosine", advice))
            }
            Self::Ring { weight, radius } => {
                check_number("regularizer.weight", weight, Bound::Positive)?;
                check_number("regularizer.radius", radius, Bound::NotNegative)
            }
            Self::Magnitude { weight, low, high } => {
                check_number("regularizer.weight", weight, Bound::Positive)?;
                check_number("regularizer.low", low, Bound::Between(LEAST_NORM, MOST_NORM))?;
                check_number("regularizer.high", high, Bound::Between(LEAST_NORM, MOST_NORM))?;
                if low < high {
                    return Ok(());
                }
                let expected = format!("a norm above low, {low}");
                let advice = "give the smaller norm first";
                Err(Error::new(ErrorKind::Spec, "regularizer.high", expected, high.to_string(), advice))
            }
        }
    }
}
