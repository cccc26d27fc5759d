//! Penalties on the norms of the embeddings.

/// Penalty added to the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regularizer {
    /// No penalty.
    None,
    /// `weight / |x|^2` on every row that is predicted correctly (the lowest index on ties).
    FeatureIncay {
        /// Weight of the penalty.
        weight: f64,
    },
    /// `weight / 2 (|x| - radius)^2` on every row.
    Ring {
        /// Weight of the penalty.
        weight: f64,
        /// Target norm; it may be learned.
        radius: f64,
    },
    /// `weight (a / high^2 + 1 / a)` on every row, `a = |x|` clamped to the bounds (MagFace, arXiv 2103.06627).
    Magnitude {
        /// Weight of the penalty.
        weight: f64,
        /// Lower bound of the norm, above 0.
        low: f64,
        /// Upper bound of the norm.
        high: f64,
    },
}

/// Penalty of one row and its derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// Value.
    pub value: f64,
    /// Derivative with respect to `|x|`.
    pub grad_norm: f64,
    /// Derivative with respect to the radius.
    pub grad_radius: f64,
}

impl Regularizer {
    /// Returns the penalty of a row with norm `|x|`, or `None` if the row has none.
    ///
    /// An embedding of norm 0 has no direction to grow in, so feature incay skips it.
    pub fn term(&self, norm: f64, correct: bool) -> Option<Term> {
        match *self {
            Regularizer::None => None,
            Regularizer::FeatureIncay { .. } if !correct || norm == 0.0 => None,
            Regularizer::FeatureIncay { weight } => Some(Term {
                value: weight / (norm * norm),
                grad_norm: -2.0 * weight / (norm * norm * norm),
                grad_radius: 0.0,
            }),
            Regularizer::Ring { weight, radius } => Some(Term {
                value: weight / 2.0 * (norm - radius) * (norm - radius),
                grad_norm: weight * (norm - radius),
                grad_radius: -weight * (norm - radius),
            }),
            Regularizer::Magnitude { weight, low, high } => {
                let clamped = norm.clamp(low, high);
                let inside = low < norm && norm < high;
                let slope = weight / (high * high) - weight / (clamped * clamped);
                Some(Term {
                    value: weight * (clamped / (high * high) + 1.0 / clamped),
                    grad_norm: if inside { slope } else { 0.0 },
                    grad_radius: 0.0,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::five_point_difference;

    #[test]
    fn derivatives_agree_with_differences() {
        let ring = |v: &[f64]| {
            let term = Regularizer::Ring { weight: 0.3, radius: v[1] };
            term.term(v[0], false).unwrap()
        };
        let d = five_point_difference(|v| ring(v).value, &[2.0, 1.5], 1e-3);
        let at = ring(&[2.0, 1.5]);
        assert!((d[0] - at.grad_norm).abs() < 1e-11 && (d[1] - at.grad_radius).abs() < 1e-11);
        let incay = Regularizer::FeatureIncay { weight: 0.3 };
        let d = five_point_difference(|v| incay.term(v[0], true).unwrap().value, &[2.0], 1e-3);
        assert!((d[0] - incay.term(2.0, true).unwrap().grad_norm).abs() < 1e-11);
        assert_eq!(incay.term(2.0, false), None);
        let magnitude = Regularizer::Magnitude { weight: 0.3, low: 1.0, high: 4.0 };
        for norm in [0.5, 2.0, 5.0] {
            let d = five_point_difference(|v| magnitude.term(v[0], false).unwrap().value, &[norm], 1e-3);
            assert!((d[0] - magnitude.term(norm, false).unwrap().grad_norm).abs() < 1e-11);
        }
    }
}
