//! Margins: the modified score `psi(z_y)` of the target, which is compared with the negatives.
//!
//! With `r` the product of the norms that the scores keep (see `geometry.rs`) and `cos theta = z_y / r`:
//!
//! | margin | `psi` | source |
//! |---|---|---|
//! | score | `z_y - m` | Wang et al. 2018, arXiv 1801.05599 and 1801.09414 |
//! | logit | `s psi = s z_y - m` | Weston and Watkins 1999 |
//! | angle | `r (cos(times theta + plus) - minus)` | Deng et al. 2018, arXiv 1801.07698; Liu et al. 2017, arXiv 1704.08063 |
//!
//! The formula for the angle holds up to `phi = times theta + plus = pi`; [`BeyondPi`] defines `psi` past it. With
//! annealing by `lambda`, `psi <- (lambda z_y + psi) / (1 + lambda)`. The exact derivative `times sin(phi) /
//! sin(theta)` has a pole at `theta = 0` and at pi, so the divisor is at least
//! [`Real::LEAST_SINE`](crate::Real::LEAST_SINE). A standardized margin value may make `phi` negative; it is then
//! clamped to 0, and the derivative is 0. A margin with neutral values returns exactly `z_y`.

use super::margin_value::{MarginValue, Place, Radians, Range, RowMargin};
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::number::sine_ratio;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The largest factor of an angle. Larger ones have no use, and their many branches lose precision.
const MOST_TIMES: f64 = 100.0;

/// The modification of the target's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Margin {
    /// No margin.
    #[serde(deserialize_with = "super::no_options::no_options")]
    None,
    /// `psi = z_y - m`, in units of the score (so `s m` on the scaled one).
    Score {
        /// `m >= 0`; at most 2 under the cosine.
        value: MarginValue<f64>,
    },
    /// `s psi = s z_y - m`, in units of the scaled score.
    Logit {
        /// `m >= 0`.
        value: MarginValue<f64>,
    },
    /// A margin on the angle between embedding and prototype.
    Angle(AngularMargin),
}

/// A margin on the angle: `cos(times theta + plus) - minus`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AngularMargin {
    /// The factor of the angle, above 0 and up to 100; 1 is neutral.
    pub times: f64,
    /// The angle that is added, in radians from 0 to pi; 0 is neutral. A standardized margin value may be negative, and
    /// `phi` is then at least 0.
    pub plus: MarginValue<Radians>,
    /// The value that is subtracted from the cosine, from 0 to 2; 0 is neutral.
    pub minus: MarginValue<f64>,
    /// The continuation of the cosine past pi.
    pub beyond_pi: BeyondPi,
    /// The gradient of the margin.
    pub gradient: MarginGradient,
    /// The schedule that introduces the margin gradually; `None` applies it in full from the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anneal: Option<Anneal>,
}

/// The value that replaces `cos(phi)`, `phi = times theta + plus`, past `phi = pi`. With `t* = (pi - plus) / times`:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BeyondPi {
    /// `-1 + cos theta - cos t*`: continuous and decreasing. The default of this crate.
    Continue,
    /// `cos theta - plus sin(plus)`, as in InsightFace: jumps at `t*`. Only with `times = 1`.
    Extend,
    /// `cos(phi)`: increases again past pi.
    Plain,
    /// `(-1)^k cos(phi) - 2k`, `k = floor(phi / pi)`: continuous and decreasing. SphereFace and L-softmax.
    Piecewise,
    /// `-1`: no gradient past pi. SphereFace-R v1.
    Clamp,
}

/// The gradient of a margin on the angle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarginGradient {
    /// The derivative of the value.
    Exact,
    /// 1: the margin is treated as a constant, as in the code of InsightFace. Margin values that depend on the norm
    /// have no derivative.
    StraightThrough,
}

/// The annealing schedule `lambda = max(min, initial (1 + rate step)^-power)` (arXiv 1704.08063).
/// [`LossState`](crate::LossState) counts the steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Anneal {
    /// `lambda` at step 0.
    pub initial: f64,
    /// The rate per step.
    pub rate: f64,
    /// The exponent.
    pub power: f64,
    /// The smallest `lambda`.
    pub min: f64,
}

impl Anneal {
    /// The schedule of the code of the SphereFace paper.
    pub const SPHEREFACE: Self = Self { initial: 1000.0, rate: 2.5e-5, power: 35.0, min: 5.0 };

    /// Returns `lambda` at a step.
    pub fn lambda(&self, step: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no training counts 2^53 steps")]
        let steps = step as f64;
        (self.initial * (1.0 + self.rate * steps).powf(-self.power)).max(self.min)
    }
}

/// A target's score under a margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ModifiedTarget {
    /// `psi - z_y`, where a margin `m` on the logit counts as `-m / s`; exactly 0 for an unchanged score.
    pub(crate) shift: f64,
    /// `d psi / d z_y`, with the norms held fixed.
    pub(crate) slope: f64,
    /// `d psi / d r`.
    pub(crate) norm_slope: f64,
    /// `d psi / d |x|` through margin values that depend on the norm.
    pub(crate) value_slope: f64,
    /// `d (s psi) / d s - z_y`: the shift without a logit margin.
    pub(crate) scale_shift: f64,
}

impl ModifiedTarget {
    pub(crate) const UNCHANGED: Self =
        Self { shift: 0.0, slope: 1.0, norm_slope: 0.0, value_slope: 0.0, scale_shift: 0.0 };

    fn shifted(shift: f64) -> Self {
        Self { shift, scale_shift: shift, ..Self::UNCHANGED }
    }
}

/// The properties of a row that a margin depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetContext {
    /// `z_y`
    pub(crate) score: f64,
    /// The scale, temperature included.
    pub(crate) scale: f64,
    /// `r`
    pub(crate) norm: f64,
    /// The margin value of a margin on score or logit, or `plus`.
    pub(crate) value: RowMargin,
    /// `minus` of a margin on the angle.
    pub(crate) minus: RowMargin,
    pub(crate) step: u64,
    pub(crate) least_sine: f64,
}

impl Margin {
    /// Returns a score margin with one margin value for all rows.
    pub fn score(value: f64) -> Self {
        Self::Score { value: MarginValue::One(value) }
    }

    /// Returns a margin of one value on the scaled score.
    ///
    /// ```
    /// use softmargin::{Margin, presets};
    /// let loss = presets::CROSS_ENTROPY.spec().with_margin(Margin::logit(0.7)).build(3)?;
    /// assert_eq!(loss.spec().margin, Margin::logit(0.7));
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn logit(value: f64) -> Self {
        Self::Logit { value: MarginValue::One(value) }
    }

    /// Returns a margin that adds one angle, in radians, to the target's angle. It uses [`BeyondPi::Continue`] and the
    /// exact gradient.
    ///
    /// ```
    /// use softmargin::{Margin, presets};
    /// assert_eq!(presets::ARCFACE.spec().margin, Margin::angle(0.5));
    /// ```
    pub fn angle(radians: f64) -> Self {
        Self::Angle(AngularMargin::added(MarginValue::One(Radians(radians))))
    }

    /// Returns true if a margin value depends on the norm of the embedding.
    pub fn is_from_norm(&self) -> bool {
        self.has(MarginValue::is_from_norm, MarginValue::is_from_norm)
    }

    /// Returns true for a margin on the angle, which needs the norms of embeddings (and, under inner products, of
    /// prototypes) unless the scores are cosines.
    pub(crate) fn is_angular(&self) -> bool {
        matches!(self, Self::Angle(_))
    }

    pub(crate) fn anneal(&self) -> Option<&Anneal> {
        match self {
            Self::Angle(angle) => angle.anneal.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn is_per_sample(&self) -> bool {
        self.has(MarginValue::is_per_sample, MarginValue::is_per_sample)
    }

    pub(crate) fn is_drawn(&self) -> bool {
        self.has(MarginValue::is_drawn, MarginValue::is_drawn)
    }

    pub(crate) fn lacks_class_counts(&self) -> bool {
        self.has(MarginValue::lacks_class_counts, MarginValue::lacks_class_counts)
    }

    /// Returns the momentum of the moving averages of the norms, if a margin value depends on them.
    pub(crate) fn norm_momentum(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Score { value } | Self::Logit { value } => value.norm_momentum(),
            Self::Angle(angle) => angle.plus.norm_momentum().or(angle.minus.norm_momentum()),
        }
    }

    pub(crate) fn set_class_counts(&mut self, counts: &[u64]) {
        for place in self.class_counts_mut() {
            *place = Some(counts.to_vec());
        }
    }

    /// Sets the class counts only where there are none.
    pub(crate) fn set_missing_class_counts(&mut self, counts: &[u64]) {
        for place in self.class_counts_mut() {
            place.get_or_insert_with(|| counts.to_vec());
        }
    }

    /// Returns the class counts of all margin values by frequency.
    fn class_counts_mut(&mut self) -> impl Iterator<Item = &mut Option<Vec<u64>>> {
        let places = match self {
            Self::None => [None, None],
            Self::Score { value } | Self::Logit { value } => [value.class_counts_mut(), None],
            Self::Angle(angle) => [angle.plus.class_counts_mut(), angle.minus.class_counts_mut()],
        };
        places.into_iter().flatten()
    }

    /// Returns true if any of the margin values satisfies its predicate.
    fn has(&self, radians: impl Fn(&MarginValue<Radians>) -> bool, number: impl Fn(&MarginValue<f64>) -> bool) -> bool {
        match self {
            Self::None => false,
            Self::Score { value } | Self::Logit { value } => number(value),
            Self::Angle(angle) => radians(&angle.plus) || number(&angle.minus),
        }
    }

    /// Applies the margin to a finite score. The caller has checked that the score is a cosine times the norms.
    pub(crate) fn apply(&self, target: &TargetContext) -> ModifiedTarget {
        let RowMargin { value, slope } = target.value;
        match self {
            Self::None => ModifiedTarget::UNCHANGED,
            Self::Score { .. } => ModifiedTarget { value_slope: -slope, ..ModifiedTarget::shifted(-value) },
            Self::Logit { .. } => ModifiedTarget {
                shift: -value / target.scale,
                value_slope: -slope / target.scale,
                ..ModifiedTarget::UNCHANGED
            },
            Self::Angle(angle) => angle.apply(target, angle.beyond_pi),
        }
    }

    /// Returns `psi(z_y)` without a continuation past pi, which curricular negatives are compared with.
    pub(crate) fn plain_psi(&self, target: &TargetContext) -> f64 {
        let modified = match self {
            Self::Angle(angle) => angle.apply(target, BeyondPi::Plain),
            _ => self.apply(target),
        };
        target.score + modified.shift
    }

    /// Returns the places of the margin values: the one of a margin on score or logit, or `plus`; and `minus`.
    pub(crate) fn places(&self, bounded: bool) -> [Place; 2] {
        let value = |range| Place { name: "margin.value", range, is_added_to_angle: false };
        let plus = Place { name: "margin.plus", range: Range::Angle, is_added_to_angle: true };
        let minus = Place { name: "margin.minus", range: Range::Cosine, is_added_to_angle: false };
        match self {
            Self::Angle(_) => [plus, minus],
            Self::Score { .. } if bounded => [value(Range::Cosine), minus],
            Self::None | Self::Score { .. } | Self::Logit { .. } => [value(Range::NotNegative), minus],
        }
    }

    /// Checks a margin value of a batch against the range that a spec allows.
    pub(crate) fn check_sample_margin_value(&self, value: f64, bounded: bool) -> Result<()> {
        let [first, minus] = self.places(bounded);
        let place = match self {
            Self::Angle(angle) if !angle.plus.is_per_sample() => minus,
            _ => first,
        };
        place.range.check("margins", value)
    }

    pub(crate) fn check(&self, num_classes: usize, bounded: bool) -> Result<()> {
        let [first, minus] = self.places(bounded);
        match self {
            Self::None => Ok(()),
            Self::Score { value } | Self::Logit { value } => value.check(first, num_classes),
            Self::Angle(angle) => {
                angle.plus.check(first, num_classes)?;
                angle.minus.check(minus, num_classes)?;
                angle.check()
            }
        }
    }
}

impl AngularMargin {
    /// Returns a margin that adds a value to the target's angle. It uses [`BeyondPi::Continue`] and the exact gradient.
    pub fn added(plus: MarginValue<Radians>) -> Self {
        Self {
            times: 1.0,
            plus,
            minus: MarginValue::One(0.0),
            beyond_pi: BeyondPi::Continue,
            gradient: MarginGradient::Exact,
            anneal: None,
        }
    }

    fn apply(&self, target: &TargetContext, beyond_pi: BeyondPi) -> ModifiedTarget {
        if target.norm == 0.0 {
            // The cosine of a vector of norm 0 is 0 by definition, so it has no derivative.
            return ModifiedTarget { slope: 0.0, ..ModifiedTarget::UNCHANGED };
        }
        let plus = target.value.value;
        let ratio = target.score / target.norm;
        // Rounding may have carried it past 1, where no angle is defined.
        let cos = ratio.clamp(-1.0, 1.0);
        // A neutral angle must return the score exactly, without the rounding of acos and cos.
        let mut enlarged = if self.times == 1.0 && plus == 0.0 {
            // The derivative with respect to `plus` is that of cos(theta + plus).
            EnlargedCosine { value: ratio, slope: 1.0, plus_slope: -((1.0 - cos) * (1.0 + cos)).sqrt() }
        } else {
            self.cosine_of_enlarged(cos, plus, beyond_pi, target.least_sine)
        };
        let mut minus_slope = -1.0;
        if self.gradient == MarginGradient::StraightThrough {
            enlarged = EnlargedCosine { slope: 1.0, plus_slope: 0.0, ..enlarged };
            minus_slope = 0.0;
        }
        let anneal = self.anneal.as_ref().map_or(1.0, |anneal| 1.0 / (1.0 + anneal.lambda(target.step)));
        let shift = (enlarged.value - ratio - target.minus.value) * anneal;
        let slope_change = (enlarged.slope - 1.0) * anneal;
        let by_margin_values = enlarged.plus_slope * target.value.slope + minus_slope * target.minus.slope;
        ModifiedTarget {
            slope: 1.0 + slope_change,
            // d (r f(z / r)) / dr = f - cos f', without the parts of f and f' that cancel
            norm_slope: shift - cos * slope_change,
            value_slope: target.norm * anneal * by_margin_values,
            ..ModifiedTarget::shifted(target.norm * shift)
        }
    }

    /// Computes `cos(phi)`, continued past pi by `beyond_pi`. A negative `phi` counts as 0.
    fn cosine_of_enlarged(&self, cos: f64, plus: f64, beyond_pi: BeyondPi, least_sine: f64) -> EnlargedCosine {
        let theta = cos.acos();
        let phi = self.times * theta + plus;
        let plain = || EnlargedCosine {
            value: phi.cos(),
            slope: self.times * sine_ratio(phi, theta, cos, self.times, least_sine),
            plus_slope: -phi.sin(),
        };
        if phi < 0.0 {
            return EnlargedCosine { value: 1.0, slope: 0.0, plus_slope: 0.0 };
        }
        if phi <= PI {
            return plain();
        }
        match beyond_pi {
            BeyondPi::Plain => plain(),
            BeyondPi::Continue => {
                let limit = (PI - plus) / self.times;
                EnlargedCosine { value: -1.0 + cos - limit.cos(), slope: 1.0, plus_slope: -limit.sin() / self.times }
            }
            BeyondPi::Extend => {
                let (sin, cos_plus) = plus.sin_cos();
                EnlargedCosine { value: cos - plus * sin, slope: 1.0, plus_slope: -sin - plus * cos_plus }
            }
            BeyondPi::Clamp => EnlargedCosine { value: -1.0, slope: 0.0, plus_slope: 0.0 },
            BeyondPi::Piecewise => {
                // The branch just below phi, since at theta = pi there is none above.
                let k = (phi / PI).ceil() - 1.0;
                let sign = if k % 2.0 == 0.0 { 1.0 } else { -1.0 };
                let EnlargedCosine { value, slope, plus_slope } = plain();
                EnlargedCosine { value: sign * value - 2.0 * k, slope: sign * slope, plus_slope: sign * plus_slope }
            }
        }
    }

    /// Rejects combinations of `plus` and `minus` that a row cannot have.
    fn check_pair(&self) -> Result<()> {
        let reject = |expected: &str, found: String, advice: &str| {
            Err(Error::new(ErrorKind::Spec, "margin", expected, found, advice))
        };
        if self.plus.is_per_sample() && self.minus.is_per_sample() {
            let found = "per-sample values for both plus and minus";
            let advice = "a batch has one value per row: fix one of the two";
            return reject("at most one per-sample value", found.into(), advice);
        }
        if self.plus.is_drawn() && self.minus.is_drawn() {
            let found = "drawn values for both plus and minus";
            return reject("at most one drawn value", found.into(), "a row has one draw: fix one of the two");
        }
        match (self.plus.norm_momentum(), self.minus.norm_momentum()) {
            (Some(plus), Some(minus)) if plus != minus => {
                let found = format!("{plus} for plus and {minus} for minus");
                reject("one momentum: both values use the same averages", found, "give both the same")
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        check_number("margin.times", self.times, Bound::Positive)?;
        check_number("margin.times", self.times, Bound::AtMost(MOST_TIMES, "published losses multiply by 0.9 to 4"))?;
        self.check_pair()?;
        if self.beyond_pi == BeyondPi::Extend && self.times != 1.0 {
            let expected = "times = 1 with beyond-pi = \"extend\"";
            let advice = "choose \"continue\", which any angle can use";
            return Err(Error::new(ErrorKind::Spec, "margin", expected, format!("times = {}", self.times), advice));
        }
        let Some(anneal) = &self.anneal else { return Ok(()) };
        check_number("margin.anneal.initial", anneal.initial, Bound::NotNegative)?;
        check_number("margin.anneal.rate", anneal.rate, Bound::NotNegative)?;
        check_number("margin.anneal.power", anneal.power, Bound::NotNegative)?;
        check_number("margin.anneal.min", anneal.min, Bound::NotNegative)
    }
}

/// `cos(phi)` or its continuation, and its derivatives with respect to `cos(theta)` and to `plus`.
#[derive(Clone, Copy, Debug)]
struct EnlargedCosine {
    value: f64,
    slope: f64,
    plus_slope: f64,
}
