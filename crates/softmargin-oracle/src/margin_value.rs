//! How large a margin is: the same for all, by class, by row, by frequency, by norm, or drawn.
//!
//! ```text
//! frequency     m_y = largest (n_y / n_min)^(-1/4),  n_min the least count above 0; largest where n_y = 0
//! linear        m = low + (high - low) (a - norm_low) / (norm_high - norm_low),  a = |x| within its bounds
//! standardized  u = clip(h (a' - mu) / (sd + 0.001), -1, 1),  a' = |x| within [0.001, 100];
//!               added to the angle: -m u;  taken from the score: m + m u
//! drawn         mean + deviation z, z of `random`, held within the range of the margin value
//! ```
//!
//! Only the linear one has a slope by the norm, and none where the norm is held at a bound.

use std::f64::consts::PI;

use crate::margin::Place;
use crate::random::normal;

/// How large a margin is.
#[derive(Debug, Clone, PartialEq)]
pub enum MarginValue {
    /// The same everywhere.
    One(f64),
    /// By the target class.
    PerClass(Vec<f64>),
    /// By the row.
    PerSample(Vec<f64>),
    /// By how often the target class occurs (LDAM, arXiv 1906.07413).
    ByFrequency {
        /// The margin value of the rarest class.
        largest: f64,
        /// `n_j` (C); a loss without them has no value.
        class_counts: Option<Vec<u64>>,
    },
    /// By the norm of the embedding.
    FromNorm(NormMargin),
    /// From a normal law, anew for each row and step (ElasticFace, arXiv 2109.09416).
    Drawn {
        /// Mean of the law.
        mean: f64,
        /// Its deviation.
        std: f64,
    },
}

/// How a margin value follows from the norm of the embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormMargin {
    /// On a straight line between two norms (MagFace, arXiv 2103.06627).
    Linear {
        /// The margin value at `norm_low` and below.
        low: f64,
        /// The margin value at `norm_high` and above.
        high: f64,
        /// Where the line begins.
        norm_low: f64,
        /// Where it ends.
        norm_high: f64,
    },
    /// By how far the norm is from the usual (AdaFace, arXiv 2204.00964).
    Standardized {
        /// `m`.
        value: f64,
        /// `h`.
        concentration: f64,
        /// How fast the state's mean and deviation follow the batches.
        momentum: f64,
    },
}

/// What a margin value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Added to the angle: 0 to pi.
    Angle,
    /// Taken from a cosine: 0 to 2.
    Cosine,
    /// Taken from a score of any size: from 0.
    Score,
}

/// A margin value at one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    /// Its value.
    pub value: f64,
    /// Its derivative by the embedding's norm.
    pub by_norm: f64,
}

/// `|x|` as standardized margin values see it.
pub fn held_norm(norm: f64) -> f64 {
    norm.clamp(0.001, 100.0)
}

impl MarginValue {
    /// The margin value for a place; an embedding's norm that is not known is NaN there.
    pub fn at(&self, place: Place, role: Role) -> At {
        let flat = |value: f64| At { value, by_norm: 0.0 };
        match self {
            MarginValue::One(value) => flat(*value),
            MarginValue::PerClass(values) => flat(values[place.label]),
            MarginValue::PerSample(values) => flat(values[place.row]),
            MarginValue::ByFrequency { largest, class_counts } => {
                let counts = class_counts.as_deref().unwrap_or_default();
                flat(by_frequency(*largest, counts, place.label))
            }
            MarginValue::FromNorm(value) => value.at(place, role),
            MarginValue::Drawn { mean, std } => {
                let drawn = mean + std * normal(place.state.seed, place.state.step, place.row);
                let most = match role {
                    Role::Angle => PI,
                    Role::Cosine => 2.0,
                    Role::Score => f64::INFINITY,
                };
                flat(drawn.clamp(0.0, most))
            }
        }
    }

    /// How it follows from the norm, if it does.
    pub fn norm_margin(&self) -> Option<NormMargin> {
        match self {
            MarginValue::FromNorm(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether it fits a batch of these sizes.
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
    fn at(self, place: Place, role: Role) -> At {
        match self {
            NormMargin::Linear { low, high, norm_low, norm_high } => {
                let slope = (high - low) / (norm_high - norm_low);
                let inside = norm_low < place.norm && place.norm < norm_high;
                let held = place.norm.clamp(norm_low, norm_high);
                At { value: low + slope * (held - norm_low), by_norm: if inside { slope } else { 0.0 } }
            }
            NormMargin::Standardized { value, concentration, .. } => {
                let off = held_norm(place.detached_norm) - place.state.norm_mean;
                let u = (concentration * off / (place.state.norm_std + 0.001)).clamp(-1.0, 1.0);
                let value = if role == Role::Angle { -value * u } else { value + value * u };
                At { value, by_norm: 0.0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn place(norm: f64, label: usize) -> Place {
        Place {
            row: 3,
            label,
            radius: 1.0,
            norm,
            detached_norm: norm,
            state: State { seed: 5, step: 2, ..State::initial() },
        }
    }

    #[test]
    fn rare_classes_get_the_largest() {
        let counts = Some(vec![16, 0, 1, 256]);
        let value = MarginValue::ByFrequency { largest: 0.5, class_counts: counts };
        let found = [0, 1, 2, 3].map(|label| value.at(place(1.0, label), Role::Cosine).value);
        assert_eq!(found, [0.25, 0.5, 0.5, 0.125]);
    }

    #[test]
    fn a_line_that_is_flat_beyond_its_ends() {
        let line =
            MarginValue::FromNorm(NormMargin::Linear { low: 0.25, high: 0.75, norm_low: 10.0, norm_high: 110.0 });
        let found = [0.0, 10.0, 60.0, 110.0, 500.0].map(|norm| line.at(place(norm, 0), Role::Angle));
        assert_eq!(found.map(|at| at.value), [0.25, 0.25, 0.5, 0.75, 0.75]);
        assert_eq!(found.map(|at| at.by_norm), [0.0, 0.0, 0.005, 0.0, 0.0]);
    }

    #[test]
    fn standardized_is_larger_on_the_score_where_the_norm_is() {
        let standardized =
            MarginValue::FromNorm(NormMargin::Standardized { value: 0.5, concentration: 100.0, momentum: 0.01 });
        let at = |norm: f64, role| standardized.at(place(norm, 0), role).value;
        assert_eq!([at(1e9, Role::Angle), at(20.0, Role::Angle), at(0.0, Role::Angle)], [-0.5, -0.0, 0.5]);
        assert_eq!(
            [at(1e9, Role::Cosine), at(20.0, Role::Cosine)],
            [0.5 + 0.5 * 79.920_079_920_079_92f64.min(1.0), 0.5]
        );
    }

    #[test]
    fn drawn_values_keep_their_range() {
        let wild = MarginValue::Drawn { mean: 0.0, std: 1e6 };
        let all = |role: Role| (0..64).map(move |row| wild.clone().at(Place { row, ..place(1.0, 0) }, role).value);
        assert!(all(Role::Angle).all(|m| m == 0.0 || m == PI));
        let all = (0..64).map(|row| {
            let at = Place { row, ..place(1.0, 0) };
            MarginValue::Drawn { mean: 0.5, std: 0.0 }.at(at, Role::Cosine).value
        });
        assert!(all.into_iter().all(|m| m == 0.5));
    }
}
