//! The size of a margin: constant, per class, per row, from class frequency, from the norm, or drawn.
//!
//! ```text
//! frequency     m_y = largest (n_y / n_min)^(-1/4),  n_min the smallest count above 0; largest if n_y = 0
//! linear        m = low + (high - low) (a - norm_low) / (norm_high - norm_low),  a = |x| clamped to its bounds
//! standardized  u = clip(h (a' - mu) / (sd + 0.001), -1, 1),  a' = |x| clamped to [0.001, 100];
//!               added to the angle: -m u;  subtracted from the score: m + m u
//! drawn         mean + std z, z from `random`, clamped to the range of the margin value
//! ```
//!
//! Only the linear one has a derivative with respect to the norm; it is 0 if the norm is clamped to a bound.

use std::f64::consts::PI;

use crate::margin::RowContext;
use crate::random::normal;

/// Size of a margin.
#[derive(Debug, Clone, PartialEq)]
pub enum MarginValue {
    /// Constant.
    One(f64),
    /// One value per target class.
    PerClass(Vec<f64>),
    /// One value per row.
    PerSample(Vec<f64>),
    /// From the number of samples of the target class (LDAM, arXiv 1906.07413).
    ByFrequency {
        /// The margin value of the rarest class.
        largest: f64,
        /// `n_j` (C); required to evaluate the loss.
        class_counts: Option<Vec<u64>>,
    },
    /// From the norm of the embedding.
    FromNorm(NormMargin),
    /// Normal random number for each row and step (ElasticFace, arXiv 2109.09416).
    Drawn {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
}

/// Margin value as a function of the norm of the embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormMargin {
    /// Linear between two norms (MagFace, arXiv 2103.06627).
    Linear {
        /// The margin value at `norm_low` and below.
        low: f64,
        /// The margin value at `norm_high` and above.
        high: f64,
        /// Norm at which the line starts.
        norm_low: f64,
        /// Norm at which the line ends.
        norm_high: f64,
    },
    /// From the standardized norm (AdaFace, arXiv 2204.00964).
    Standardized {
        /// `m`.
        value: f64,
        /// `h`.
        concentration: f64,
        /// Weight of a new batch in the running mean and standard deviation.
        momentum: f64,
    },
}

/// Quantity that a margin value is applied to, with its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Added to the angle: 0 to pi.
    Angle,
    /// Subtracted from a cosine: 0 to 2.
    Cosine,
    /// Subtracted from an unbounded score: 0 or above.
    Score,
}

/// A margin value at one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarginValueAtRow {
    /// Value.
    pub value: f64,
    /// Derivative with respect to the norm of the embedding.
    pub grad_norm: f64,
}

/// Returns `|x|` clamped to the range of standardized margin values.
pub fn clamped_norm(norm: f64) -> f64 {
    norm.clamp(0.001, 100.0)
}

impl MarginValue {
    /// Returns the margin value of a row.
    pub fn at(&self, context: RowContext, role: Role) -> MarginValueAtRow {
        let constant = |value: f64| MarginValueAtRow { value, grad_norm: 0.0 };
        match self {
            MarginValue::One(value) => constant(*value),
            MarginValue::PerClass(values) => constant(values[context.label]),
            MarginValue::PerSample(values) => constant(values[context.row]),
            MarginValue::ByFrequency { largest, class_counts } => {
                let counts = class_counts.as_deref().unwrap_or_default();
                constant(by_frequency(*largest, counts, context.label))
            }
            MarginValue::FromNorm(value) => value.at(context, role),
            MarginValue::Drawn { mean, std } => {
                let drawn = mean + std * normal(context.state.seed, context.state.step, context.row);
                let most = match role {
                    Role::Angle => PI,
                    Role::Cosine => 2.0,
                    Role::Score => f64::INFINITY,
                };
                constant(drawn.clamp(0.0, most))
            }
        }
    }

    /// Returns the dependence on the norm, if there is one.
    pub fn norm_margin(&self) -> Option<NormMargin> {
        match self {
            MarginValue::FromNorm(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns true if the number of values fits a batch of this size.
    pub(crate) fn fits(&self, rows: usize, classes: usize) -> bool {
        match self {
            MarginValue::PerClass(values) => values.len() == classes,
            MarginValue::PerSample(values) => values.len() == rows,
            MarginValue::ByFrequency { class_counts, .. } => class_counts.as_ref().is_some_and(|n| n.len() == classes),
            _ => true,
        }
    }
}

fn by_frequency(largest: f64, counts: &[u64], label: usize) -> f64 {
    let least = counts.iter().copied().filter(|n| *n > 0).min().unwrap_or(0);
    if counts[label] == 0 { largest } else { largest * (counts[label] as f64 / least as f64).powf(-0.25) }
}

impl NormMargin {
    fn at(self, context: RowContext, role: Role) -> MarginValueAtRow {
        match self {
            NormMargin::Linear { low, high, norm_low, norm_high } => {
                let slope = (high - low) / (norm_high - norm_low);
                let inside = norm_low < context.norm && context.norm < norm_high;
                let clamped = context.norm.clamp(norm_low, norm_high);
                MarginValueAtRow {
                    value: low + slope * (clamped - norm_low),
                    grad_norm: if inside { slope } else { 0.0 },
                }
            }
            NormMargin::Standardized { value, concentration, .. } => {
                let distance = clamped_norm(context.detached_norm) - context.state.norm_mean;
                let u = (concentration * distance / (context.state.norm_std + 0.001)).clamp(-1.0, 1.0);
                let value = if role == Role::Angle { -value * u } else { value + value * u };
                MarginValueAtRow { value, grad_norm: 0.0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn context(norm: f64, label: usize) -> RowContext {
        RowContext {
            row: 3,
            label,
            radius: 1.0,
            norm,
            detached_norm: norm,
            state: State { seed: 5, step: 2, ..State::initial() },
        }
    }

    #[test]
    fn the_rarest_class_has_the_largest_margin() {
        let counts = Some(vec![16, 0, 1, 256]);
        let value = MarginValue::ByFrequency { largest: 0.5, class_counts: counts };
        let found = [0, 1, 2, 3].map(|label| value.at(context(1.0, label), Role::Cosine).value);
        assert_eq!(found, [0.25, 0.5, 0.5, 0.125]);
    }

    #[test]
    fn a_linear_margin_value_is_constant_beyond_its_bounds() {
        let line =
            MarginValue::FromNorm(NormMargin::Linear { low: 0.25, high: 0.75, norm_low: 10.0, norm_high: 110.0 });
        let found = [0.0, 10.0, 60.0, 110.0, 500.0].map(|norm| line.at(context(norm, 0), Role::Angle));
        assert_eq!(found.map(|at| at.value), [0.25, 0.25, 0.5, 0.75, 0.75]);
        assert_eq!(found.map(|at| at.grad_norm), [0.0, 0.0, 0.005, 0.0, 0.0]);
    }

    #[test]
    fn a_larger_norm_moves_the_standardized_margin_from_the_angle_to_the_score() {
        let standardized =
            MarginValue::FromNorm(NormMargin::Standardized { value: 0.5, concentration: 100.0, momentum: 0.01 });
        let at = |norm: f64, role| standardized.at(context(norm, 0), role).value;
        assert_eq!([at(1e9, Role::Angle), at(20.0, Role::Angle), at(0.0, Role::Angle)], [-0.5, -0.0, 0.5]);
        assert_eq!(
            [at(1e9, Role::Cosine), at(20.0, Role::Cosine)],
            [0.5 + 0.5 * 79.920_079_920_079_92f64.min(1.0), 0.5]
        );
    }

    #[test]
    fn drawn_margin_values_stay_in_their_range() {
        let wild = MarginValue::Drawn { mean: 0.0, std: 1e6 };
        let all =
            |role: Role| (0..64).map(move |row| wild.clone().at(RowContext { row, ..context(1.0, 0) }, role).value);
        assert!(all(Role::Angle).all(|m| m == 0.0 || m == PI));
        let all = (0..64).map(|row| {
            let at = RowContext { row, ..context(1.0, 0) };
            MarginValue::Drawn { mean: 0.5, std: 0.0 }.at(at, Role::Cosine).value
        });
        assert!(all.into_iter().all(|m| m == 0.5));
    }
}
