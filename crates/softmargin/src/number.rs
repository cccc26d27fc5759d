//! The two number types of the losses, and the elementary functions of the vectorized sweeps.
//!
//! `f64` calls the standard library: it is the precise path. `f32` uses short polynomials that a compiler turns into
//! vector instructions. Both are accurate to two or three units in the last place (see the tests below).

use ndarray::NdFloat;

/// The number type of scores and gradients: `f32` or `f64`.
pub trait Real: NdFloat + sealed::Functions {
    /// Converts to `f64`, exactly.
    fn widen(self) -> f64;
    /// Rounds to the nearest value of this type.
    fn round_from(value: f64) -> Self;
    /// The smallest `sin(theta)` by which the exact gradient of an angular margin is divided, for given scores.
    ///
    /// The derivative `psi'(cos)` of an angular margin has a pole at `cos = +-1`. For `f32` the floor lies below every
    /// nonzero `sin(theta)` that a cosine of this type can have. For `f64` it is reached at angles under a millionth of
    /// a radian.
    const LEAST_SINE: f64;
}

pub(crate) mod sealed {
    /// The functions of the sweeps. `FMA` is true if fused multiply-add is an instruction of the target, not a function
    /// call.
    pub trait Functions: Sized {
        /// Computes `e^x` for `x` up to 80; 0 below about -104 (`f32`) or -745 (`f64`). NaN gives NaN or 0.
        fn exp_below_80<const FMA: bool>(self) -> Self;
        /// Computes `ln(1 + e)` for `e` in `[0, 1]`.
        fn ln_1p_of_unit<const FMA: bool>(self) -> Self;
        /// Rounds down to the largest number of this type that is not above a value.
        fn round_down(value: f64) -> Self;
        /// Computes `cos(acos(self) / by)` and its derivative, with `self` clamped to `[-1, 1]` and `by` above 1. NaN
        /// stays NaN.
        fn cosine_of_divided_angle<const FMA: bool>(self, by: Self) -> (Self, Self);
    }
}

impl Real for f32 {
    fn widen(self) -> f64 {
        f64::from(self)
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is intended")]
    fn round_from(value: f64) -> Self {
        value as f32
    }
    const LEAST_SINE: f64 = 1.0 / 4096.0;
}

impl Real for f64 {
    fn widen(self) -> f64 {
        self
    }
    fn round_from(value: f64) -> Self {
        value
    }
    const LEAST_SINE: f64 = 1.0 / 1_048_576.0;
}

#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Evaluates a polynomial by Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for &coefficient in &coefficients[1..] {
        value = fused::<FMA>(value, x, coefficient);
    }
    value
}

impl sealed::Functions for f32 {
    /// `e^x = 2^n e^r` with `n = round(x / ln 2)`, `|r| <= ln 2 / 2`, Taylor to degree 7 (remainder under 6e-9).
    /// `2^n` is applied in two halves, so that subnormal results are correct too.
    #[inline(always)]
    fn exp_below_80<const FMA: bool>(self) -> Self {
        const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer and leaves that in the low bits
        const LN_2_HIGH: f32 = 0.693_359_4; // 9 bits, so that n * LN_2_HIGH is exact
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        const LEAST: f32 = -104.0; // e^-104 is under half the smallest number
        let x = if self > LEAST { self } else { LEAST };
        let rounded = fused::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
        let n = rounded - ROUND;
        let r = fused::<FMA>(n, -LN_2_LOW, fused::<FMA>(n, -LN_2_HIGH, x));
        let taylor =
            polynomial::<FMA, 8>(r, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
        let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
        let half = n >> 1;
        let power = |exponent: i32| f32::from_bits(((exponent + 127) << 23).cast_unsigned());
        taylor * power(half) * power(n - half)
    }

    /// `ln(1 + e) = 2 atanh(r)`, `r = e / (2 + e) <= 1/3`; the series to `r^15` (remainder under 2e-9 of the value).
    #[inline(always)]
    fn ln_1p_of_unit<const FMA: bool>(self) -> Self {
        let r = self / (2.0 + self);
        let series = polynomial::<FMA, 8>(
            r * r,
            [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0],
        );
        2.0 * r * series
    }

    fn round_down(value: f64) -> Self {
        let near = Self::round_from(value);
        if near.widen() > value { near.next_down() } else { near }
    }

    /// With `h = acos(self) / (2 by)`, the value is `1 - 2 sin(h)^2` and its derivative `2 sin(h) cos(h) / (by
    /// sin(theta))`, or `1 / by^2` at `theta = 0`. `h` is at most pi / 2, where the remainders of the series to `h^13`
    /// and `h^12` are under 1e-8.
    #[inline(always)]
    fn cosine_of_divided_angle<const FMA: bool>(self, by: Self) -> (Self, Self) {
        const LEAST: f32 = f32::LEAST_SINE as f32;
        let size = if self.abs() > 1.0 { 1.0 } else { self.abs() };
        let h = angle::<FMA>(self, size) * (0.5 / by);
        let square = h * h;
        let sin = polynomial::<FMA, 7>(
            square,
            [1.0 / 6_227_020_800.0, -1.0 / 39_916_800.0, 1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0],
        ) * h;
        let cos = polynomial::<FMA, 7>(
            square,
            [1.0 / 479_001_600.0, -1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0],
        );
        let sine = ((1.0 - size) * (1.0 + size)).sqrt();
        let (flat, floored) = (sine < LEAST && self > 0.0, if sine < LEAST { LEAST } else { sine });
        let slope = 2.0 * sin * cos / (by * floored);
        (1.0 - 2.0 * sin * sin, if flat { 1.0 / (by * by) } else { slope })
    }
}

/// Computes `acos(cos)`, given the absolute value `size` of `cos`. It uses `asin(w) = w + w^3 P(w^2)` for `w` up to a
/// half (`P` of degree 5, remainder under 2e-9): `acos(a) = 2 asin(sqrt((1 - a) / 2))` above a half, `pi / 2 - asin(a)`
/// below.
#[inline(always)]
fn angle<const FMA: bool>(cos: f32, size: f32) -> f32 {
    use std::f32::consts::{FRAC_PI_2, PI};
    let near_pole = size > 0.5;
    let square = if near_pole { (1.0 - size) * 0.5 } else { size * size };
    let w = if near_pole { square.sqrt() } else { size };
    let series = polynomial::<FMA, 6>(
        square,
        [0.033_690_847, 0.017_149_238, 0.031_100_663, 0.044_599_402, 0.075_000_95, 1.0 / 6.0],
    );
    let asin = fused::<FMA>(w * square, series, w);
    let of_size = if near_pole { 2.0 * asin } else { FRAC_PI_2 - asin };
    if cos < 0.0 { PI - of_size } else { of_size }
}

/// Computes `sin(phi) / sin(theta)` for `phi = times theta + plus`. If both vanish, at an end of the range of theta,
/// the result is the quotient of their derivatives. If only the divisor vanishes, it is replaced by `least_sine`.
pub(crate) fn sine_ratio(phi: f64, theta: f64, cos: f64, times: f64, least_sine: f64) -> f64 {
    const VANISHING: f64 = 1e-12;
    let sine = ((1.0 - cos) * (1.0 + cos)).sqrt();
    let end = if cos > 0.0 { 0.0 } else { std::f64::consts::PI };
    let phi_at_end = phi + times * (end - theta);
    if sine < least_sine && phi_at_end.sin().abs() < VANISHING * phi_at_end.max(1.0) {
        return times * phi_at_end.cos() / end.cos();
    }
    phi.sin() / sine.max(least_sine)
}

/// Computes `cos(acos(cos) / by)` and its derivative.
fn divided(cos: f64, by: f64, least_sine: f64) -> (f64, f64) {
    let cos = cos.clamp(-1.0, 1.0);
    let theta = cos.acos();
    let phi = theta / by;
    (phi.cos(), sine_ratio(phi, theta, cos, 1.0 / by, least_sine) / by)
}

impl sealed::Functions for f64 {
    #[inline(always)]
    fn exp_below_80<const FMA: bool>(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn ln_1p_of_unit<const FMA: bool>(self) -> Self {
        self.ln_1p()
    }

    fn round_down(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn cosine_of_divided_angle<const FMA: bool>(self, by: Self) -> (Self, Self) {
        divided(self, by, Self::LEAST_SINE)
    }
}

#[cfg(test)]
mod tests {
    use super::Real;
    use super::sealed::Functions;

    /// The error bound of `exp` in units in the last place; one rounding is at most one unit. The argument `r` rounds
    /// once at a size of 0.35 (0.4 with the error of the constant). Horner's rule rounds 1 in its last step and 0.55 in
    /// all steps before, and 0.55 more if the product is not fused. The remainder is 0.15.
    const EXP_FUSED: f64 = 0.4 + 1.0 + 0.55 + 0.15;
    const EXP_PLAIN: f64 = EXP_FUSED + 0.55;

    /// The error bound of `ln(1 + e)`: sum, quotient and product round once each, the series once in its last step and
    /// 0.2 before.
    const LN: f64 = 1.0 + 1.0 + 1.0 + 1.0 + 0.2;

    fn ulps(got: f32, want: f64) -> f64 {
        let exponent = want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
        (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
    }

    /// Returns every 499th number from `first` to `last` in the order of their bits, so that each exponent has as many.
    fn samples(first: f32, last: f32) -> impl Iterator<Item = f32> {
        (first.to_bits()..=last.to_bits()).step_by(499).map(f32::from_bits)
    }

    fn worst(samples: impl Iterator<Item = f32>, got: impl Fn(f32) -> f32, want: impl Fn(f64) -> f64) -> f64 {
        samples.map(|x| ulps(got(x), want(f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn exponential_of_f32() {
        let negative = || samples(-0.0, -110.0);
        let fused = worst(negative(), |x| x.exp_below_80::<true>(), f64::exp);
        let plain = worst(negative(), |x| x.exp_below_80::<false>(), f64::exp);
        assert!(fused <= EXP_FUSED && plain <= EXP_PLAIN, "{fused} {plain} units in the last place");
        for x in [0.0_f32, -0.0] {
            assert_eq!((x.exp_below_80::<true>(), x.exp_below_80::<false>()), (1.0, 1.0));
        }
        for x in [-150.0, -1e4, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!((x.exp_below_80::<true>(), x.exp_below_80::<false>()), (0.0, 0.0));
        }
    }

    #[test]
    fn logarithm_of_f32() {
        let unit = || samples(0.0, 1.0);
        let fused = worst(unit(), |x| x.ln_1p_of_unit::<true>(), f64::ln_1p);
        let plain = worst(unit(), |x| x.ln_1p_of_unit::<false>(), f64::ln_1p);
        assert!(fused <= LN && plain <= LN, "{fused} {plain} units in the last place");
        assert_eq!(0.0_f32.ln_1p_of_unit::<true>(), 0.0);
    }

    /// The error bound of the value of a divided angle, in units of rounding (half units in the last place of 1). The
    /// angle has the roundings of root, series, doubling and difference (4), `h` has two more. So `2 sin(h)^2` is off
    /// by `6 * 2h sin(2h)`, at most 11, by 8 of the sine itself, and by 2 of the last steps.
    const DIVIDED: f64 = 11.0 + 8.0 + 2.0;
    /// The error bound of its derivative, relative to the derivative, plus `1 / (by sin(theta))` for angles near pi.
    const DIVIDED_SLOPE: f64 = 25.0;

    #[test]
    fn divided_angles_of_f32() {
        let unit = f64::from(f32::EPSILON) / 2.0;
        let near_poles = samples(1e-7, 1.0).flat_map(|off| [1.0 - off, off - 1.0]);
        let all: Vec<f32> = samples(0.0, 1.0).chain(samples(-0.0, -1.0)).chain(near_poles).collect();
        let (mut value_off, mut slope_off) = (0.0_f64, 0.0_f64);
        for by in [1.0625_f32, 1.5, 2.0, 3.7, 100.0] {
            for &z in &all {
                let (value, slope) = super::divided(f64::from(z), f64::from(by), f32::LEAST_SINE);
                let sine = ((1.0 - f64::from(z)) * (1.0 + f64::from(z))).sqrt().max(f32::LEAST_SINE);
                let ratio = if z < 0.0 { 1.0 / (f64::from(by) * sine) } else { 0.0 };
                for got in [z.cosine_of_divided_angle::<true>(by), z.cosine_of_divided_angle::<false>(by)] {
                    value_off = value_off.max((f64::from(got.0) - value).abs() / unit);
                    slope_off = slope_off.max((f64::from(got.1) - slope).abs() / unit / (slope + ratio));
                }
            }
        }
        assert!(value_off <= DIVIDED && slope_off <= DIVIDED_SLOPE, "value {value_off}, slope {slope_off} units");
        for by in [1.5_f32, 2.0] {
            assert_eq!(1.0_f32.cosine_of_divided_angle::<false>(by), (1.0, 1.0 / (by * by)));
            assert!(f32::NAN.cosine_of_divided_angle::<true>(by).0.is_nan());
            assert_eq!(1.0005_f32.cosine_of_divided_angle::<true>(by).0, 1.0);
        }
    }

    #[test]
    fn rounding_down_is_at_or_below() {
        for value in [0.1, -0.1, 0.35, 1.0, -1.0, 1e-60, -1e-60, f64::INFINITY, f64::NEG_INFINITY] {
            let below = f32::round_down(value);
            assert!(f64::from(below) <= value && f64::from(below.next_up()) > value || value.is_infinite());
            assert_eq!(f64::round_down(value), value);
        }
        assert_eq!(f32::round_down(f64::NEG_INFINITY), f32::NEG_INFINITY);
        assert_eq!(f32::round_down(f64::INFINITY), f32::INFINITY);
    }

    #[test]
    fn functions_of_f64_are_those_of_the_standard_library() {
        for x in [-700.0, -1.5, -1e-9, 0.0] {
            assert_eq!(f64::exp_below_80::<true>(x), f64::exp(x));
        }
        for e in [0.0, 1e-300, 0.25, 1.0] {
            assert_eq!(f64::ln_1p_of_unit::<false>(e), f64::ln_1p(e));
        }
    }
}
