//! Information-theoretic measures of distributions.
//!
//! | measure | formula | smallest | largest |
//! |---|---|---|---|
//! | self-information | `I(x) = -ln p(x)` | 0 at `p = 1` | `+inf` at `p = 0` |
//! | entropy | `H(p) = -sum p ln p` | 0 if one event is certain | `ln n` at uniform |
//! | Kullback-Leibler divergence | `D(p||q) = sum p ln(p / q)` | 0 iff `p = q` | `+inf` where `p > 0 = q` |
//! | cross-entropy | `H(p, q) = -sum p ln q = H(p) + D(p||q)` | `H(p)` at `q = p` | `+inf` where `p > 0 = q` |
//!
//! `0 ln 0 = 0` throughout (Shannon 1948; Kullback and Leibler 1951).

use crate::error::{Error, ErrorKind, Result};

/// The tolerance of the sum of a distribution: the rounding error of a thousand f32 probabilities.
pub const SUM_TOLERANCE: f64 = 1e-5;

/// The unit of information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Natural logarithms.
    #[default]
    Nats,
    /// Logarithms to base 2.
    Bits,
}

impl Unit {
    fn logarithm(self, p: f64) -> f64 {
        match self {
            Unit::Nats => p.ln(),
            Unit::Bits => p.log2(),
        }
    }

    fn convert(self, nats: f64) -> f64 {
        match self {
            Unit::Nats => nats,
            Unit::Bits => nats * std::f64::consts::LOG2_E,
        }
    }
}

/// Computes `-ln p`: the information that an event of probability `p` gives.
///
/// # Errors
/// If `p` is not from 0 to 1.
///
/// ```
/// use softmargin::measures::{self_information, Unit};
/// assert_eq!(self_information(0.25, Unit::Bits)?, 2.0);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn self_information(p: f64, unit: Unit) -> Result<f64> {
    if (0.0..=1.0).contains(&p) {
        // Adding 0 turns -0 into 0.
        return Ok(-unit.logarithm(p) + 0.0);
    }
    let advice = "give the probability of the event itself, not its logarithm";
    Err(Error::new(ErrorKind::Distribution, "p", "a probability from 0 to 1", p.to_string(), advice))
}

/// Computes `-sum p ln p`: the mean self-information.
///
/// # Errors
/// If `p` is not a distribution: empty, with a negative or NaN entry, or with a sum further than [`SUM_TOLERANCE`] from
/// 1.
///
/// ```
/// use softmargin::measures::{entropy, Unit};
/// assert_eq!(entropy(&[0.5, 0.25, 0.25, 0.0], Unit::Bits)?, 1.5);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn entropy(p: &[f64], unit: Unit) -> Result<f64> {
    check_distribution("p", p)?;
    Ok(p.iter().filter(|&&p| p > 0.0).map(|&p| -p * unit.logarithm(p)).sum::<f64>() + 0.0)
}

/// Computes `-sum p ln q`: the mean self-information under `q` of events distributed by `p`.
///
/// # Errors
/// If either is not a distribution (see [`entropy`]) or their lengths differ.
///
/// ```
/// use softmargin::measures::{cross_entropy, Unit};
/// assert_eq!(cross_entropy(&[0.5, 0.5], &[0.25, 0.75], Unit::Bits)?, 1.207_518_749_639_422);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn cross_entropy(p: &[f64], q: &[f64], unit: Unit) -> Result<f64> {
    check_pair(p, q)?;
    let terms = p.iter().zip(q).filter(|&(&p, _)| p > 0.0);
    Ok(terms.map(|(&p, &q)| -p * unit.logarithm(q)).sum::<f64>() + 0.0)
}

/// Computes `sum p ln(p / q)`: the information lost by approximating `p` with `q`.
///
/// # Errors
/// As [`cross_entropy`].
///
/// ```
/// use softmargin::measures::{kl_divergence, Unit};
/// assert_eq!(kl_divergence(&[0.5, 0.5], &[0.5, 0.5], Unit::Nats)?, 0.0);
/// assert_eq!(kl_divergence(&[0.5, 0.5], &[1.0, 0.0], Unit::Nats)?, f64::INFINITY);
/// # Ok::<(), softmargin::Error>(())
/// ```
pub fn kl_divergence(p: &[f64], q: &[f64], unit: Unit) -> Result<f64> {
    check_pair(p, q)?;
    // sum p ln(p/q) + (q - p): each term is 0 or above, so rounding cannot make the sum negative for exact
    // distributions.
    let sum: f64 = p.iter().zip(q).map(|(&p, &q)| divergence_term(p, q)).sum();
    let excess: f64 = p.iter().sum::<f64>() - q.iter().sum::<f64>();
    Ok(unit.convert(if sum + excess < 0.0 { 0.0 } else { sum + excess }))
}

/// Computes `p ln(p / q) - p + q >= 0`, precise if `p` and `q` are close.
fn divergence_term(p: f64, q: f64) -> f64 {
    if p == 0.0 {
        return q;
    }
    if q == 0.0 {
        return f64::INFINITY;
    }
    let off = (q - p) / p;
    if off.is_finite() {
        p * (off - off.ln_1p())
    } else {
        // p is so small that the quotient overflows; the plain form is then precise.
        p * (p.ln() - q.ln()) - p + q
    }
}

fn check_pair(p: &[f64], q: &[f64]) -> Result<()> {
    check_distribution("p", p)?;
    check_distribution("q", q)?;
    if p.len() == q.len() {
        return Ok(());
    }
    let advice = "give two distributions over the same events";
    Err(Error::new(ErrorKind::Shape, "q", format!("{} entries, as in p", p.len()), q.len().to_string(), advice))
}

/// Returns an error unless `p` is a distribution.
pub(crate) fn check_distribution(name: &str, p: &[f64]) -> Result<()> {
    let reject = |subject: String, expected: &str, found: String| {
        Err(Error::new(ErrorKind::Distribution, subject, expected, found, "softmax converts scores to a distribution"))
    };
    if p.is_empty() {
        return reject(name.into(), "at least one probability", "none".into());
    }
    if let Some((index, bad)) = p.iter().enumerate().find(|(_, p)| !(p.is_finite() && **p >= 0.0)) {
        return reject(format!("{name}[{index}]"), "a finite probability, 0 or above", bad.to_string());
    }
    let sum: f64 = p.iter().sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return reject(name.into(), "probabilities whose sum is 1", format!("a sum of {sum}"));
    }
    Ok(())
}
