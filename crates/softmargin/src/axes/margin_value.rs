//! How large a margin is: one number for all, or one that a row's class, norm or turn decides.
//!
//! | margin value | of a row of class `y`, embedding norm `a` | source |
//! |---|---|---|
//! | one | `m` | |
//! | per class | `m_y` | |
//! | per sample | comes with the batch | |
//! | drawn | from a normal law of mean `m` and deviation `d`, within the allowed range | Boutros et al. 2021, arXiv 2109.09416 |
//! | by frequency | `largest (n_y / n_min)^(-1/4)`, `n_y` samples of the class, `n_min` of the rarest that has any | Cao et al. 2019, arXiv 1906.07413 |
//! | from the norm, linear | `low + (high - low) (a - norm_low) / (norm_high - norm_low)`, `a` kept from `norm_low` to `norm_high` | Meng et al. 2021, arXiv 2103.06627 |
//! | from the norm, standardized | `-m u` on an angle, `m + m u` elsewhere, `u = clip(h (a - mu) / (sd + 0.001), -1, 1)` | Kim et al. 2022, arXiv 2204.00964 |
//!
//! The linear margin value has a slope by the norm, inside its range; the standardized one is taken for a constant. `mu` and
//! `sd` are kept in [`LossState`](crate::LossState). A class without samples has the largest margin.

use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::state::LossState;
use serde::{Deserialize, Serialize};

/// An angle in radians.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Radians(pub f64);

impl Radians {
    /// From degrees, as older tools take them.
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

/// How much: the same for all, by the class of the target, given with each batch, drawn, or from the embedding's norm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum MarginValue<T> {
    /// The same for every row.
    One(T),
    /// (C): the entry of the row's target.
    PerClass(Vec<T>),
    /// The batch brings one for each row (N); see [`Batch::with_margins`](crate::Batch::with_margins).
    PerSample,
    /// Drawn for each row of each step from a normal law, and kept in the range that the margin value may have. Row `i` has the
    /// `i`-th normal value of the stream of (seed, [`Purpose::Margins`](crate::random::Purpose::Margins), step) of the
    /// [`LossState`].
    Drawn {
        /// The mean.
        mean: T,
        /// The standard deviation, 0 or above.
        std: T,
    },
    /// From the norm of the row's embedding.
    FromNorm(NormMargin),
    /// The rarer the class of the row's target, the larger.
    ByFrequency {
        /// The margin value of the rarest class.
        largest: T,
        /// (C): samples of each class in the training data; see
        /// [`LossSpec::with_class_counts`](crate::LossSpec::with_class_counts).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class_counts: Option<Vec<u64>>,
    },
}

/// A margin value that the norm `a` of the embedding decides; in radians or units of the score, as its place is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NormMargin {
    /// On a straight line from `low` to `high`; with a slope by the norm, which is 0 at and beyond the ends.
    Linear {
        /// The margin value of norms of `norm_low` and below.
        low: f64,
        /// The margin value of norms of `norm_high` and above.
        high: f64,
        /// The norm where the line starts, 0 or above.
        norm_low: f64,
        /// The norm where it ends.
        norm_high: f64,
    },
    /// By how far the norm is from the usual one: `u = clip(h (a - mu) / (sd + 0.001), -1, 1)`, `a` kept from 0.001 to
    /// 100. Added to an angle the margin value is `-m u`, taken from a score or a cosine `m + m u`; without slope by the norm.
    Standardized {
        /// `m`
        value: f64,
        /// `h`, above 0: how many deviations the range from -1 to 1 of `u` has, inverted.
        concentration: f64,
        /// The share of a new batch in `mu` and `sd`, above 0 and up to 1.
        momentum: f64,
    },
}

/// The norms that a standardized margin value tells apart.
const LEAST_NORM: f64 = 1e-3;
const MOST_NORM: f64 = 100.0;
/// What is added to the deviation that is divided by.
const LEAST_STD: f64 = 1e-3;

/// Where a margin value stands: what it may be, and which part of a standardized one it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) range: Range,
    pub(crate) is_added_to_angle: bool,
}

/// The numbers that a margin value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Range {
    /// Radians from 0 to pi.
    Angle,
    /// What may be taken from a cosine: 0 to 2.
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

    /// Refuses a margin value outside the range.
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

/// A margin value of a row, and its slope by the norm of the embedding.
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

    /// The share of a new batch in the averages that a standardized margin value looks at.
    pub(crate) fn norm_momentum(&self) -> Option<f64> {
        match self {
            Self::FromNorm(NormMargin::Standardized { momentum, .. }) => Some(*momentum),
            _ => None,
        }
    }

    /// The counts of classes, where they matter.
    pub(crate) fn class_counts_mut(&mut self) -> Option<&mut Option<Vec<u64>>> {
        match self {
            Self::ByFrequency { class_counts, .. } => Some(class_counts),
            _ => None,
        }
    }

    /// Sets the mean of what is drawn, or the largest of what goes by frequency.
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
                    let expected = format!("at most {}, since up to twice as much is taken", range.most() / 2.0);
                    let advice = "give a smaller value";
                    return Err(Error::new(ErrorKind::Spec, at("value"), expected, value.to_string(), advice));
                }
                check_number(&at("concentration"), concentration, Bound::Positive)?;
                check_number(&at("momentum"), momentum, Bound::Share)
            }
        }
    }

    /// The margin value of an embedding of norm `a`.
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

/// A norm as standardized margin values see it.
pub(crate) fn bounded_norm(norm: f64) -> f64 {
    norm.clamp(LEAST_NORM, MOST_NORM)
}

/// A draw, kept in its range.
pub(crate) fn drawn(mean: f64, std: f64, normal: f64, range: Range) -> f64 {
    (mean + std * normal).clamp(0.0, range.most())
}

/// `largest (n / n_min)^(-1/4)` of a class, by its number; a batch asks for those of its rows alone.
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
            let expected = format!("{num_classes} counts, one a class");
            let advice = "give how many samples each class has: LossSpec::with_class_counts";
            Err(Error::new(ErrorKind::Spec, format!("{name}.class-counts"), expected, "none", advice))
        }
    }
}

fn check_length(subject: &str, of: &str, found: usize, num_classes: usize) -> Result<()> {
    if found == num_classes {
        return Ok(());
    }
    let expected = format!("{num_classes} {of}, one a class");
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
