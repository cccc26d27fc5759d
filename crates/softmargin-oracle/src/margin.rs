//! `psi`: the target's score after the margin.
//!
//! Score margin `psi = z - m`; logit margin `u = s z - m`; angle margin, with `cos = z / r` and
//! `theta = arccos cos`,
//!
//! ```text
//! psi = r * a(cos),   a(cos) = cos(phi) - minus,   phi = times * theta + plus <= pi
//! ```
//!
//! and [`BeyondPi`] defines `a` for `phi > pi`. A negative `phi`, which only a margin value from the norm can cause, is
//! replaced by 0. An annealed margin is `(lambda cos + a) / (1 + lambda)`.

use std::f64::consts::PI;

use crate::description::Geometry;
use crate::margin_value::{MarginValue, MarginValueAtRow, Role};
use crate::state::State;

/// Definition of an angle margin for `phi > pi`, with `theta* = (pi - plus) / times`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeyondPi {
    /// `-1 - minus + cos theta - cos theta*`: continuous and monotone.
    Continue,
    /// `cos theta - plus sin(plus) - minus`; only for `times = 1`.
    Extend,
    /// `cos(phi) - minus`, the same formula as below pi.
    Plain,
    /// `(-1)^k cos(phi) - 2k - minus`, `k = floor(phi / pi)`.
    Piecewise,
    /// `cos(pi) - minus`.
    Clamp,
}

/// Derivative used for an angle margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarginGradient {
    /// The exact derivative.
    Exact,
    /// `psi' = 1`.
    StraightThrough,
}

/// An angle margin, `cos(times theta + plus) - minus`.
#[derive(Debug, Clone, PartialEq)]
pub struct Angle {
    /// Factor of the angle.
    pub times: f64,
    /// Margin added to the angle, in radians.
    pub plus: MarginValue,
    /// Margin subtracted from the cosine.
    pub minus: MarginValue,
    /// Definition for angles beyond pi.
    pub beyond_pi: BeyondPi,
    /// Derivative to use.
    pub gradient: MarginGradient,
    /// Weight `lambda` of the plain cosine in the annealed margin.
    pub anneal_lambda: Option<f64>,
    /// Lower bound of `sin theta` in the denominator of the exact derivative.
    pub sin_floor: f64,
}

impl Angle {
    /// Returns the neutral angle margin, `cos(theta)`.
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

/// How a margin modifies the target's score.
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

/// Value and derivatives of an angle margin at one cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtCosine {
    /// `a(cos)`.
    pub value: f64,
    /// `da / dcos`, with the sine bounded below (1 if straight-through).
    pub grad_cosine: f64,
    /// `a - cos da/dcos`, the derivative of `r a(z / r)` with respect to `r`.
    pub grad_radius: f64,
    /// `-da / dtheta`, the derivative along the tangent in the head; it needs no bound of the sine.
    pub grad_tangent: f64,
    /// Derivative with respect to the norm of the embedding, through the margin values alone.
    pub grad_norm: f64,
}

impl Angle {
    /// Returns `a` and its derivatives.
    pub fn at(&self, cosine: f64, context: RowContext) -> AtCosine {
        let plus = self.plus.at(context, Role::Angle);
        let minus = self.minus.at(context, Role::Cosine);
        let theta = cosine.acos();
        let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
        let phi = self.times * theta + plus.value;
        let (value, grad_tangent) = self.before_annealing(cosine, sine, phi, plus.value, minus.value);
        let exact = self.gradient == MarginGradient::Exact;
        let slope = if exact { self.exact_slope(sine, phi) } else { 1.0 };
        let grad_norm = if exact { self.grad_plus(phi, plus.value) * plus.grad_norm - minus.grad_norm } else { 0.0 };
        // lambda * cos contributes nothing to a - cos a', which is therefore computed before annealing: with a large
        // lambda the difference would cancel.
        let grad_radius = value - cosine * slope;
        let lambda = self.anneal_lambda.unwrap_or(0.0);
        AtCosine {
            value: (lambda * cosine + value) / (1.0 + lambda),
            grad_cosine: (lambda + slope) / (1.0 + lambda),
            grad_radius: grad_radius / (1.0 + lambda),
            grad_tangent: (lambda * sine + grad_tangent) / (1.0 + lambda),
            grad_norm: grad_norm / (1.0 + lambda),
        }
    }

    /// Returns the value and `-da/dtheta` before annealing.
    fn before_annealing(&self, cosine: f64, sine: f64, phi: f64, plus: f64, minus: f64) -> (f64, f64) {
        let slope = self.times * phi.sin();
        if phi < 0.0 {
            return (1.0 - minus, 0.0);
        }
        if phi <= PI {
            return (phi.cos() - minus, slope);
        }
        match self.beyond_pi {
            BeyondPi::Continue => {
                let limit = (PI - plus) / self.times;
                (-1.0 - minus + cosine - limit.cos(), sine)
            }
            BeyondPi::Extend => (cosine - plus * plus.sin() - minus, sine),
            BeyondPi::Plain => (phi.cos() - minus, slope),
            BeyondPi::Piecewise => {
                let k = (phi / PI).floor();
                let sign = if k % 2.0 == 0.0 { 1.0 } else { -1.0 };
                (sign * phi.cos() - 2.0 * k - minus, sign * slope)
            }
            BeyondPi::Clamp => (-1.0 - minus, 0.0),
        }
    }

    /// Returns `da / dplus` before annealing.
    fn grad_plus(&self, phi: f64, plus: f64) -> f64 {
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
            // Every piece is decreasing.
            BeyondPi::Piecewise => -phi.sin().abs(),
            BeyondPi::Clamp => 0.0,
        }
    }

    /// Returns `da / dcos` before annealing, with `sin theta` bounded below in the denominator.
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
    /// `du / dz` at a fixed radius.
    pub grad_score: f64,
    /// `du / ds`.
    pub grad_scale: f64,
    /// `du / dr` at a fixed score.
    pub grad_radius: f64,
    /// `du / d|x|` through the margin values alone.
    pub grad_norm: f64,
}

/// Inputs of a margin at one row.
#[derive(Debug, Clone, Copy)]
pub struct RowContext {
    /// Index of the row.
    pub row: usize,
    /// Target class of the row.
    pub label: usize,
    /// `r`, the radius.
    pub radius: f64,
    /// `|x|`, or NaN if unknown.
    pub norm: f64,
    /// Norm used by standardized margin values; it differs from `norm` only in a surrogate.
    pub detached_norm: f64,
    /// State of the loss.
    pub state: State,
}

impl Margin {
    /// Returns the margin values with their roles. Scores are assumed to be unbounded.
    pub fn margin_values(&self) -> Vec<(&MarginValue, Role)> {
        match self {
            Margin::None => Vec::new(),
            Margin::Score(m) | Margin::Logit(m) => vec![(m, Role::Score)],
            Margin::Angle(angle) => vec![(&angle.plus, Role::Angle), (&angle.minus, Role::Cosine)],
        }
    }

    /// Returns the margin value of a score margin, which is at most 2 under the cosine.
    fn score_margin(m: &MarginValue, context: RowContext, geometry: Geometry) -> MarginValueAtRow {
        m.at(context, if geometry == Geometry::Cosine { Role::Cosine } else { Role::Score })
    }

    /// Returns `u` and its derivatives for the target's score `z` and the effective scale `s`.
    ///
    /// With `frozen`, the margin is replaced by `z + r * frozen`, whose derivative is the straight-through gradient.
    pub fn target(&self, z: f64, s: f64, geometry: Geometry, context: RowContext, frozen: Option<f64>) -> Target {
        let plain = Target { u: s * z, grad_score: s, grad_scale: z, grad_radius: 0.0, grad_norm: 0.0 };
        if z.is_infinite() {
            return Target { u: z, ..plain };
        }
        match self {
            Margin::None => plain,
            Margin::Score(m) => {
                let m = Self::score_margin(m, context, geometry);
                let psi = z - m.value;
                Target { u: s * psi, grad_scale: psi, grad_norm: -s * m.grad_norm, ..plain }
            }
            Margin::Logit(m) => {
                let m = m.at(context, Role::Score);
                Target { u: s * z - m.value, grad_norm: -m.grad_norm, ..plain }
            }
            Margin::Angle(angle) => angle.target(z, s, context, frozen),
        }
    }

    /// Returns the same margin without a continuation beyond pi.
    pub fn without_continuation(&self) -> Self {
        match self {
            Margin::Angle(angle) => Margin::Angle(Angle { beyond_pi: BeyondPi::Plain, ..angle.clone() }),
            other => other.clone(),
        }
    }
}

impl Angle {
    fn target(&self, z: f64, s: f64, context: RowContext, frozen: Option<f64>) -> Target {
        let r = context.radius;
        if r == 0.0 {
            return Target { u: 0.0, grad_score: 0.0, grad_scale: 0.0, grad_radius: 0.0, grad_norm: 0.0 };
        }
        if let Some(step) = frozen {
            let psi = z + r * step;
            return Target { u: s * psi, grad_score: s, grad_scale: psi, grad_radius: s * step, grad_norm: 0.0 };
        }
        let cosine = cosine_of(z, r);
        let at = self.at(cosine, context);
        Target {
            u: s * r * at.value,
            grad_score: s * at.grad_cosine,
            grad_scale: r * at.value,
            grad_radius: s * at.grad_radius,
            grad_norm: s * r * at.grad_norm,
        }
    }

    /// Returns `a(cos) - cos`, the step that the surrogate of a straight-through margin freezes.
    pub fn step(&self, z: f64, context: RowContext) -> f64 {
        if context.radius == 0.0 {
            return 0.0;
        }
        let cosine = cosine_of(z, context.radius);
        self.at(cosine, context).value - cosine
    }
}

/// Returns `z / r`, clamped to [-1, 1].
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

    fn context(radius: f64) -> RowContext {
        RowContext { row: 0, label: 0, radius, norm: f64::NAN, detached_norm: f64::NAN, state: State::initial() }
    }

    fn arcface(beyond_pi: BeyondPi) -> Angle {
        Angle { plus: MarginValue::One(0.5), beyond_pi, ..Angle::neutral() }
    }

    fn value(angle: &Angle, theta: f64) -> f64 {
        angle.at(theta.cos(), context(1.0)).value
    }

    #[test]
    fn only_extend_is_discontinuous_at_pi() {
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
    fn continue_subtracts_one_minus_cos_m_from_cos_theta() {
        let theta = 3.0f64;
        let expected = theta.cos() - (1.0 - 0.5f64.cos());
        assert!((value(&arcface(BeyondPi::Continue), theta) - expected).abs() < 1e-15);
    }

    #[test]
    fn piecewise_with_four_times_the_angle_decreases_from_one_to_minus_seven() {
        let angle = Angle { times: 4.0, beyond_pi: BeyondPi::Piecewise, ..Angle::neutral() };
        assert_eq!(value(&angle, 0.0), 1.0);
        assert!((value(&angle, PI) + 7.0).abs() < 1e-12);
        let samples: Vec<f64> = (0..=1000).map(|k| value(&angle, PI * f64::from(k) / 1000.0)).collect();
        assert!(samples.windows(2).all(|w| w[1] <= w[0] && w[0] - w[1] < 0.013));
    }

    #[test]
    fn derivatives_agree_with_differences() {
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
                    let at = angle.at(cosine, context(1.0));
                    let d = five_point_difference(|c| angle.at(c[0], context(1.0)).value, &[cosine], 1e-4)[0];
                    assert!((at.grad_cosine - d).abs() < 1e-8 * (1.0 + d.abs()));
                    let sine = (1.0 - cosine * cosine).sqrt();
                    assert!((at.grad_cosine * sine - at.grad_tangent).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn the_sine_is_bounded_below_at_the_pole() {
        let angle = Angle { sin_floor: 2f64.powi(-12), ..arcface(BeyondPi::Continue) };
        assert_eq!(angle.at(1.0, context(1.0)).grad_cosine, 0.5f64.sin() * 4096.0);
        assert_eq!(angle.at(1.0, context(1.0)).grad_tangent, 0.5f64.sin());
    }

    #[test]
    fn target_derivatives_with_a_radius_agree_with_differences() {
        let margin = Margin::Angle(arcface(BeyondPi::Continue));
        let u = |v: &[f64]| margin.target(v[0], v[1], Geometry::UnitWeights, context(v[2]), None).u;
        let at = margin.target(0.7, 3.0, Geometry::UnitWeights, context(1.6), None);
        let d = five_point_difference(u, &[0.7, 3.0, 1.6], 1e-4);
        for (found, expected) in d.iter().zip([at.grad_score, at.grad_scale, at.grad_radius]) {
            assert!((found - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn derivatives_with_respect_to_the_norm_agree_with_differences() {
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
                let at = |norm: f64| angle.at(cosine, RowContext { norm, ..context(1.0) });
                let d = five_point_difference(|v| at(v[0]).value, &[norm], 1e-4)[0];
                assert!((at(norm).grad_norm - d).abs() < 1e-9, "{beyond_pi:?} {cosine} {norm}");
            }
        }
    }

    #[test]
    fn a_negative_angle_is_replaced_by_zero() {
        let value = NormMargin::Standardized { value: 0.5, concentration: 1.0, momentum: 0.01 };
        let state = State { norm_mean: 20.0, norm_std: 0.5, ..State::initial() };
        let angle = Angle { plus: MarginValue::FromNorm(value), ..arcface(BeyondPi::Clamp) };
        let at = |theta: f64| angle.at(theta.cos(), RowContext { detached_norm: 90.0, state, ..context(1.0) });
        assert_eq!((at(0.3).value, at(0.3).grad_cosine, at(0.3).grad_tangent), (1.0, 0.0, 0.0));
        assert!((at(0.8).value - 0.3f64.cos()).abs() < 1e-15);
    }
}
