//! The loops over a tile of classes. Sums run in `LANES` independent lanes of the row's own type within a tile (few
//! additions, so little rounding, and always in the same order), and in f64 from tile to tile.
//!
//! Everything here is `inline(always)`, so that it is compiled with the instructions of its caller.

use crate::number::Real;

/// Classes per tile: 16 KiB of f32, so that a tile and its gradients stay in the first-level cache.
pub(crate) const TILE: usize = 2048;

/// Accumulators of a sum: four vectors of the widest instruction set, two of which hide the latency of an addition.
const LANES: usize = 64;

/// What a first look at a tile finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<F> {
    /// The largest score; minus infinity for an empty tile.
    pub(crate) max: F,
    pub(crate) has_nan: bool,
}

/// Sums over `e_j = exp(d_j)`, `d_j = scale (z_j - reference)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpSums {
    /// `sum e_j`
    pub exp: f64,
    /// `sum e_j d_j`
    pub weighted: f64,
}

impl ExpSums {
    /// The same relative to a reference that is `-fall` higher, once scaled; for `fall` of any size.
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

    /// The sum of two, relative to one reference.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { exp: self.exp + other.exp, weighted: self.weighted + other.weighted }
    }
}

/// What a gate is applied to, `x_j = scale ((z_j - reference) + shift)`, and what its slope is multiplied by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<F> {
    pub(crate) reference: F,
    pub(crate) shift: F,
    pub(crate) scale: F,
    pub(crate) factor: F,
}

/// Sums over a gate `g` of the `x_j` of [`Affine`].
#[derive(Clone, Copy, Debug, Default)]
pub struct GateSums {
    /// `sum g(x_j)`
    pub value: f64,
    /// `sum g'(x_j)`
    pub slope: f64,
    /// `sum g'(x_j) x_j`
    pub weighted: f64,
}

impl GateSums {
    /// The sum of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            slope: self.slope + other.slope,
            weighted: self.weighted + other.weighted,
        }
    }
}

/// The sum of the lanes that so many scores have reached: few classes are not to wait for lanes of zeros.
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

/// Writes `exp(scale (z - reference))`; the reference is the tile's maximum or above.
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

/// What is done to the score of a negative before it is compared; see `axes/negatives.rs`. Infinite scores stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NegativeTransform<F> {
    /// `t z + t - 1` where the score `z` is above a threshold; derivative `t` there.
    Misclassified {
        /// The threshold.
        above: F,
        /// `t`
        factor: F,
    },
    /// `z (T + z)` where the score `z` is above a threshold; derivative `T + 2 z` there.
    Curricular {
        /// The threshold.
        above: F,
        /// `T`
        mean: F,
    },
    /// `cos(acos(z) / m)`
    DividedAngle {
        /// `m`
        by: F,
    },
}

/// A negative that is raised where it is above, and its slope.
#[inline(always)]
pub(crate) fn misclassified<F: Real>(z: F, above: F, factor: F) -> (F, F) {
    if z > above { (factor * z + (factor - F::one()), factor) } else { (z, F::one()) }
}

/// A negative that is weighed the more where it is above, and its slope.
#[inline(always)]
pub(crate) fn curricular<F: Real>(z: F, above: F, mean: F) -> (F, F) {
    if z > above { (z * (mean + z), mean + z + z) } else { (z, F::one()) }
}

/// The hinge and its slope.
#[inline(always)]
pub(crate) fn hinge<F: Real>(x: F) -> (F, F) {
    if x > F::zero() { (x, F::one()) } else { (F::zero(), F::zero()) }
}

/// Softplus and its slope.
#[inline(always)]
pub(crate) fn soft_hinge<F: Real, const FMA: bool>(x: F) -> (F, F) {
    // Absolute value and selections, not branches: a compiler would compute both sides of those.
    let e = (-x.abs()).exp_below_80::<FMA>();
    let positive = x > F::zero();
    let value = if positive { x } else { F::zero() } + e.ln_1p_of_unit::<FMA>();
    (value, if positive { F::one() } else { e } / (F::one() + e))
}

/// A number and its slope; minus infinity is out of the comparison.
#[inline(always)]
pub(crate) fn present<F: Real>(x: F) -> (F, F) {
    if x > F::neg_infinity() { (x, F::one()) } else { (F::zero(), F::zero()) }
}

/// Writes the modified scores and their slopes; infinite scores stay as they are.
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

/// `sum (z_j - reference)` over the scores above minus infinity, and how many these are.
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

/// Sums a gate over a tile and writes `factor g'(x_j)`; `gate` gives value and slope of a number.
#[inline(always)]
fn gated<F: Real>(z: &[F], affine: Affine<F>, out: &mut [F], gate: impl Fn(F) -> (F, F)) -> GateSums {
    let mut value = [F::zero(); LANES];
    let mut slope = [F::zero(); LANES];
    let mut weighted = [F::zero(); LANES];
    let Affine { reference, shift, scale, factor } = affine;
    let one = |score: F| {
        let x = ((score - reference) + shift) * scale;
        let (v, g) = gate(x);
        // A gate closed by a score of minus infinity adds nothing.
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
    GateSums { value: total(&value, z.len()), slope: total(&slope, z.len()), weighted: total(&weighted, z.len()) }
}

#[inline(always)]
pub(crate) fn relu<F: Real, const FMA: bool>(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums {
    gated(z, affine, out, hinge)
}

#[inline(always)]
pub(crate) fn softplus<F: Real, const FMA: bool>(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums {
    gated(z, affine, out, soft_hinge::<F, FMA>)
}

/// The identity passes every score but minus infinity, which is out of the comparison.
#[inline(always)]
pub(crate) fn identity<F: Real, const FMA: bool>(z: &[F], affine: Affine<F>, out: &mut [F]) -> GateSums {
    gated(z, affine, out, present)
}
