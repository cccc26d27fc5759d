//! The size of a margin: one value for all rows, or a value that depends on the row.
//!
//! | margin value | for a row of class `y` and embedding norm `a` | source |
//! |---|---|---|
//! | one | `m` | |
//! | per class | `m_y` | |
//! | per sample | an input of the batch | |
//! | drawn | from a normal distribution of mean `m` and standard deviation `d`, clamped to the allowed range | Boutros et al. 2021, arXiv 2109.09416 |
//! | by frequency | `largest (n_y / n_min)^(-1/4)`, `n_y` samples of the class, `n_min` of the rarest that has any | Cao et al. 2019, arXiv 1906.07413 |
//! | from the norm, linear | `low + (high - low) (a - norm_low) / (norm_high - norm_low)`, `a` clamped to `[norm_low, norm_high]` | Meng et al. 2021, arXiv 2103.06627 |
//! | from the norm, standardized | `-m u` on an angle, `m + m u` elsewhere, `u = clip(h (a - mu) / (sd + 0.001), -1, 1)` | Kim et al. 2022, arXiv 2204.00964 |
//!
//! The linear margin value has a derivative with respect to the norm, inside its range; the standardized one is treated
//! as a constant. [`LossState`](crate::LossState) stores `mu` and `sd`. A class without samples has the largest margin.

use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::state::LossState;
use serde::{Deserialize, Serialize};

/// An angle in radians.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Radians(pub f64);

impl Radians {
    /// Converts degrees to radians.
    ///
    /// ```
    /// let half = softmargin::Radians::from_degrees(28.647_889_756_541_16);
    /// assert!((half.0 - 0.5).abs() < 1e-15);
    /// ```
    pub fn from_degrees(degrees: f64) -> Self {
        Self(degrees.to_radians())
    }
}

impl From<Radians> for f64 {
    fn from(angle: Radians) -> f64 {
        angle.0
    }
}

/// The size of a margin, fixed or dependent on the row. `T` is [`Radians`] for angles, else `f64`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum MarginValue<T> {
    /// One value for all rows.
    One(T),
    /// One value per class (C), indexed by the row's target.
    PerClass(Vec<T>),
    /// One value per row (N), given with the batch; see [`RowInputs::with_margins`](crate::RowInputs::with_margins).
    PerSample,
    /// A value drawn from a normal distribution for each row of each step, and clamped to the allowed range. Row `i`
    /// uses the `i`-th normal value of the stream (seed, [`Purpose::Margins`](crate::random::Purpose::Margins), step)
    /// of the [`LossState`].
    Drawn {
        /// The mean.
        mean: T,
        /// The standard deviation, 0 or above.
        std: T,
    },
    /// A value that depends on the norm of the row's embedding.
    FromNorm(NormMargin),
    /// A value that is larger for rarer classes: `largest (n_y / n_min)^(-1/4)`.
    ByFrequency {
        /// The margin value of the rarest class.
        largest: T,
        /// (C): the number of samples of each class in the training set; see
        /// [`LossSpec::with_class_counts`](crate::LossSpec::with_class_counts).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class_counts: Option<Vec<u64>>,
    },
}

/// A margin value that depends on the norm `a` of the embedding, in radians for `plus`, else in units of the score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NormMargin {
    /// Linear in the norm, from `low` to `high`. The derivative with respect to the norm is 0 at and beyond the ends.
    Linear {
        /// The margin value at norms up to `norm_low`.
        low: f64,
        /// The margin value at norms from `norm_high`.
        high: f64,
        /// The norm where the line starts, 0 or above.
        norm_low: f64,
        /// The norm where the line ends, above `norm_low`.
        norm_high: f64,
    },
    /// Proportional to the standardized norm `u = clip(h (a - mu) / (sd + 0.001), -1, 1)`, with `a` clamped to
    /// `[0.001, 100]`. The value added to an angle is `-m u`; the value subtracted from a score or a cosine is `m + m
    /// u`. It is treated as a constant: it has no derivative with respect to the norm.
    Standardized {
        /// `m`
        value: f64,
        /// `h`, above 0: `u` reaches -1 and 1 at `1 / h` standard deviations from the mean.
        concentration: f64,
        /// The weight of a new batch in the moving averages `mu` and `sd`, above 0 and up to 1.
        momentum: f64,
    },
}

/// The range to which a standardized margin value clamps norms.
const LEAST_NORM: f64 = 1e-3;
const MOST_NORM: f64 = 100.0;
/// The value that is added to the standard deviation before dividing by it.
const LEAST_STD: f64 = 1e-3;

/// The place of a margin value in a margin: its name, its range, and whether it is added to an angle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) range: Range,
    pub(crate) is_added_to_angle: bool,
}

/// The range of a margin value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Range {
    /// Radians from 0 to pi.
    Angle,
    /// A difference of cosines, from 0 to 2.
    Cosine,
    /// 0 or above.
    NotNegative,
}

impl Range {
    const COSINE: f64 = 2.0;

    fn most(self) -> f64 {
        match self {
            Self::Angle => std::f64::consts::PI,
            Self::Cosine => Self::COSINE,
            Self::NotNegative => f64::INFINITY,
        }
    }

    /// Returns an error for a margin value outside the range.
    pub(crate) fn check(self, name: &str, value: f64) -> Result<()> {
        match self {
            Self::Angle => check_angle(name, value),
            Self::Cosine => {
                let advice =
                    "a cosine lies from -1 to 1, so no larger margin can be met; an angle belongs to an angular margin";
                check_number(name, value, Bound::AtMost(Self::COSINE, advice))
            }
            Self::NotNegative => check_number(name, value, Bound::NotNegative),
        }
    }
}

/// A margin value of a row, and its derivative with respect to the norm of the embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowMargin {
    pub(crate) value: f64,
    pub(crate) slope: f64,
}

impl<T> MarginValue<T> {
    pub(crate) fn is_per_sample(&self) -> bool {
        matches!(self, Self::PerSample)
    }

    pub(crate) fn is_drawn(&self) -> bool {
        matches!(self, Self::Drawn { .. })
    }

    pub(crate) fn is_from_norm(&self) -> bool {
        matches!(self, Self::FromNorm(_))
    }

    /// Returns the momentum of the moving averages that a standardized margin value depends on.
    pub(crate) fn norm_momentum(&self) -> Option<f64> {
        match self {
            Self::FromNorm(NormMargin::Standardized { momentum, .. }) => Some(*momentum),
            _ => None,
        }
    }

    /// Returns the class counts of a margin value by frequency.
    pub(crate) fn class_counts_mut(&mut self) -> Option<&mut Option<Vec<u64>>> {
        match self {
            Self::ByFrequency { class_counts, .. } => Some(class_counts),
            _ => None,
        }
    }

    /// Sets the mean of a drawn margin value, or the largest value by frequency.
    pub(crate) fn set_size(&mut self, size: T) {
        if let Self::Drawn { mean: m, .. } | Self::ByFrequency { largest: m, .. } = self {
            *m = size;
        }
    }

    /// Sets `m` of a standardized margin value.
    pub(crate) fn set_standardized(&mut self, m: f64) {
        if let Self::FromNorm(NormMargin::Standardized { value, .. }) = self {
            *value = m;
        }
    }

    pub(crate) fn lacks_class_counts(&self) -> bool {
        matches!(self, Self::ByFrequency { class_counts: None, .. })
    }
}

impl<T: Copy + Into<f64>> MarginValue<T> {
    pub(crate) fn check(&self, place: Place, num_classes: usize) -> Result<()> {
        let Place { name, range, .. } = place;
        match self {
            Self::One(m) => range.check(name, (*m).into()),
            Self::PerSample => Ok(()),
            Self::PerClass(all) => {
                check_length(name, "values", all.len(), num_classes)?;
                let mut classes = all.iter().enumerate();
                classes.try_for_each(|(class, &m)| range.check(&format!("{name} of class {class}"), m.into()))
            }
            Self::Drawn { mean, std } => {
                range.check(&format!("{name}.mean"), (*mean).into())?;
                check_number(&format!("{name}.std"), (*std).into(), Bound::NotNegative)
            }
            Self::FromNorm(value) => value.check(place),
            Self::ByFrequency { largest, class_counts } => {
                range.check(&format!("{name}.largest"), (*largest).into())?;
                check_counts(name, class_counts.as_deref(), num_classes)
            }
        }
    }
}

impl NormMargin {
    fn check(self, place: Place) -> Result<()> {
        let Place { name, range, is_added_to_angle } = place;
        let at = |part: &str| format!("{name}.{part}");
        match self {
            Self::Linear { low, high, norm_low, norm_high } => {
                range.check(&at("low"), low)?;
                range.check(&at("high"), high)?;
                check_number(&at("norm-low"), norm_low, Bound::NotNegative)?;
                check_number(&at("norm-high"), norm_high, Bound::NotNegative)?;
                if norm_low < norm_high {
                    return Ok(());
                }
                let expected = format!("a norm above norm-low, {norm_low}");
                let advice = "give the smaller norm first";
                Err(Error::new(ErrorKind::Spec, at("norm-high"), expected, norm_high.to_string(), advice))
            }
            Self::Standardized { value, concentration, momentum } => {
                range.check(&at("value"), value)?;
                if !is_added_to_angle && 2.0 * value > range.most() {
                    let expected = format!("at most {}, since up to twice the value is subtracted", range.most() / 2.0);
                    let advice = "give a smaller value";
                    return Err(Error::new(ErrorKind::Spec, at("value"), expected, value.to_string(), advice));
                }
                check_number(&at("concentration"), concentration, Bound::Positive)?;
                check_number(&at("momentum"), momentum, Bound::Share)
            }
        }
    }

    /// Returns the margin value of an embedding of norm `a`.
    pub(crate) fn of(self, norm: f64, state: &LossState, is_added_to_angle: bool) -> RowMargin {
        match self {
            Self::Linear { low, high, norm_low, norm_high } => {
                let part = (norm.clamp(norm_low, norm_high) - norm_low) / (norm_high - norm_low);
                let inside = norm > norm_low && norm < norm_high;
                let slope = if inside { (high - low) / (norm_high - norm_low) } else { 0.0 };
                RowMargin { value: if norm >= norm_high { high } else { low + (high - low) * part }, slope }
            }
            Self::Standardized { value, concentration, .. } => {
                let off = bounded_norm(norm) - state.norm_mean;
                let u = (concentration * off / (state.norm_std + LEAST_STD)).clamp(-1.0, 1.0);
                let value = if is_added_to_angle { -value * u } else { value + value * u };
                RowMargin { value, slope: 0.0 }
            }
        }
    }
}

/// Clamps a norm for standardized margin values.
pub(crate) fn bounded_norm(norm: f64) -> f64 {
    norm.clamp(LEAST_NORM, MOST_NORM)
}

/// Returns a drawn margin value, clamped to its range.
pub(crate) fn drawn(mean: f64, std: f64, normal: f64, range: Range) -> f64 {
    (mean + std * normal).clamp(0.0, range.most())
}

/// Returns the function from a class to `largest (n / n_min)^(-1/4)`. It is evaluated only for the classes of a batch.
pub(crate) fn by_frequency(largest: f64, class_counts: &[u64]) -> impl Fn(usize) -> f64 + '_ {
    let least = class_counts.iter().copied().filter(|&count| count > 0).min();
    #[expect(clippy::cast_precision_loss, reason = "a ratio that is rounded is enough")]
    move |class| match (class_counts[class], least) {
        (0, _) | (_, None) => largest,
        (count, Some(least)) => largest * (count as f64 / least as f64).powf(-0.25),
    }
}

fn check_counts(name: &str, class_counts: Option<&[u64]>, num_classes: usize) -> Result<()> {
    match class_counts {
        Some(counts) => check_length(&format!("{name}.class-counts"), "counts", counts.len(), num_classes),
        None => {
            let expected = format!("{num_classes} counts, one per class");
            let advice = "give the number of samples of each class: LossSpec::with_class_counts";
            Err(Error::new(ErrorKind::Spec, format!("{name}.class-counts"), expected, "none", advice))
        }
    }
}

fn check_length(subject: &str, of: &str, found: usize, num_classes: usize) -> Result<()> {
    if found == num_classes {
        return Ok(());
    }
    let expected = format!("{num_classes} {of}, one per class");
    Err(Error::new(ErrorKind::Spec, subject, expected, found.to_string(), format!("give as many {of} as classes")))
}

fn check_angle(name: &str, radians: f64) -> Result<()> {
    let pi = std::f64::consts::PI;
    if radians.is_finite() && (0.0..=pi).contains(&radians) {
        return Ok(());
    }
    let advice = if radians.is_finite() && radians > pi && radians <= 180.0 {
        format!("if that is in degrees, give {:.4}", radians.to_radians())
    } else {
        "give radians".into()
    };
    Err(Error::new(ErrorKind::Spec, name, "an angle in radians from 0 to pi (3.1416)", radians.to_string(), advice))
}
