//! Terms on the embeddings' norms.

/// A term added to the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regularizer {
    /// Nothing.
    None,
    /// `weight / |x|^2` on every row whose arg max (the lowest index on ties) is its label.
    FeatureIncay {
        /// Its weight.
        weight: f64,
    },
    /// `weight / 2 (|x| - radius)^2` on every row.
    Ring {
        /// Its weight.
        weight: f64,
        /// R, which may be learned.
        radius: f64,
    },
    /// `weight (a / high^2 + 1 / a)` on every row, `a = |x|` held within the bounds (MagFace, arXiv 2103.06627).
    Magnitude {
        /// Its weight.
        weight: f64,
        /// The least norm that counts, above 0.
        low: f64,
        /// The greatest.
        high: f64,
    },
}

/// The term of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// Its value.
    pub value: f64,
    /// Its derivative by `|x|`.
    pub by_norm: f64,
    /// Its derivative by the radius.
    pub by_radius: f64,
}

impl Regularizer {
    /// The term of a row with norm `|x|`; none where the row does not count. An embedding of norm
    /// 0 has no direction to grow in and does not count for incay.
    pub fn term(&self, norm: f64, correct: bool) -> Option<Term> {
        match *self {
            Regularizer::None => None,
            Regularizer::FeatureIncay { .. } if !correct || norm == 0.0 => None,
            Regularizer::FeatureIncay { weight } => Some(Term {
                value: weight / (norm * norm),
                by_norm: -2.0 * weight / (norm * norm * norm),
                by_radius: 0.0,
            }),
            Regularizer::Ring { weight, radius } => Some(Term {
                value: weight / 2.0 * (norm - radius) * (norm - radius),
                by_norm: weight * (norm - radius),
                by_radius: -weight * (norm - radius),
            }),
            Regularizer::Magnitude { weight, low, high } => {
                let held = norm.clamp(low, high);
                let inside = low < norm && norm < high;
                let slope = weight / (high * high) - weight / (held * held);
                Some(Term {
                    value: weight * (held / (high * high) + 1.0 / held),
                    by_norm: if inside { slope } else { 0.0 },
                    by_radius: 0.0,
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
    fn derivatives() {
        let ring = |v: &[f64]| {
            let term = Regularizer::Ring { weight: 0.3, radius: v[1] };
            term.term(v[0], false).unwrap()
        };
        let d = five_point_difference(|v| ring(v).value, &[2.0, 1.5], 1e-3);
        let at = ring(&[2.0, 1.5]);
        assert!((d[0] - at.by_norm).abs() < 1e-11 && (d[1] - at.by_radius).abs() < 1e-11);
        let incay = Regularizer::FeatureIncay { weight: 0.3 };
        let d = five_point_difference(|v| incay.term(v[0], true).unwrap().value, &[2.0], 1e-3);
        assert!((d[0] - incay.term(2.0, true).unwrap().by_norm).abs() < 1e-11);
        assert_eq!(incay.term(2.0, false), None);
        let magnitude = Regularizer::Magnitude { weight: 0.3, low: 1.0, high: 4.0 };
        for norm in [0.5, 2.0, 5.0] {
            let d = five_point_difference(|v| magnitude.term(v[0], false).unwrap().value, &[norm], 1e-3);
            assert!((d[0] - magnitude.term(norm, false).unwrap().by_norm).abs() < 1e-11);
        }
    }
}
