//! Extra terms on the norms `a = |x|` of the embeddings.
//!
//! | term | value of a row | gradient by `a` | rows | source |
//! |---|---|---|---|---|
//! | feature incay | `weight / a^2` | `-2 weight / a^3` | those classified correctly | Yuan et al. 2017, arXiv 1705.10284 |
//! | ring loss | `weight / 2 (a - R)^2` | `weight (a - R)`; by `R` its negative | all | Zheng et al. 2018, arXiv 1803.00130 |
//! | magnitude | `weight (a / high^2 + 1 / a)`, `a` kept from `low` to `high` | `weight (1 / high^2 - 1 / a^2)`; 0 at and beyond the ends | all | Meng et al. 2021, arXiv 2103.06627 |
//!
//! Under the mean each is averaged over the rows that it concerns, with the rows' weights.

use super::geometry::Geometry;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use serde::{Deserialize, Serialize};

/// A term on the norms of the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Regularizer {
    /// Pushes the norms of correctly classified embeddings up.
    FeatureIncay {
        /// Strength of the term, above 0.
        weight: f64,
    },
    /// Draws all norms to one radius, which is trained.
    Ring {
        /// Strength of the term, above 0.
        weight: f64,
        /// The radius `R` at the start, 0 or above.
        radius: f64,
    },
    /// Draws norms up to the largest: what MagFace adds to a margin that grows with the norm.
    Magnitude {
        /// Strength of the term, above 0.
        weight: f64,
        /// The least norm that is told apart, above 0.
        low: f64,
        /// The largest, above `low`; where the term is least.
        high: f64,
    },
}

/// The norms that the term on the magnitude may name: their squares and inverse squares are numbers of single precision.
const LEAST_NORM: f64 = 1e-9;
const MOST_NORM: f64 = 1e9;

/// The value of a term on one row, and its slopes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NormTerm {
    pub(crate) value: f64,
    pub(crate) norm_slope: f64,
    pub(crate) radius_slope: f64,
}

impl Regularizer {
    /// Whether only correctly classified rows have the term.
    pub(crate) fn is_for_correct_rows(self) -> bool {
        matches!(self, Self::FeatureIncay { .. })
    }

    /// The radius at the start, where there is one.
    pub fn initial_radius(self) -> Option<f64> {
        match self {
            Self::FeatureIncay { .. } | Self::Magnitude { .. } => None,
            Self::Ring { radius, .. } => Some(radius),
        }
    }

    /// The term of a row that it concerns. An embedding of norm 0 has no direction to be pushed in: incay leaves it.
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
                    // 1 / high^2 - 1 / a^2, without the difference of what is nearly equal
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
