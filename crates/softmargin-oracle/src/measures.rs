//! Measures of distributions: self-information, entropy, cross-entropy, Kullback-Leibler.
//!
//! `0 ln 0 = 0`; a `p > 0` where `q = 0` makes cross-entropy and divergence infinite.

use crate::error::OracleError;

/// Unit of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Natural logarithms.
    Nats,
    /// Logarithms to base 2.
    Bits,
}

impl Unit {
    fn logarithm(self, x: f64) -> f64 {
        match self {
            Unit::Nats => x.ln(),
            Unit::Bits => x.log2(),
        }
    }

    /// Returns `ln(1 + x)` in this unit.
    fn logarithm_of_one_plus(self, x: f64) -> f64 {
        match self {
            Unit::Nats => x.ln_1p(),
            Unit::Bits => x.ln_1p() / std::f64::consts::LN_2,
        }
    }
}

/// Checks that `p` is a distribution.
///
/// Returns an error if an element is outside [0, 1] or if the sum differs from 1 by more than `tolerance`.
pub fn check_distribution(p: &[f64], tolerance: f64) -> Result<(), OracleError> {
    for (k, &v) in p.iter().enumerate() {
        if !(0.0..=1.0 + tolerance).contains(&v) {
            return Err(OracleError::whole(format!("element {k} is {v}, expected a probability")));
        }
    }
    let sum: f64 = p.iter().sum();
    if (sum - 1.0).abs() > tolerance {
        return Err(OracleError::whole(format!("the elements sum to {sum}, expected 1")));
    }
    Ok(())
}

/// Returns the self-information `I = -ln p`.
pub fn self_information(p: f64, unit: Unit) -> f64 {
    // 0 - x instead of -x, so that the self-information of 1 is 0, not -0.
    0.0 - unit.logarithm(p)
}

/// Returns the entropy `H(p) = -sum p ln p`.
pub fn entropy(p: &[f64], unit: Unit) -> f64 {
    cross_entropy(p, p, unit)
}

/// Returns the cross-entropy `H(p, q) = -sum p ln q`.
pub fn cross_entropy(p: &[f64], q: &[f64], unit: Unit) -> f64 {
    let mut sum = 0.0;
    for (&a, &b) in p.iter().zip(q) {
        if a > 0.0 {
            sum += a * self_information(b, unit);
        }
    }
    sum
}

/// Returns the Kullback-Leibler divergence `D(p||q) = sum p ln(p / q)`.
///
/// `sum p` and `sum q` are both 1, so each term is computed as `p ln(p/q) - p + q`. It is never negative, which avoids
/// cancellation for nearly equal distributions.
pub fn kullback_leibler(p: &[f64], q: &[f64], unit: Unit) -> f64 {
    let one = unit.logarithm_of_one_plus(std::f64::consts::E - 1.0);
    let mut sum = 0.0;
    for (&a, &b) in p.iter().zip(q) {
        let term = if a > 0.0 {
            let ratio = (b - a) / a;
            -a * unit.logarithm_of_one_plus(ratio)
        } else {
            0.0
        };
        sum += term + (b - a) * one;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uniform_distribution_has_the_largest_entropy() {
        let h = entropy(&[0.25; 4], Unit::Bits);
        assert!((h - 2.0).abs() < 1e-15);
        assert!(entropy(&[0.5, 0.25, 0.125, 0.125], Unit::Bits) < h);
        assert_eq!(entropy(&[0.0, 1.0], Unit::Nats), 0.0);
    }

    #[test]
    fn cross_entropy_is_entropy_plus_divergence() {
        let (p, q) = ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6]);
        let sum = entropy(&p, Unit::Nats) + kullback_leibler(&p, &q, Unit::Nats);
        assert!((cross_entropy(&p, &q, Unit::Nats) - sum).abs() < 1e-15);
        assert_eq!(kullback_leibler(&p, &p, Unit::Nats), 0.0);
        assert_eq!(kullback_leibler(&[1.0, 0.0], &[0.0, 1.0], Unit::Nats), f64::INFINITY);
    }

    #[test]
    fn invalid_distributions_are_rejected() {
        assert!(check_distribution(&[0.5, 0.5], 1e-12).is_ok());
        assert!(check_distribution(&[0.5, 0.4], 1e-12).is_err());
        assert!(check_distribution(&[1.5, -0.5], 1e-12).is_err());
        assert!(check_distribution(&[f64::NAN, 1.0], 1e-12).is_err());
    }
}
