//! The scale `s`, by which scores are multiplied before the comparison.
//!
//! With a small scale, log-sum-exp lies far above the maximum: the loss is large even if the classification is correct,
//! which acts as a margin. As the scale grows, log-sum-exp approaches the maximum, and this implicit margin vanishes.

use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use serde::{Deserialize, Serialize};

/// The scale of the scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Scale {
    /// A constant scale.
    Fixed {
        /// The scale, above 0.
        value: f64,
    },
    /// A learned parameter, clamped to `[min, max]` (Wang et al. 2017, arXiv 1704.06369).
    Learned {
        /// The initial scale.
        initial: f64,
        /// The smallest scale, above 0.
        min: f64,
        /// The largest scale.
        max: f64,
    },
}

impl From<f64> for Scale {
    fn from(value: f64) -> Self {
        Self::fixed(value)
    }
}

impl Scale {
    /// Returns a fixed scale.
    pub fn fixed(value: f64) -> Self {
        Self::Fixed { value }
    }

    /// Returns true if the scale is learned.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Learned { .. })
    }

    /// Returns the fixed scale, or the initial scale of a learned one.
    pub fn initial(self) -> f64 {
        match self {
            Self::Fixed { value } => value,
            Self::Learned { initial, .. } => initial,
        }
    }

    /// Returns the same kind of scale with another fixed or initial value.
    #[must_use]
    pub fn starting_at(self, start: f64) -> Self {
        match self {
            Self::Fixed { .. } => Self::Fixed { value: start },
            Self::Learned { min, max, .. } => Self::Learned { initial: start, min, max },
        }
    }

    /// Returns the scale for a learned parameter: the parameter, clamped to the range, or the fixed scale.
    pub fn clamp(self, parameter: f64) -> f64 {
        match self {
            Self::Fixed { value } => value,
            Self::Learned { min, max, .. } => parameter.max(min).min(max),
        }
    }

    /// Returns the derivative with respect to the parameter, given that with respect to the scale: 0 if a step would
    /// leave the range further.
    pub fn parameter_derivative(self, parameter: f64, derivative: f64) -> f64 {
        match self {
            Self::Fixed { .. } => derivative,
            Self::Learned { min, max, .. } => {
                let leaves = (parameter <= min && derivative > 0.0) || (parameter >= max && derivative < 0.0);
                if leaves { 0.0 } else { derivative }
            }
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Fixed { value } => check_number("scale", value, Bound::Positive),
            Self::Learned { initial, min, max } => {
                check_number("scale.min", min, Bound::Positive)?;
                check_number("scale.max", max, Bound::Positive)?;
                if (min..=max).contains(&initial) {
                    return Ok(());
                }
                let expected = format!("a number from min {min} to max {max}");
                Err(Error::new(
                    ErrorKind::Spec,
                    "scale.initial",
                    expected,
                    initial.to_string(),
                    "start inside the range",
                ))
            }
        }
    }

    /// Returns an error if the scale over the temperature leaves the range of f32, the type of many scores.
    pub(crate) fn check_range_over(self, temperature: f64) -> Result<()> {
        const LEAST: f64 = 1e-30;
        const MOST: f64 = 1e30;
        let (min, max) = match self {
            Self::Fixed { value } => (value, value),
            Self::Learned { min, max, .. } => (min, max),
        };
        let outside = [min / temperature, max / temperature].into_iter().find(|s| !(LEAST..=MOST).contains(s));
        let Some(outside) = outside else { return Ok(()) };
        let expected = "a scale over temperature from 1e-30 to 1e30";
        let advice = "give a scale and a temperature nearer to 1";
        Err(Error::new(ErrorKind::Spec, "scale", expected, format!("{outside:e}"), advice))
    }
}
