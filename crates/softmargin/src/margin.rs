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
//! `theta` is 0 or pi: `sin(theta)` is not taken below [`Real::LEAST_SINE`](crate::Real::LEAST_SINE).
//! A margin at its neutral value returns `z_y` itself, bit for bit.

use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

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

/// How much: the same for all, by the class of the target, or given with each batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Amount<T> {
    /// The same for every row.
    One(T),
    /// (C): the entry of the row's target.
    PerClass(Vec<T>),
    /// The batch brings one for each row (N); see [`Batch::with_margins`](crate::Batch::with_margins).
    PerSample,
}

impl<T> Amount<T> {
    fn is_per_sample(&self) -> bool {
        matches!(self, Self::PerSample)
    }
}

/// An angle multiplied by more than this has no use, and its many branches no precision.
const MOST_TIMES: f64 = 100.0;

/// What is done to the target's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Margin {
    /// Nothing.
    #[serde(deserialize_with = "crate::spec::no_options")]
    None,
    /// `psi = z_y - m`, in units of the score (so `s m` on the scaled one).
    Score {
        /// `m >= 0`; at most 2 under the cosine.
        amount: Amount<f64>,
    },
    /// `s psi = s z_y - m`, in units of the scaled score.
    Logit {
        /// `m >= 0`.
        amount: Amount<f64>,
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
    /// Added to the angle, in radians from 0 to pi.
    pub plus: Amount<Radians>,
    /// Subtracted from the cosine, from 0 to 2.
    pub minus: Amount<f64>,
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
    /// 1, as if the margin were a constant: what InsightFace's code does.
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
    /// `d (s psi) / d s - z_y`: the shift without a logit margin.
    pub(crate) scale_shift: f64,
}

impl ModifiedTarget {
    pub(crate) const UNCHANGED: Self = Self { shift: 0.0, slope: 1.0, norm_slope: 0.0, scale_shift: 0.0 };

    fn shifted(shift: f64) -> Self {
        Self { shift, scale_shift: shift, ..Self::UNCHANGED }
    }
}

/// Everything of a row that a margin may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetContext {
    /// `z_y`
    pub(crate) score: f64,
    pub(crate) class: usize,
    /// The scale, temperature included.
    pub(crate) scale: f64,
    /// `r`
    pub(crate) norm: f64,
    /// The row's own amount, where amounts come with the batch.
    pub(crate) amount: f64,
    pub(crate) step: u64,
    pub(crate) least_sine: f64,
}

impl Amount<f64> {
    fn of(&self, target: &TargetContext) -> f64 {
        match self {
            Amount::One(m) => *m,
            Amount::PerClass(m) => m[target.class],
            Amount::PerSample => target.amount,
        }
    }
}

impl Amount<Radians> {
    fn of(&self, target: &TargetContext) -> f64 {
        match self {
            Amount::One(m) => m.0,
            Amount::PerClass(m) => m[target.class].0,
            Amount::PerSample => target.amount,
        }
    }
}

impl Margin {
    /// A score margin of one amount.
    pub fn score(amount: f64) -> Self {
        Self::Score { amount: Amount::One(amount) }
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
        match self {
            Self::None => false,
            Self::Score { amount } | Self::Logit { amount } => amount.is_per_sample(),
            Self::Angle(angle) => angle.plus.is_per_sample() || angle.minus.is_per_sample(),
        }
    }

    /// Applies the margin to a finite score; the caller has checked the cosine's range.
    pub(crate) fn apply(&self, target: &TargetContext) -> ModifiedTarget {
        match self {
            Self::None => ModifiedTarget::UNCHANGED,
            Self::Score { amount } => ModifiedTarget::shifted(-amount.of(target)),
            Self::Logit { amount } => {
                ModifiedTarget { shift: -amount.of(target) / target.scale, ..ModifiedTarget::UNCHANGED }
            }
            Self::Angle(angle) => angle.apply(target),
        }
    }

    /// Checks that one amount that came with a batch lies where the same amount in a spec would have to.
    pub(crate) fn check_sample_amount(&self, amount: f64, bounded: bool) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Score { .. } => check_score_margin("margins", amount, bounded),
            Self::Logit { .. } => check_number("margins", amount, Bound::NotNegative),
            Self::Angle(angle) if angle.plus.is_per_sample() => check_angle("margins", amount),
            Self::Angle(_) => check_score_margin("margins", amount, true),
        }
    }

    pub(crate) fn check(&self, num_classes: usize, bounded: bool) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Score { amount } => {
                check_amount("margin.amount", amount, num_classes, |name, &m| check_score_margin(name, m, bounded))
            }
            Self::Logit { amount } => {
                check_amount("margin.amount", amount, num_classes, |name, &m| check_number(name, m, Bound::NotNegative))
            }
            Self::Angle(angle) => angle.check(num_classes),
        }
    }
}

impl AngularMargin {
    fn apply(&self, target: &TargetContext) -> ModifiedTarget {
        if target.norm == 0.0 {
            // The cosine of a vanished vector is 0 by definition, whatever the vector does: no slope.
            return ModifiedTarget { slope: 0.0, ..ModifiedTarget::UNCHANGED };
        }
        let (plus, minus) = (self.plus.of(target), self.minus.of(target));
        let ratio = target.score / target.norm;
        // Rounding may have carried it past 1; what is too much is taken off again where the angle is touched.
        let cos = ratio.clamp(-1.0, 1.0);
        // The part that does not touch the angle is exact on its own, so a neutral angle changes no bit.
        let (bend, slope_bend) = if self.times == 1.0 && plus == 0.0 {
            (0.0, 0.0)
        } else {
            let (value, slope) = self.cosine_of_enlarged(cos, plus, target.least_sine);
            (value - ratio, slope - 1.0)
        };
        let slope_bend = match self.gradient {
            MarginGradient::Exact => slope_bend,
            MarginGradient::StraightThrough => 0.0,
        };
        let anneal = self.anneal.as_ref().map_or(1.0, |anneal| 1.0 / (1.0 + anneal.lambda(target.step)));
        let bend = (bend - minus) * anneal;
        let slope_bend = slope_bend * anneal;
        ModifiedTarget {
            slope: 1.0 + slope_bend,
            // d (r f(z / r)) / dr = f - cos f', without the parts of f and f' that cancel
            norm_slope: bend - cos * slope_bend,
            ..ModifiedTarget::shifted(target.norm * bend)
        }
    }

    /// `cos(phi)` continued past pi as told, and its derivative by `cos`.
    fn cosine_of_enlarged(&self, cos: f64, plus: f64, least_sine: f64) -> (f64, f64) {
        let theta = cos.acos();
        let phi = self.times * theta + plus;
        let plain = || (phi.cos(), self.times * sine_ratio(phi, theta, cos, self.times, least_sine));
        if phi <= PI {
            return plain();
        }
        match self.beyond_pi {
            BeyondPi::Plain => plain(),
            BeyondPi::Continue => (-1.0 + cos - ((PI - plus) / self.times).cos(), 1.0),
            BeyondPi::Extend => (cos - plus * plus.sin(), 1.0),
            BeyondPi::Clamp => (-1.0, 0.0),
            BeyondPi::Piecewise => {
                // The branch that holds just below phi: at theta = pi there is nothing above.
                let k = (phi / PI).ceil() - 1.0;
                let sign = if k % 2.0 == 0.0 { 1.0 } else { -1.0 };
                let (value, slope) = plain();
                (sign * value - 2.0 * k, sign * slope)
            }
        }
    }

    fn check(&self, num_classes: usize) -> Result<()> {
        check_number("margin.times", self.times, Bound::Positive)?;
        check_number("margin.times", self.times, Bound::AtMost(MOST_TIMES, "published losses multiply by 0.9 to 4"))?;
        check_amount("margin.plus", &self.plus, num_classes, |name, m| check_angle(name, m.0))?;
        check_amount("margin.minus", &self.minus, num_classes, |name, &m| check_score_margin(name, m, true))?;
        if self.plus.is_per_sample() && self.minus.is_per_sample() {
            let found = "per-sample amounts for both plus and minus";
            let advice = "a batch brings one amount a row: fix one of the two";
            return Err(Error::new(ErrorKind::Spec, "margin", "at most one per-sample amount", found, advice));
        }
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

/// `sin(phi) / sin(theta)` for `phi = times theta + plus`. Where both vanish, at an end of the range of theta, the
/// quotient of their derivatives; where only the divisor does, it is floored.
fn sine_ratio(phi: f64, theta: f64, cos: f64, times: f64, least_sine: f64) -> f64 {
    const VANISHING: f64 = 1e-12;
    let sine = ((1.0 - cos) * (1.0 + cos)).sqrt();
    let end = if cos > 0.0 { 0.0 } else { PI };
    let phi_at_end = phi + times * (end - theta);
    if sine < least_sine && phi_at_end.sin().abs() < VANISHING * phi_at_end.max(1.0) {
        return times * phi_at_end.cos() / end.cos();
    }
    phi.sin() / sine.max(least_sine)
}

fn check_amount<T>(
    name: &str,
    amount: &Amount<T>,
    num_classes: usize,
    check: impl Fn(&str, &T) -> Result<()>,
) -> Result<()> {
    match amount {
        Amount::One(m) => check(name, m),
        Amount::PerSample => Ok(()),
        Amount::PerClass(all) if all.len() == num_classes => {
            all.iter().enumerate().try_for_each(|(class, m)| check(&format!("{name} of class {class}"), m))
        }
        Amount::PerClass(all) => {
            let expected = format!("{num_classes} amounts, one a class");
            Err(Error::new(ErrorKind::Spec, name, expected, all.len().to_string(), "give as many amounts as classes"))
        }
    }
}

fn check_score_margin(name: &str, m: f64, bounded: bool) -> Result<()> {
    if bounded {
        let advice =
            "a cosine lies from -1 to 1, so no larger margin can be met; an angle belongs to an angular margin";
        check_number(name, m, Bound::AtMost(2.0, advice))
    } else {
        check_number(name, m, Bound::NotNegative)
    }
}

fn check_angle(name: &str, radians: f64) -> Result<()> {
    if radians.is_finite() && (0.0..=PI).contains(&radians) {
        return Ok(());
    }
    let advice = if radians.is_finite() && radians > PI && radians <= 180.0 {
        format!("if that is in degrees, give {:.4}", radians.to_radians())
    } else {
        "give radians".into()
    };
    Err(Error::new(ErrorKind::Spec, name, "an angle in radians from 0 to pi (3.1416)", radians.to_string(), advice))
}
