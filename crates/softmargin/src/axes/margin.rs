//! Margins: what becomes of the target's score before it is compared, `psi(z_y)`.
//!
//! With `r` the product of the norms that the geometry keeps (see `geometry.rs`) and `cos theta = z_y / r`:
//!
//! | margin | `psi` | source |
//! |---|---|---|
//! | score | `z_y - m` | Wang et al. 2018, arXiv 1801.05599 and 1801.09414 |
//! | logit | `s psi = s z_y - m` | Weston and Watkins 1999 |
//! | angle | `r (cos(times theta + plus) - minus)` | Deng et al. 2018, arXiv 1801.07698; Liu et al. 2017, arXiv 1704.08063 |
//!
//! The last holds up to `phi = times theta + plus = pi`; [`BeyondPi`] names what happens past it. With annealing by
//! `lambda`, `psi <- (lambda z_y + psi) / (1 + lambda)`. The exact slope `times sin(phi) / sin(theta)` has a pole where
//! `theta` is 0 or pi: `sin(theta)` is not taken below [`Real::LEAST_SINE`](crate::Real::LEAST_SINE). A standardized
//! margin value may carry `phi` below 0, where it is held: `psi` is then flat.
//! A margin at its neutral value returns `z_y` itself, bit for bit.

use super::margin_value::{MarginValue, Place, Radians, Range, RowMargin};
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::number::sine_ratio;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// An angle multiplied by more than this has no use, and its many branches no precision.
const MOST_TIMES: f64 = 100.0;

/// What is done to the target's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Margin {
    /// Nothing.
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
    /// On the angle between embedding and prototype.
    Angle(AngularMargin),
}

/// `cos(times theta + plus) - minus`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AngularMargin {
    /// Multiplies the angle; above 0 and up to 100, neutral at 1.
    pub times: f64,
    /// Added to the angle, in radians from 0 to pi; a standardized margin value may be below 0, where `phi` stops at 0.
    pub plus: MarginValue<Radians>,
    /// Subtracted from the cosine, from 0 to 2.
    pub minus: MarginValue<f64>,
    /// What happens where the enlarged angle passes pi.
    pub beyond_pi: BeyondPi,
    /// Which gradient the margin has.
    pub gradient: MarginGradient,
    /// Whether the margin comes in step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anneal: Option<Anneal>,
}

/// The value of `cos(phi)`, `phi = times theta + plus`, past `phi = pi`. With `t* = (pi - plus) / times`:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BeyondPi {
    /// `-1 + cos theta - cos t*`: continuous and falling; ours.
    Continue,
    /// `cos theta - plus sin(plus)`, as InsightFace does: jumps at `t*`. Only with `times = 1`.
    Extend,
    /// `cos(phi)`: rises again past pi.
    Plain,
    /// `(-1)^k cos(phi) - 2k`, `k = floor(phi / pi)`: continuous and falling; SphereFace and L-softmax.
    Piecewise,
    /// `-1`: no gradient past pi; SphereFace-R v1.
    Clamp,
}

/// Which gradient a margin on the angle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarginGradient {
    /// The derivative of the value.
    Exact,
    /// 1, as if the margin were a constant, whatever decides its margin values: what InsightFace's code does.
    StraightThrough,
}

/// `lambda = max(min, initial (1 + rate step)^-power)` (arXiv 1704.08063); the steps are counted in
/// [`LossState`](crate::LossState).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Anneal {
    /// `lambda` at step 0.
    pub initial: f64,
    /// How fast it falls.
    pub rate: f64,
    /// The exponent.
    pub power: f64,
    /// Where it stops falling.
    pub min: f64,
}

impl Anneal {
    /// The schedule of the SphereFace paper's code.
    pub const SPHEREFACE: Self = Self { initial: 1000.0, rate: 2.5e-5, power: 35.0, min: 5.0 };

    /// `lambda` at a step.
    pub fn lambda(&self, step: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no training counts 2^53 steps")]
        let steps = step as f64;
        (self.initial * (1.0 + self.rate * steps).powf(-self.power)).max(self.min)
    }
}

/// A target's score under a margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ModifiedTarget {
    /// `psi - z_y`, where a logit margin counts as `-m / s`; exactly 0 when nothing is modified.
    pub(crate) shift: f64,
    /// `d psi / d z_y`, the norms held fixed.
    pub(crate) slope: f64,
    /// `d psi / d r`.
    pub(crate) norm_slope: f64,
    /// `d psi / d |x|` through margin values that the norm decides.
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

/// Everything of a row that a margin may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetContext {
    /// `z_y`
    pub(crate) score: f64,
    /// The scale, temperature included.
    pub(crate) scale: f64,
    /// `r`
    pub(crate) norm: f64,
    /// The row's margin values: of a margin on score or logit, or `plus`; and `minus`.
    pub(crate) value: RowMargin,
    pub(crate) minus: RowMargin,
    pub(crate) step: u64,
    pub(crate) least_sine: f64,
}

impl Margin {
    /// A score margin of one margin value.
    pub fn score(value: f64) -> Self {
        Self::Score { value: MarginValue::One(value) }
    }

    /// A margin of one value on the scaled score.
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

    /// A margin of one angle, in radians, added to the target's: past pi the margin goes on, and its gradient is exact.
    ///
    /// ```
    /// use softmargin::{Margin, presets};
    /// assert_eq!(presets::ARCFACE.spec().margin, Margin::angle(0.5));
    /// ```
    pub fn angle(radians: f64) -> Self {
        Self::Angle(AngularMargin::added(MarginValue::One(Radians(radians))))
    }

    /// Whether the norm of the embedding decides a margin value.
    pub fn is_from_norm(&self) -> bool {
        self.has(MarginValue::is_from_norm, MarginValue::is_from_norm)
    }

    /// Whether the norms of embeddings (and, under inner products, of prototypes) are needed.
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

    /// The share of a new batch in the averages of the norms, where they are looked at.
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

    /// The class counts of all margin values by frequency.
    fn class_counts_mut(&mut self) -> impl Iterator<Item = &mut Option<Vec<u64>>> {
        let places = match self {
            Self::None => [None, None],
            Self::Score { value } | Self::Logit { value } => [value.class_counts_mut(), None],
            Self::Angle(angle) => [angle.plus.class_counts_mut(), angle.minus.class_counts_mut()],
        };
        places.into_iter().flatten()
    }

    /// Whether any of its margin values is such.
    fn has(&self, radians: impl Fn(&MarginValue<Radians>) -> bool, number: impl Fn(&MarginValue<f64>) -> bool) -> bool {
        match self {
            Self::None => false,
            Self::Score { value } | Self::Logit { value } => number(value),
            Self::Angle(angle) => radians(&angle.plus) || number(&angle.minus),
        }
    }

    /// Applies the margin to a finite score; the caller has checked the cosine's range.
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

    /// `psi(z_y)` as it is where nothing is done about angles past pi: what some negatives are compared with.
    pub(crate) fn plain_psi(&self, target: &TargetContext) -> f64 {
        let modified = match self {
            Self::Angle(angle) => angle.apply(target, BeyondPi::Plain),
            _ => self.apply(target),
        };
        target.score + modified.shift
    }

    /// Where the margin value of a margin on score or logit, or `plus`, stands; and `minus`.
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

    /// Checks that one margin value that came with a batch lies where the same margin value in a spec would have to.
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
    /// A margin value added to the target's angle: past pi the margin goes on, and its gradient is exact.
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
            // The cosine of a vanished vector is 0 by definition, whatever the vector does: no slope.
            return ModifiedTarget { slope: 0.0, ..ModifiedTarget::UNCHANGED };
        }
        let plus = target.value.value;
        let ratio = target.score / target.norm;
        // Rounding may have carried it past 1; what is too much is taken off again where the angle is touched.
        let cos = ratio.clamp(-1.0, 1.0);
        // The part that does not touch the angle is exact on its own, so a neutral angle changes no bit.
        let mut bent = if self.times == 1.0 && plus == 0.0 {
            // The slope by `plus` is that of cos(theta + plus).
            Bent { value: ratio, slope: 1.0, plus_slope: -((1.0 - cos) * (1.0 + cos)).sqrt() }
        } else {
            self.cosine_of_enlarged(cos, plus, beyond_pi, target.least_sine)
        };
        let mut minus_slope = -1.0;
        if self.gradient == MarginGradient::StraightThrough {
            // As if all that the margin does were a constant.
            bent = Bent { slope: 1.0, plus_slope: 0.0, ..bent };
            minus_slope = 0.0;
        }
        let anneal = self.anneal.as_ref().map_or(1.0, |anneal| 1.0 / (1.0 + anneal.lambda(target.step)));
        let bend = (bent.value - ratio - target.minus.value) * anneal;
        let slope_bend = (bent.slope - 1.0) * anneal;
        let by_margin_values = bent.plus_slope * target.value.slope + minus_slope * target.minus.slope;
        ModifiedTarget {
            slope: 1.0 + slope_bend,
            // d (r f(z / r)) / dr = f - cos f', without the parts of f and f' that cancel
            norm_slope: bend - cos * slope_bend,
            value_slope: target.norm * anneal * by_margin_values,
            ..ModifiedTarget::shifted(target.norm * bend)
        }
    }

    /// `cos(phi)` continued past pi as told; below 0 `phi` is 0.
    fn cosine_of_enlarged(&self, cos: f64, plus: f64, beyond_pi: BeyondPi, least_sine: f64) -> Bent {
        let theta = cos.acos();
        let phi = self.times * theta + plus;
        let plain = || Bent {
            value: phi.cos(),
            slope: self.times * sine_ratio(phi, theta, cos, self.times, least_sine),
            plus_slope: -phi.sin(),
        };
        if phi < 0.0 {
            return Bent { value: 1.0, slope: 0.0, plus_slope: 0.0 };
        }
        if phi <= PI {
            return plain();
        }
        match beyond_pi {
            BeyondPi::Plain => plain(),
            BeyondPi::Continue => {
                let limit = (PI - plus) / self.times;
                Bent { value: -1.0 + cos - limit.cos(), slope: 1.0, plus_slope: -limit.sin() / self.times }
            }
            BeyondPi::Extend => {
                let (sin, cos_plus) = plus.sin_cos();
                Bent { value: cos - plus * sin, slope: 1.0, plus_slope: -sin - plus * cos_plus }
            }
            BeyondPi::Clamp => Bent { value: -1.0, slope: 0.0, plus_slope: 0.0 },
            BeyondPi::Piecewise => {
                // The branch that holds just below phi: at theta = pi there is nothing above.
                let k = (phi / PI).ceil() - 1.0;
                let sign = if k % 2.0 == 0.0 { 1.0 } else { -1.0 };
                let Bent { value, slope, plus_slope } = plain();
                Bent { value: sign * value - 2.0 * k, slope: sign * slope, plus_slope: sign * plus_slope }
            }
        }
    }

    /// What the margin values of one margin cannot be together.
    fn check_pair(&self) -> Result<()> {
        let refuse = |expected: &str, found: String, advice: &str| {
            Err(Error::new(ErrorKind::Spec, "margin", expected, found, advice))
        };
        if self.plus.is_per_sample() && self.minus.is_per_sample() {
            let found = "per-sample values for both plus and minus";
            let advice = "a batch brings one value a row: fix one of the two";
            return refuse("at most one per-sample value", found.into(), advice);
        }
        if self.plus.is_drawn() && self.minus.is_drawn() {
            let found = "drawn values for both plus and minus";
            return refuse("at most one drawn value", found.into(), "a row has one draw: fix one of the two");
        }
        match (self.plus.norm_momentum(), self.minus.norm_momentum()) {
            (Some(plus), Some(minus)) if plus != minus => {
                let found = format!("{plus} for plus and {minus} for minus");
                refuse("one momentum: both values look at the same averages", found, "give both the same")
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

/// `cos(phi)` or what takes its place, and its slopes by `cos(theta)` and by `plus`.
#[derive(Clone, Copy, Debug)]
struct Bent {
    value: f64,
    slope: f64,
    plus_slope: f64,
}
