//! The loops over a tile of classes. Within a tile, sums run in `LANES` independent lanes of the type of the scores
//! (few additions per lane, so little rounding, and always in the same order); across tiles, they run in f64.
//!
//! Every function is `inline(always)`, so that it is compiled with the instructions of its caller.

use crate::number::Real;

/// The number of classes per tile: 8 KiB of f32, so that a tile and its gradients stay in the first-level cache.
pub(crate) const TILE: usize = 2048;

/// The number of lanes of a sum: four vectors of the widest instruction set, enough to hide the latency of an addition.
const LANES: usize = 64;

/// The largest score of a tile, and whether a score is NaN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<F> {
    /// The largest score; minus infinity for an empty tile.
    pub(crate) max: F,
    pub(crate) has_nan: bool,
}

/// Sums over the negatives of `e_j = exp(d_j)`, with `d_j = s (n_j - reference)` and `n_j` the transformed score. A
/// score of minus infinity adds 0 to both sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpSums {
    /// `sum e_j`
    pub exp: f64,
    /// `sum e_j d_j`
    pub weighted: f64,
}

impl ExpSums {
    /// Returns the sums relative to another reference, with `fall = s (reference - new reference)`: negative for a
    /// higher new reference. If the sums vanish relative to the new reference, the result is
    /// 0.
    #[must_use]
    pub fn relative_to(self, fall: f64) -> Self {
        if self.exp == 0.0 || fall == 0.0 {
            return self;
        }
        let factor = fall.exp();
        if factor == 0.0 {
            return Self::default();
        }
        Self { exp: self.exp * factor, weighted: factor * (self.weighted + self.exp * fall) }
    }

    /// Adds sums over other negatives, relative to the same reference.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { exp: self.exp + other.exp, weighted: self.weighted + other.weighted }
    }
}

/// The argument of a gate, `x_j = scale ((z_j - reference) + shift)`, and the factor of its derivative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<F> {
    pub(crate) reference: F,
    pub(crate) shift: F,
    pub(crate) scale: F,
    pub(crate) factor: F,
}

/// Sums over the negatives of a gate `g(x_j)`, with `x_j = s (n_j - psi)`, or, against zero, `x_j = s n_j`, and `n_j`
/// the transformed score. A score of minus infinity adds 0 to all sums, under the identity gate too.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateSums {
    /// `sum g(x_j)`
    pub value: f64,
    /// `sum g'(x_j)`
    pub derivative: f64,
    /// `sum g'(x_j) x_j`
    pub weighted: f64,
}

impl GateSums {
    /// Adds sums over other negatives.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            derivative: self.derivative + other.derivative,
            weighted: self.weighted + other.weighted,
        }
    }
}

/// Adds up the lanes that `scores` scores have reached. Other lanes are 0; to skip them saves time for few classes.
#[inline(always)]
fn total<F: Real>(lanes: &[F; LANES], scores: usize) -> f64 {
    lanes[..scores.min(LANES)].iter().map(|lane| lane.widen()).sum()
}

#[inline(always)]
pub(crate) fn scan<F: Real, const FMA: bool>(z: &[F]) -> Scan<F> {
    let mut max = [F::neg_infinity(); LANES];
    let mut nan = [F::zero(); LANES];
    let (blocks, rest) = z.as_chunks::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            max[l] = if block[l] > max[l] { block[l] } else { max[l] };
            nan[l] = if block[l].is_nan() { F::one() } else { nan[l] };
        }
    }
    for (l, &score) in rest.iter().enumerate() {
        max[l] = if score > max[l] { score } else { max[l] };
        nan[l] = if score.is_nan() { F::one() } else { nan[l] };
    }
    let mut scan = Scan { max: F::neg_infinity(), has_nan: false };
    for l in 0..LANES.min(z.len()) {
        scan.max = if max[l] > scan.max { max[l] } else { scan.max };
        scan.has_nan |= nan[l] > F::zero();
    }
    scan
}

/// Writes `exp(scale (z - reference))` and sums it. The reference is at or above the maximum of the tile.
#[inline(always)]
pub(crate) fn exp<F: Real, const FMA: bool>(z: &[F], reference: F, scale: F, out: &mut [F]) -> ExpSums {
    let mut sum = [F::zero(); LANES];
    let mut weighted = [F::zero(); LANES];
    let (blocks, rest) = z.as_chunks::<LANES>();
    let (out_blocks, out_rest) = out[..z.len()].as_chunks_mut::<LANES>();
    // A score of minus infinity has exponential 0, which must stay 0 when weighted.
    let least = F::round_from(-1e4);
    let one = |score: F| {
        let d = (score - reference) * scale;
        let d = if d > least { d } else { least };
        let e = d.exp_below_80::<FMA>();
        (e, e * d)
    };
    for (block, out) in blocks.iter().zip(out_blocks) {
        for l in 0..LANES {
            let (e, w) = one(block[l]);
            out[l] = e;
            sum[l] += e;
            weighted[l] += w;
        }
    }
    for (l, (&score, out)) in rest.iter().zip(out_rest).enumerate() {
        let (e, w) = one(score);
        *out = e;
        sum[l] += e;
        weighted[l] += w;
    }
    ExpSums { exp: total(&sum, z.len()), weighted: total(&weighted, z.len()) }
}

#[inline(always)]
pub(crate) fn multiply<F: Real, const FMA: bool>(out: &mut [F], factor: F) {
    for value in out {
        *value *= factor;
    }
}

#[inline(always)]
pub(crate) fn multiply_each<F: Real, const FMA: bool>(out: &mut [F], factors: &[F]) {
    for (value, &factor) in out.iter_mut().zip(factors) {
        *value *= factor;
    }
}

/// The transform from the score `z_j` of a negative to the score `n_j` that is compared; see
/// [`Negatives`](crate::Negatives). Infinite scores are not modified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NegativeTransform<F> {
    /// `n = t z + t - 1` with derivative `t` for scores `z` above a threshold, else `n = z`.
    Misclassified {
        /// The threshold.
        above: F,
        /// `t`
        factor: F,
    },
    /// `n = z (T + z)` with derivative `T + 2 z` for scores `z` above a threshold, else `n = z`.
    Curricular {
        /// The threshold.
        above: F,
        /// `T`
        mean: F,
    },
    /// `n = cos(acos(z) / m)` with derivative `sin(theta / m) / (m sin(theta))`, `theta = acos(z)`. The derivative is
    /// `1 / m^2` at `theta = 0`. Near `theta = pi` the divisor `sin(theta)` is at least
    /// [`Real::LEAST_SINE`](crate::Real::LEAST_SINE). Scores beyond -1 or 1 are clamped.
    DividedAngle {
        /// `m`
        by: F,
    },
}

/// Computes a misclassified negative and its derivative.
#[inline(always)]
pub(crate) fn misclassified<F: Real>(z: F, above: F, factor: F) -> (F, F) {
    if z > above { (factor * z + (factor - F::one()), factor) } else { (z, F::one()) }
}

/// Computes a curricular negative and its derivative.
#[inline(always)]
pub(crate) fn curricular<F: Real>(z: F, above: F, mean: F) -> (F, F) {
    if z > above { (z * (mean + z), mean + z + z) } else { (z, F::one()) }
}

/// Computes the hinge and its derivative.
#[inline(always)]
pub(crate) fn hinge<F: Real>(x: F) -> (F, F) {
    if x > F::zero() { (x, F::one()) } else { (F::zero(), F::zero()) }
}

/// Computes softplus and its derivative.
#[inline(always)]
pub(crate) fn soft_hinge<F: Real, const FMA: bool>(x: F) -> (F, F) {
    // Absolute value and selections instead of branches, so that the compiler vectorizes the loop.
    let e = (-x.abs()).exp_below_80::<FMA>();
    let positive = x > F::zero();
    let value = if positive { x } else { F::zero() } + e.ln_1p_of_unit::<FMA>();
    (value, if positive { F::one() } else { e } / (F::one() + e))
}

/// Computes the identity gate and its derivative. Minus infinity is masked: both are 0.
#[inline(always)]
pub(crate) fn present<F: Real>(x: F) -> (F, F) {
    if x > F::neg_infinity() { (x, F::one()) } else { (F::zero(), F::zero()) }
}

/// Writes the transformed scores and their derivatives. Infinite scores are not modified.
#[inline(always)]
pub(crate) fn transform<F: Real, const FMA: bool>(
    z: &[F],
    transform: NegativeTransform<F>,
    out: &mut [F],
    slopes: &mut [F],
) {
    match transform {
        NegativeTransform::Misclassified { above, factor } => {
            transformed(z, out, slopes, |z| misclassified(z, above, factor));
        }
        NegativeTransform::Curricular { above, mean } => {
            transformed(z, out, slopes, |z| curricular(z, above, mean));
        }
        NegativeTransform::DividedAngle { by } => transformed(z, out, slopes, |z| z.cosine_of_divided_angle::<FMA>(by)),
    }
}

#[inline(always)]
fn transformed<F: Real>(z: &[F], out: &mut [F], slopes: &mut [F], one: impl Fn(F) -> (F, F)) {
    for ((&z, out), slope) in z.iter().zip(out).zip(slopes) {
        let (value, by_score) = one(z);
        let finite = z.abs() < F::infinity();
        *out = if finite || z.is_nan() { value } else { z };
        *slope = if finite { by_score } else { F::one() };
    }
}

/// Computes `sum (z_j - reference)` over the scores above minus infinity, and their number.
#[inline(always)]
pub(crate) fn sum_finite<F: Real, const FMA: bool>(z: &[F], reference: F) -> (f64, usize) {
    let mut sum = [F::zero(); LANES];
    let mut count = [F::zero(); LANES];
    let one = |score: F| {
        if score > F::neg_infinity() { (score - reference, F::one()) } else { (F::zero(), F::zero()) }
    };
    let (blocks, rest) = z.as_chunks::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            let (d, present) = one(block[l]);
            sum[l] += d;
            count[l] += present;
        }
    }
    for (l, &score) in rest.iter().enumerate() {
        let (d, present) = one(score);
        sum[l] += d;
        count[l] += present;
    }
    (total(&sum, z.len()), count[..z.len().min(LANES)].iter().map(|lane| lane.to_usize().unwrap_or(0)).sum())
}

/// Sums a gate over a tile and writes `factor g'(x_j)`; `gate` computes value and derivative.
#[inline(always)]
fn gated<F: Real>(z: &[F], affine: Affine<F>, out: &mut [F], gate: impl Fn(F) -> (F, F)) -> GateSums {
    let mut value = [F::zero(); LANES];
    let mut slope = [F::zero(); LANES];
    let mut weighted = [F::zero(); LANES];
    let Affine { reference, shift, scale, factor } = affine;
    let one = |score: F| {
        let x = ((score - reference) + shift) * scale;
        let (v, g) = gate(x);
        // g x would be NaN for a score of minus infinity, whose derivative is 0.
        (v, g, if g == F::zero() { F::zero() } else { g * x })
    };
    let (blocks, rest) = z.as_chunks::<LANES>();
    let (out_blocks, out_rest) = out[..z.len()].as_chunks_mut::<LANES>();
    for (block, out) in blocks.iter().zip(out_blocks) {
        for l in 0..LANES {
            let (v, g, w) = one(block[l]);
            out[l] = factor * g;
            value[l] += v;
            slope[l] += g;
            weighted[l] += w;
        }
    }
    for (l, (&score, out)) in rest.iter().zip(out_rest).enumerate() {
        let (v, g, w) = one(score);
        *out = factor * g;
        value[l] += v;
        slope[l] += g;
        weighted[l] += w;
    }
    GateSums { value: total(&value, z.len()), derivative: total(&slope, z.len()), weighted: total(&weighted, z.len()) }
}

#[inline(always)]
pub(crate) fn relu<F: Real, const FMA: bool>(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums {
    gated(z, affine, out, hinge)
}

#[inline(always)]
pub(crate) fn softplus<F: Real, const FMA: bool>(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums {
    gated(z, affine, out, soft_hinge::<F, FMA>)
}

/// Sums the identity gate, which passes every score except minus infinity.
#[inline(always)]
pub(crate) fn identity<F: Real, const FMA: bool>(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums {
    gated(z, affine, out, present)
}
