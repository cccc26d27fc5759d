//! `psi`: what a margin makes of the target's score.
//!
//! Score margin `psi = z - m`; logit margin `u = s z - m`; angle margin, with `cos = z / r` and
//! `theta = arccos cos`,
//!
//! ```text
//! psi = r * a(cos),   a(cos) = cos(phi) - minus,   phi = times * theta + plus <= pi
//! ```
//!
//! and beyond `pi` as [`BeyondPi`] says. Below 0, which only a margin value from the norm can bring about, the angle is 0.
//! An annealed margin is `(lambda cos + a) / (1 + lambda)`.

use std::f64::consts::PI;

use crate::description::Geometry;
use crate::margin_value::{At, MarginValue, Role};
use crate::state::State;

/// What an angle margin does where `phi > pi`; `theta* = (pi - plus) / times`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeyondPi {
    /// `-1 - minus + cos theta - cos theta*`: continuous and monotone.
    Continue,
    /// `cos theta - plus sin(plus) - minus`; only for `times = 1`.
    Extend,
    /// `cos(phi) - minus`, as if nothing had happened.
    Plain,
    /// `(-1)^k cos(phi) - 2k - minus`, `k = floor(phi / pi)`.
    Piecewise,
    /// `cos(pi) - minus`.
    Clamp,
}

/// Which derivative of an angle margin is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarginGradient {
    /// The true one.
    Exact,
    /// `psi' = 1`.
    StraightThrough,
}

/// `cos(times theta + plus) - minus` and its choices.
#[derive(Debug, Clone, PartialEq)]
pub struct Angle {
    /// Factor of the angle.
    pub times: f64,
    /// Added to the angle, radians.
    pub plus: MarginValue,
    /// Taken from the cosine.
    pub minus: MarginValue,
    /// What happens where the angle exceeds pi.
    pub beyond_pi: BeyondPi,
    /// Which derivative.
    pub gradient: MarginGradient,
    /// The blend with the plain cosine.
    pub anneal_lambda: Option<f64>,
    /// The least `sin theta` by which the exact derivative divides.
    pub sin_floor: f64,
}

impl Angle {
    /// The neutral angle margin: `cos(theta)`.
    pub fn neutral() -> Self {
        Self {
            times: 1.0,
            plus: MarginValue::One(0.0),
            minus: MarginValue::One(0.0),
            beyond_pi: BeyondPi::Continue,
            gradient: MarginGradient::Exact,
            anneal_lambda: None,
            sin_floor: 2f64.powi(-20),
        }
    }
}

/// What happens to the target's score.
#[derive(Debug, Clone, PartialEq)]
pub enum Margin {
    /// `u = s z`.
    None,
    /// `u = s (z - m)`.
    Score(MarginValue),
    /// `u = s z - m`.
    Logit(MarginValue),
    /// `u = s r a(cos)`.
    Angle(Angle),
}

/// An angle margin at one cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtCosine {
    /// `a(cos)`.
    pub value: f64,
    /// `da / dcos`, the sine floored (1 if straight-through).
    pub by_cosine: f64,
    /// `a - cos da/dcos`, the derivative of `r a(z / r)` by `r`.
    pub by_radius: f64,
    /// `-da / dtheta`, which needs no floor: the slope along the tangent in the head.
    pub by_tangent: f64,
    /// By the embedding's norm, through the margin values alone.
    pub by_norm: f64,
}

impl Angle {
    /// `a`, and its derivatives.
    pub fn at(&self, cosine: f64, place: Place) -> AtCosine {
        let plus = self.plus.at(place, Role::Angle);
        let minus = self.minus.at(place, Role::Cosine);
        let theta = cosine.acos();
        let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
        let phi = self.times * theta + plus.value;
        let (value, by_tangent) = self.unblended(cosine, sine, phi, plus.value, minus.value);
        let exact = self.gradient == MarginGradient::Exact;
        let slope = if exact { self.exact_slope(sine, phi) } else { 1.0 };
        let by_norm = if exact { self.by_plus(phi, plus.value) * plus.by_norm - minus.by_norm } else { 0.0 };
        // The blend with lambda * cos adds nothing to a - cos a', so that it is taken before the
        // blend: a large lambda would cancel.
        let by_radius = value - cosine * slope;
        let lambda = self.anneal_lambda.unwrap_or(0.0);
        AtCosine {
            value: (lambda * cosine + value) / (1.0 + lambda),
            by_cosine: (lambda + slope) / (1.0 + lambda),
            by_radius: by_radius / (1.0 + lambda),
            by_tangent: (lambda * sine + by_tangent) / (1.0 + lambda),
            by_norm: by_norm / (1.0 + lambda),
        }
    }

    /// Value and `-d/dtheta` before annealing.
    fn unblended(&self, cosine: f64, sine: f64, phi: f64, plus: f64, minus: f64) -> (f64, f64) {
        let bent = self.times * phi.sin();
        if phi < 0.0 {
            return (1.0 - minus, 0.0);
        }
        if phi <= PI {
            return (phi.cos() - minus, bent);
        }
        match self.beyond_pi {
            BeyondPi::Continue => {
                let limit = (PI - plus) / self.times;
                (-1.0 - minus + cosine - limit.cos(), sine)
            }
            BeyondPi::Extend => (cosine - plus * plus.sin() - minus, sine),
            BeyondPi::Plain => (phi.cos() - minus, bent),
            BeyondPi::Piecewise => {
                let k = (phi / PI).floor();
                let sign = if k % 2.0 == 0.0 { 1.0 } else { -1.0 };
                (sign * phi.cos() - 2.0 * k - minus, sign * bent)
            }
            BeyondPi::Clamp => (-1.0 - minus, 0.0),
        }
    }

    /// `da / dplus` before annealing.
    fn by_plus(&self, phi: f64, plus: f64) -> f64 {
        if phi < 0.0 {
            return 0.0;
        }
        if phi <= PI {
            return -phi.sin();
        }
        match self.beyond_pi {
            BeyondPi::Continue => -((PI - plus) / self.times).sin() / self.times,
            BeyondPi::Extend => -plus.sin() - plus * plus.cos(),
            BeyondPi::Plain => -phi.sin(),
            // Every piece falls.
            BeyondPi::Piecewise => -phi.sin().abs(),
            BeyondPi::Clamp => 0.0,
        }
    }

    /// `da / dcos` before annealing, with `sin theta` floored where it divides.
    fn exact_slope(&self, sine: f64, phi: f64) -> f64 {
        if phi < 0.0 {
            return 0.0;
        }
        let divided = self.times * phi.sin() / sine.max(self.sin_floor);
        if phi <= PI {
            return divided;
        }
        match self.beyond_pi {
            BeyondPi::Continue | BeyondPi::Extend => 1.0,
            BeyondPi::Plain => divided,
            BeyondPi::Piecewise if (phi / PI).floor() % 2.0 == 0.0 => divided,
            BeyondPi::Piecewise => -divided,
            BeyondPi::Clamp => 0.0,
        }
    }
}

/// The target's scaled score `u` after the margin, and its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// `u`.
    pub u: f64,
    /// `du / dz`, the radius held.
    pub by_score: f64,
    /// `du / ds`.
    pub by_scale: f64,
    /// `du / dr`, the score held.
    pub by_radius: f64,
    /// `du / d|x|` through the margin values alone.
    pub by_norm: f64,
}

/// Where the margin acts.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The row.
    pub row: usize,
    /// Its target class.
    pub label: usize,
    /// `r`.
    pub radius: f64,
    /// `|x|`, or NaN where it is not known.
    pub norm: f64,
    /// The norm that standardized margin values see: the same, but in a surrogate.
    pub detached_norm: f64,
    /// What the loss remembers.
    pub state: State,
}

impl Margin {
    /// Its margin values, and what each is for; a score is taken for one of any size.
    pub fn margin_values(&self) -> Vec<(&MarginValue, Role)> {
        match self {
            Margin::None => Vec::new(),
            Margin::Score(m) | Margin::Logit(m) => vec![(m, Role::Score)],
            Margin::Angle(angle) => vec![(&angle.plus, Role::Angle), (&angle.minus, Role::Cosine)],
        }
    }

    /// The margin value of a score margin, which under the cosine is at most 2.
    fn of_score(m: &MarginValue, place: Place, geometry: Geometry) -> At {
        m.at(place, if geometry == Geometry::Cosine { Role::Cosine } else { Role::Score })
    }

    /// `u` for the target's score `z` under the effective scale `s`.
    ///
    /// `frozen` replaces the margin by `z + r * frozen`, which is what a straight-through gradient
    /// differentiates.
    pub fn target(&self, z: f64, s: f64, geometry: Geometry, place: Place, frozen: Option<f64>) -> Target {
        let plain = Target { u: s * z, by_score: s, by_scale: z, by_radius: 0.0, by_norm: 0.0 };
        if z.is_infinite() {
            return Target { u: z, ..plain };
        }
        match self {
            Margin::None => plain,
            Margin::Score(m) => {
                let m = Self::of_score(m, place, geometry);
                let psi = z - m.value;
                Target { u: s * psi, by_scale: psi, by_norm: -s * m.by_norm, ..plain }
            }
            Margin::Logit(m) => {
                let m = m.at(place, Role::Score);
                Target { u: s * z - m.value, by_norm: -m.by_norm, ..plain }
            }
            Margin::Angle(angle) => angle.target(z, s, place, frozen),
        }
    }

    /// The same margin without a continuation beyond pi.
    pub fn without_continuation(&self) -> Self {
        match self {
            Margin::Angle(angle) => Margin::Angle(Angle { beyond_pi: BeyondPi::Plain, ..angle.clone() }),
            other => other.clone(),
        }
    }
}

impl Angle {
    fn target(&self, z: f64, s: f64, place: Place, frozen: Option<f64>) -> Target {
        let r = place.radius;
        if r == 0.0 {
            return Target { u: 0.0, by_score: 0.0, by_scale: 0.0, by_radius: 0.0, by_norm: 0.0 };
        }
        if let Some(step) = frozen {
            let psi = z + r * step;
            return Target { u: s * psi, by_score: s, by_scale: psi, by_radius: s * step, by_norm: 0.0 };
        }
        let cosine = cosine_of(z, r);
        let at = self.at(cosine, place);
        Target {
            u: s * r * at.value,
            by_score: s * at.by_cosine,
            by_scale: r * at.value,
            by_radius: s * at.by_radius,
            by_norm: s * r * at.by_norm,
        }
    }

    /// `a(cos) - cos`, the step that the surrogate of a straight-through margin freezes.
    pub fn step(&self, z: f64, place: Place) -> f64 {
        if place.radius == 0.0 {
            return 0.0;
        }
        let cosine = cosine_of(z, place.radius);
        self.at(cosine, place).value - cosine
    }
}

/// `z / r`, kept within [-1, 1].
pub fn cosine_of(z: f64, r: f64) -> f64 {
    (z / r).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::five_point_difference;
    use crate::margin_value::NormMargin;

    const ALL: [BeyondPi; 5] =
        [BeyondPi::Continue, BeyondPi::Extend, BeyondPi::Plain, BeyondPi::Piecewise, BeyondPi::Clamp];

    fn place(radius: f64) -> Place {
        Place { row: 0, label: 0, radius, norm: f64::NAN, detached_norm: f64::NAN, state: State::initial() }
    }

    fn arcface(beyond_pi: BeyondPi) -> Angle {
        Angle { plus: MarginValue::One(0.5), beyond_pi, ..Angle::neutral() }
    }

    fn value(angle: &Angle, theta: f64) -> f64 {
        angle.at(theta.cos(), place(1.0)).value
    }

    #[test]
    fn the_jump_of_extend_and_the_continuity_of_the_others() {
        let limit = PI - 0.5;
        for choice in ALL {
            let angle = arcface(choice);
            let after = value(&angle, limit + 1e-9);
            assert!((value(&angle, limit - 1e-9) + 1.0).abs() < 1e-8);
            let expected = if choice == BeyondPi::Extend { -1.1173 } else { -1.0 };
            assert!((after - expected).abs() < 1e-4, "{choice:?}: {after}");
        }
    }

    #[test]
    fn continue_is_cos_theta_less_one_less_cos_m() {
        let theta = 3.0f64;
        let expected = theta.cos() - (1.0 - 0.5f64.cos());
        assert!((value(&arcface(BeyondPi::Continue), theta) - expected).abs() < 1e-15);
    }

    #[test]
    fn piecewise_of_four_falls_from_one_to_minus_seven() {
        let angle = Angle { times: 4.0, beyond_pi: BeyondPi::Piecewise, ..Angle::neutral() };
        assert_eq!(value(&angle, 0.0), 1.0);
        assert!((value(&angle, PI) + 7.0).abs() < 1e-12);
        let samples: Vec<f64> = (0..=1000).map(|k| value(&angle, PI * f64::from(k) / 1000.0)).collect();
        assert!(samples.windows(2).all(|w| w[1] <= w[0] && w[0] - w[1] < 0.013));
    }

    #[test]
    fn slopes_are_derivatives() {
        let shapes = [(1.0, 0.5, 0.0, None), (0.9, 0.4, 0.15, None), (3.0, 0.2, 0.1, Some(5.0))];
        for choice in ALL {
            for (times, plus, minus, anneal_lambda) in shapes {
                if choice == BeyondPi::Extend && times != 1.0 {
                    continue;
                }
                let angle = Angle {
                    times,
                    plus: MarginValue::One(plus),
                    minus: MarginValue::One(minus),
                    beyond_pi: choice,
                    anneal_lambda,
                    ..Angle::neutral()
                };
                for cosine in [-0.97, -0.6, 0.1, 0.8] {
                    let at = angle.at(cosine, place(1.0));
                    let d = five_point_difference(|c| angle.at(c[0], place(1.0)).value, &[cosine], 1e-4)[0];
                    assert!((at.by_cosine - d).abs() < 1e-8 * (1.0 + d.abs()));
                    let sine = (1.0 - cosine * cosine).sqrt();
                    assert!((at.by_cosine * sine - at.by_tangent).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn at_the_pole_the_floor_decides() {
        let angle = Angle { sin_floor: 2f64.powi(-12), ..arcface(BeyondPi::Continue) };
        assert_eq!(angle.at(1.0, place(1.0)).by_cosine, 0.5f64.sin() * 4096.0);
        assert_eq!(angle.at(1.0, place(1.0)).by_tangent, 0.5f64.sin());
    }

    #[test]
    fn target_derivatives_with_a_radius() {
        let margin = Margin::Angle(arcface(BeyondPi::Continue));
        let u = |v: &[f64]| margin.target(v[0], v[1], Geometry::UnitWeights, place(v[2]), None).u;
        let at = margin.target(0.7, 3.0, Geometry::UnitWeights, place(1.6), None);
        let d = five_point_difference(u, &[0.7, 3.0, 1.6], 1e-4);
        for (found, expected) in d.iter().zip([at.by_score, at.by_scale, at.by_radius]) {
            assert!((found - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn a_margin_that_follows_the_norm_has_its_slope() {
        let line = NormMargin::Linear { low: 0.1, high: 0.9, norm_low: 1.0, norm_high: 3.0 };
        let minus = NormMargin::Linear { low: 0.3, high: 0.1, norm_low: 1.0, norm_high: 3.0 };
        for beyond_pi in ALL {
            let angle = Angle {
                plus: MarginValue::FromNorm(line),
                minus: MarginValue::FromNorm(minus),
                anneal_lambda: Some(0.5),
                ..arcface(beyond_pi)
            };
            for (cosine, norm) in [(0.4, 1.7), (-0.95, 2.6), (0.4, 0.5), (0.4, 4.0)] {
                let at = |norm: f64| angle.at(cosine, Place { norm, ..place(1.0) });
                let d = five_point_difference(|v| at(v[0]).value, &[norm], 1e-4)[0];
                assert!((at(norm).by_norm - d).abs() < 1e-9, "{beyond_pi:?} {cosine} {norm}");
            }
        }
    }

    #[test]
    fn an_angle_below_zero_is_zero() {
        let value = NormMargin::Standardized { value: 0.5, concentration: 1.0, momentum: 0.01 };
        let state = State { norm_mean: 20.0, norm_std: 0.5, ..State::initial() };
        let angle = Angle { plus: MarginValue::FromNorm(value), ..arcface(BeyondPi::Clamp) };
        let at = |theta: f64| angle.at(theta.cos(), Place { detached_norm: 90.0, state, ..place(1.0) });
        assert_eq!((at(0.3).value, at(0.3).by_cosine, at(0.3).by_tangent), (1.0, 0.0, 0.0));
        assert!((at(0.8).value - 0.3f64.cos()).abs() < 1e-15);
    }
}
