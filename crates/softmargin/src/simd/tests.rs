//! Each sweep of each instruction set against a plain loop in f64, for lengths around multiples of the lanes and odd
//! ones.
//!
//! Errors are counted in units of rounding `u`. An affine argument rounds four times, at sizes up to `size`. An
//! exponential or a gate adds a relative error of some units. A lane adds at most `length / 64 + 1` values.

use super::{Affine, GateSums, InstructionSet, NegativeTransform, Sweeps};
use crate::number::Real;

/// The roundings of a short chain of operations with a polynomial.
const CHAIN: f64 = 8.0;

fn lengths() -> impl Iterator<Item = usize> {
    (0..200).filter(|length| length % 2 == 1 || length % 64 == 0 || *length < 20).chain([500, 2047, 2048])
}

fn available() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.into_iter().filter(|set| set.is_available())
}

/// Returns values from -4 to 4 of a linear congruential generator; if `masked`, every seventh is minus infinity.
fn scores<F: Real>(length: usize, masked: bool) -> Vec<F> {
    let mut state = length as u64 + 1;
    let mut next = |index: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 40) as f64 / f64::from(1 << 24);
        if masked && index % 7 == 3 { F::neg_infinity() } else { F::round_from(8.0 * unit - 4.0) }
    };
    (0..length).map(&mut next).collect()
}

fn unit<F: Real>() -> f64 {
    F::epsilon().widen() / 2.0
}

#[track_caller]
fn near(what: &str, got: f64, want: f64, allowed: f64) {
    assert!(got == want || (got - want).abs() <= allowed, "{what}: {got:e}, expected {want:e} within {allowed:e}");
}

/// Returns the rounding errors of the sums of a lane, in units of `F`, and of the plain loop, which adds in f64.
fn additions<F: Real>(length: usize) -> f64 {
    (length / 64 + 1) as f64 + length as f64 * f64::EPSILON / 2.0 / unit::<F>()
}

fn for_all<F: Real>(check: impl Fn(&str, &Sweeps<F>, &[F])) {
    for set in available() {
        for length in lengths() {
            for masked in [false, true] {
                let what = format!("{set:?}, {length} of {}", std::any::type_name::<F>());
                check(&what, &Sweeps::of(set), &scores::<F>(length, masked));
            }
        }
    }
}

fn scans<F: Real>() {
    for_all::<F>(|what, sweeps, z| {
        let max = z.iter().copied().fold(F::neg_infinity(), F::max);
        let scan = (sweeps.scan)(z);
        assert!(scan.max == max && !scan.has_nan, "{what}");
        // A NaN must be found at any index.
        for place in 0..z.len().min(130) {
            let mut bad = z.to_vec();
            bad[place] = F::nan();
            assert!((sweeps.scan)(&bad).has_nan, "{what}: at {place}");
        }
    });
}

/// Computes the transform of a score and its derivative in f64.
fn transformed(z: f64, transform: NegativeTransform<f64>) -> (f64, f64) {
    match transform {
        _ if z.is_infinite() => (z, 1.0),
        NegativeTransform::Misclassified { above, factor } if z > above => (factor * z + factor - 1.0, factor),
        NegativeTransform::Curricular { above, mean } if z > above => (z * (mean + z), mean + 2.0 * z),
        NegativeTransform::DividedAngle { by } => {
            let theta = z.clamp(-1.0, 1.0).acos();
            let slope =
                if theta == 0.0 { 1.0 / (by * by) } else { (theta / by).sin() / (by * theta.sin().max(1e-300)) };
            ((theta / by).cos(), slope)
        }
        _ => (z, 1.0),
    }
}

fn transforms<F: Real>() {
    let numbers: [NegativeTransform<f64>; 4] = [
        NegativeTransform::Misclassified { above: 0.25, factor: 1.125 },
        NegativeTransform::Curricular { above: -0.5, mean: 0.375 },
        NegativeTransform::DividedAngle { by: 1.5 },
        NegativeTransform::DividedAngle { by: 4.0 },
    ];
    for_all::<F>(|what, sweeps, z| {
        // Cosines away from the poles, which number.rs tests; and infinite scores and thresholds.
        let mut z: Vec<F> = z.iter().map(|z| *z / F::round_from(4.5)).collect();
        z.extend([F::infinity(), F::neg_infinity(), F::round_from(0.25), F::round_from(-0.5), F::zero()]);
        for transform in numbers {
            let narrow = |v: f64| F::round_from(v);
            let own = match transform {
                NegativeTransform::Misclassified { above, factor } => {
                    NegativeTransform::Misclassified { above: narrow(above), factor: narrow(factor) }
                }
                NegativeTransform::Curricular { above, mean } => {
                    NegativeTransform::Curricular { above: narrow(above), mean: narrow(mean) }
                }
                NegativeTransform::DividedAngle { by } => NegativeTransform::DividedAngle { by: narrow(by) },
            };
            let mut out = vec![F::nan(); z.len()];
            let mut slopes = vec![F::nan(); z.len()];
            (sweeps.transform)(&z, own, &mut out, &mut slopes);
            for ((z, got), slope) in z.iter().zip(&out).zip(&slopes) {
                let (value, by_score) = transformed(z.widen(), transform);
                // Derivatives divide by a sine of at least 0.45, since cosines are at most 0.89 in size.
                near(&format!("{what}: {transform:?} of {z}"), got.widen(), value, 24.0 * unit::<F>());
                near(&format!("{what}: slope of {transform:?} at {z}"), slope.widen(), by_score, 64.0 * unit::<F>());
            }
            let mut products = out.clone();
            (sweeps.multiply_each)(&mut products, &slopes);
            assert!(products.iter().zip(out.iter().zip(&slopes)).all(|(p, (a, b))| *p == *a * *b), "{what}");
        }
        let (mut out, mut slopes) = (vec![F::zero(); 3], vec![F::zero(); 3]);
        (sweeps.transform)(
            &[F::nan(); 3],
            NegativeTransform::DividedAngle { by: F::round_from(2.0) },
            &mut out,
            &mut slopes,
        );
        assert!(out.iter().all(|v| v.is_nan()), "{what}: NaN is not hidden");
    });
}

fn exponentials<F: Real>() {
    for_all::<F>(|what, sweeps, z| {
        let reference = z.iter().copied().fold(F::round_from(-4.0), F::max);
        let scale = F::round_from(1.75);
        let mut out = vec![F::nan(); z.len()];
        let sums = (sweeps.exp)(z, reference, scale, &mut out);
        let (mut exp, mut weighted) = (0.0, 0.0);
        for (z, got) in z.iter().zip(&out) {
            let d = 1.75 * (z.widen() - reference.widen());
            let e = d.exp();
            near(what, got.widen(), e, unit::<F>() * (CHAIN + 3.0 * d.abs().min(1e3)) * e);
            exp += e;
            weighted += if e > 0.0 { e * d } else { 0.0 };
        }
        // The exponents lie above -14.
        let relative = unit::<F>() * (CHAIN + 3.0 * 14.0 + additions::<F>(z.len()));
        near(what, sums.exp, exp, relative * exp);
        near(what, sums.weighted, weighted, relative * (weighted.abs() + exp));
    });
}

fn products_and_sums<F: Real>() {
    for_all::<F>(|what, sweeps, z| {
        let factor = F::round_from(0.3);
        let mut out = z.to_vec();
        (sweeps.multiply)(&mut out, factor);
        assert!(out.iter().zip(z).all(|(out, z)| *out == *z * factor), "{what}");

        let reference = F::round_from(0.7);
        let (sum, count) = (sweeps.sum_finite)(z, reference);
        let finite: Vec<f64> = z.iter().map(|z| z.widen()).filter(|z| z.is_finite()).collect();
        let size: f64 = finite.iter().map(|z| (z - reference.widen()).abs()).sum();
        let want: f64 = finite.iter().map(|z| z - reference.widen()).sum();
        assert_eq!(count, finite.len(), "{what}");
        near(what, sum, want, unit::<F>() * (additions::<F>(z.len()) + CHAIN) * size);
    });
}

/// A gate in f64: value and derivative.
type Gate = fn(f64) -> (f64, f64);

fn gates<F: Real>() {
    let relu: Gate = |x| if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) };
    let softplus: Gate = |x| (crate::smooth::softplus(x), crate::smooth::sigmoid(x));
    let identity: Gate = |x| if x > f64::NEG_INFINITY { (x, 1.0) } else { (0.0, 0.0) };
    let affine = Affine {
        reference: F::round_from(0.25),
        shift: F::round_from(0.5),
        scale: F::round_from(1.75),
        factor: F::round_from(0.375),
    };
    for_all::<F>(|what, sweeps, z| {
        for (sweep, gate) in [(sweeps.relu, relu), (sweeps.softplus, softplus), (sweeps.identity, identity)] {
            let mut out = vec![F::nan(); z.len()];
            let sums = sweep(z, affine, &mut out);
            let mut want = GateSums::default();
            let (mut sizes, mut weighted_sizes) = (0.0, 0.0);
            // |x| is at most 1.75 * 4.75.
            let argument = unit::<F>() * 4.0 * 8.5;
            for (z, got) in z.iter().zip(&out) {
                let x = 1.75 * ((z.widen() - 0.25) + 0.5);
                let (value, slope) = gate(x);
                let weighted = if slope == 0.0 { 0.0 } else { slope * x };
                near(what, got.widen(), 0.375 * slope, slope * (argument + CHAIN * unit::<F>()));
                want.value += value;
                want.derivative += slope;
                want.weighted += weighted;
                sizes += value.abs() + slope;
                weighted_sizes += weighted.abs() + slope;
            }
            let relative = argument + unit::<F>() * (CHAIN + additions::<F>(z.len()));
            near(what, sums.value, want.value, relative * sizes);
            near(what, sums.derivative, want.derivative, relative * want.derivative);
            near(what, sums.weighted, want.weighted, 2.0 * relative * weighted_sizes);
        }
    });
}

#[test]
fn scan_finds_the_maximum_and_nan() {
    scans::<f32>();
    scans::<f64>();
}

#[test]
fn modified_scores_and_their_slopes() {
    transforms::<f32>();
    transforms::<f64>();
}

#[test]
fn exponentials_and_their_sums() {
    exponentials::<f32>();
    exponentials::<f64>();
}

#[test]
fn products_and_sums_of_what_is_present() {
    products_and_sums::<f32>();
    products_and_sums::<f64>();
}

#[test]
fn gates_and_their_sums() {
    gates::<f32>();
    gates::<f64>();
}

#[test]
fn the_best_instruction_set_is_the_last_available() {
    assert_eq!(Some(InstructionSet::best()), available().last());
    assert!(InstructionSet::Portable.is_available());
}
