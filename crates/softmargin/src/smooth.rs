//! Smooth functions, the hard functions that they approximate, and their derivatives.
//!
//! | hard | smooth | bounds | derivative |
//! |---|---|---|---|
//! | one-hot of the largest | softmax | elements in (0, 1), sum 1 | `(diag(p) - p p^T) / T` |
//! | maximum | `T ln sum e^(z / T)` | `max <= . <= max + T ln n` | softmax of `z / T` |
//! | `max(x, 0)` | softplus `ln(1 + e^x)` | `relu <= . <= relu + ln 2` | logistic function |
//!
//! Everything is computed in f64 and rounded once. The largest score is subtracted first, and the logarithm is `ln_1p`
//! of the sum over all others. So results are precise even if one score is much larger than the others or all are
//! large.

use crate::error::{Error, ErrorKind, Result};
use crate::number::Real;

/// Computes `max(x, 0)`.
pub fn relu(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

/// Returns the derivative of [`relu`]: 1 above 0, else 0, also at 0.
pub fn relu_slope(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

/// Computes `ln(1 + e^x)`, without overflow and with full relative precision for tiny results.
///
/// ```
/// assert_eq!(softmargin::smooth::softplus(-1000.0), 0.0);
/// assert_eq!(softmargin::smooth::softplus(1000.0), 1000.0);
/// assert!((softmargin::smooth::softplus(-20.0) - 2.061_153_620_314_381e-9).abs() < 1e-24);
/// ```
pub fn softplus(x: f64) -> f64 {
    relu(x) + (-x.abs()).exp().ln_1p()
}

/// Computes the logistic function `1 / (1 + e^-x)`, the derivative of [`softplus`].
pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// Returns the index of the largest score, the lowest on ties; `None` if there is no score or one is NaN.
pub fn arg_max<F: Real>(scores: &[F]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (index, score) in scores.iter().enumerate() {
        if score.is_nan() {
            return None;
        }
        if best.is_none_or(|held| *score > scores[held]) {
            best = Some(index);
        }
    }
    best
}

/// Returns the largest score, which [`log_sum_exp`] approximates; minus infinity for no scores.
///
/// # Errors
/// On NaN.
pub fn maximum<F: Real>(scores: &[F]) -> Result<F> {
    check_scores(scores)?;
    Ok(scores.iter().copied().fold(F::neg_infinity(), F::max))
}

/// Returns the one-hot vector of the largest score (the lowest index on ties), which [`softmax`] approximates.
///
/// # Errors
/// On NaN.
pub fn one_hot<F: Real>(scores: &[F]) -> Result<Vec<F>> {
    check_scores(scores)?;
    let mut hot = vec![F::zero(); scores.len()];
    if let Some(best) = arg_max(scores) {
        hot[best] = F::one();
    }
    Ok(hot)
}

/// Computes `T ln sum e^(z / T)`: the smooth maximum. With `temperature` T = 1 it is the usual log-sum-exp; as T goes
/// to 0 it approaches the maximum.
///
/// # Errors
/// On NaN, or a temperature that is not a finite number above 0.
///
/// ```
/// let z = [1.0_f64, 2.0, 3.0, 4.0];
/// assert!((softmargin::smooth::log_sum_exp(&z, 1.0)? - 4.440_189_698_561_196).abs() < 1e-15);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn log_sum_exp<F: Real>(scores: &[F], temperature: f64) -> Result<F> {
    let parts = Parts::of(scores, temperature)?;
    Ok(F::round_from(parts.max + temperature * parts.log))
}

/// Computes `e^(z_j / T) / sum e^(z / T)`, which is also the gradient of [`log_sum_exp`].
///
/// # Errors
/// As [`log_sum_exp`]; also if more than one score is plus infinity or all are minus infinity, since the distribution
/// is then undefined.
///
/// ```
/// let p = softmargin::smooth::softmax(&[1.0_f64, 2.0, 3.0, 4.0], 1.0)?;
/// assert!((p[3] - 0.643_914_259_887_97).abs() < 1e-14);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn softmax<F: Real>(scores: &[F], temperature: f64) -> Result<Vec<F>> {
    let parts = Parts::of(scores, temperature)?;
    parts.check_distribution()?;
    Ok(scores.iter().map(|&z| F::round_from(parts.probability(z))).collect())
}

/// Computes `(z - max) / T - ln sum e^((z - max) / T)`, which is more precise than `ln(softmax)`.
///
/// # Errors
/// As [`softmax`].
pub fn log_softmax<F: Real>(scores: &[F], temperature: f64) -> Result<Vec<F>> {
    let parts = Parts::of(scores, temperature)?;
    parts.check_distribution()?;
    Ok(scores.iter().map(|&z| F::round_from(parts.exponent(z) - parts.log)).collect())
}

/// Computes the gradient of `sum g_j softmax(z / T)_j` with respect to `z`: `p_j (g_j - sum_k g_k p_k) / T`, with `g`
/// the `direction`.
///
/// # Errors
/// As [`softmax`]; also if the length of `direction` is not that of the scores.
pub fn softmax_gradient<F: Real>(scores: &[F], temperature: f64, direction: &[F]) -> Result<Vec<F>> {
    check_direction(scores, direction)?;
    let parts = Parts::of(scores, temperature)?;
    parts.check_distribution()?;
    let best = arg_max(scores).unwrap_or_default();
    let off = |index: usize| direction[index].widen() - direction[best].widen();
    // sum p_k g_k - g_best, without the term of the largest: nothing cancels if that has nearly all the probability.
    let rest = (0..scores.len()).filter(|&index| index != best);
    let mean: f64 = rest.map(|index| parts.probability(scores[index]) * off(index)).sum();
    let one = |index: usize| F::round_from(parts.probability(scores[index]) * (off(index) - mean) / temperature);
    Ok((0..scores.len()).map(one).collect())
}

/// Computes the gradient of `sum g_j log_softmax(z / T)_j` with respect to `z`: `(g_j - p_j sum_k g_k) / T`, with `g`
/// the `direction`.
///
/// # Errors
/// As [`softmax_gradient`].
pub fn log_softmax_gradient<F: Real>(scores: &[F], temperature: f64, direction: &[F]) -> Result<Vec<F>> {
    check_direction(scores, direction)?;
    let parts = Parts::of(scores, temperature)?;
    parts.check_distribution()?;
    let best = arg_max(scores);
    let sum: f64 = direction.iter().map(|g| g.widen()).sum();
    let one = |index: usize| {
        let slope = if Some(index) == best {
            // g - p sum g in terms of 1 - p: precise if p is nearly 1.
            let others: f64 = (0..scores.len()).filter(|&k| k != index).map(|k| direction[k].widen()).sum();
            parts.others / (1.0 + parts.others) * sum - others
        } else {
            direction[index].widen() - parts.probability(scores[index]) * sum
        };
        F::round_from(slope / temperature)
    };
    Ok((0..scores.len()).map(one).collect())
}

/// The parts of a log-sum-exp: the largest score and the sum over the others.
struct Parts {
    max: f64,
    temperature: f64,
    /// `sum e^((z - max) / T)` over all but one largest score.
    others: f64,
    /// `ln(1 + others)`
    log: f64,
}

impl Parts {
    fn of<F: Real>(scores: &[F], temperature: f64) -> Result<Self> {
        if !(temperature.is_finite() && temperature > 0.0) {
            let expected = "a finite number above 0";
            let advice = "1 is the plain function, and smaller is sharper";
            return Err(Error::new(ErrorKind::Number, "temperature", expected, temperature.to_string(), advice));
        }
        check_scores(scores)?;
        let best = arg_max(scores);
        let max = best.map_or(f64::NEG_INFINITY, |best| scores[best].widen());
        let mut parts = Self { max, temperature, others: 0.0, log: 0.0 };
        if max.is_finite() {
            let rest = scores.iter().enumerate().filter(|(index, _)| Some(*index) != best);
            parts.others = rest.map(|(_, &z)| parts.exponential(z)).sum();
            parts.log = parts.others.ln_1p();
        } else if max > 0.0 {
            parts.others = (scores.iter().filter(|z| z.widen() == max).count() - 1) as f64;
        }
        Ok(parts)
    }

    fn exponent<F: Real>(&self, z: F) -> f64 {
        let z = z.widen();
        if z == self.max { 0.0 } else { (z - self.max) / self.temperature }
    }

    fn exponential<F: Real>(&self, z: F) -> f64 {
        self.exponent(z).exp()
    }

    fn probability<F: Real>(&self, z: F) -> f64 {
        self.exponential(z) / (1.0 + self.others)
    }

    fn check_distribution(&self) -> Result<()> {
        let found = if self.max == f64::NEG_INFINITY {
            "scores that are all minus infinity, or none"
        } else if self.max == f64::INFINITY && self.others > 0.0 {
            "more than one score of plus infinity"
        } else {
            return Ok(());
        };
        let expected = "scores with a softmax: a finite largest score, or a single infinite one";
        Err(Error::new(ErrorKind::Number, "scores", expected, found, "mask classes with minus infinity, but not all"))
    }
}

fn check_scores<F: Real>(scores: &[F]) -> Result<()> {
    match scores.iter().position(|z| z.is_nan()) {
        None => Ok(()),
        Some(index) => {
            let advice = "look for a division by zero or an overflow before this";
            Err(Error::new(ErrorKind::Number, format!("score {index}"), "a number", "NaN", advice))
        }
    }
}

fn check_direction<F: Real>(scores: &[F], direction: &[F]) -> Result<()> {
    if scores.len() == direction.len() {
        return Ok(());
    }
    let expected = format!("{} numbers, one per score", scores.len());
    let advice = "give the gradient with respect to each output";
    Err(Error::new(ErrorKind::Shape, "direction", expected, direction.len().to_string(), advice))
}
