//! Modification of the scores `j != y` before they are compared with the target's.
//!
//! ```text
//! misclassified   t cos_j + t - 1      if cos_j > psi
//! curricular      cos_j (T + cos_j)    if cos_j > psi', the margin without a continuation beyond pi
//! divided angle   cos(theta_j / m)     always
//! ```
//!
//! The conditions are not differentiated. Infinite scores are not modified. All modifications need cosines.

/// How the scores of the negatives are modified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Negatives {
    /// Unmodified.
    Plain,
    /// Negatives above the target are raised (MV-Softmax, arXiv 1912.00833).
    Misclassified {
        /// `t`, 1 or above.
        factor: f64,
    },
    /// Negatives above the target are weighted by the progress of training (CurricularFace, arXiv 2004.00288).
    Curricular {
        /// Weight of a new batch in the running mean `T`.
        momentum: f64,
    },
    /// The angle of every negative is divided (SphereFace-R v2, arXiv 2109.05565).
    DividedAngle {
        /// `m`, 1 or above.
        by: f64,
        /// Lower bound of `sin theta` in the denominator of the derivative.
        sin_floor: f64,
    },
}

/// A modified score of a negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Modified {
    /// Modified score.
    pub score: f64,
    /// Derivative with respect to the original score.
    pub slope: f64,
}

/// Values that decide how a negative is modified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The target's score after the margin.
    pub psi: f64,
    /// The target's score after the margin without a continuation beyond pi.
    pub plain: f64,
    /// `T`, the running mean of the targets' scores.
    pub target_mean: f64,
}

impl Negatives {
    /// Returns the score `z` of a negative after modification.
    pub fn modify(self, z: f64, threshold: Threshold) -> Modified {
        let unmodified = Modified { score: z, slope: 1.0 };
        match self {
            _ if z.is_infinite() => unmodified,
            Negatives::Misclassified { factor } if z > threshold.psi => {
                Modified { score: factor * z + factor - 1.0, slope: factor }
            }
            Negatives::Curricular { .. } if z > threshold.plain => {
                Modified { score: z * (threshold.target_mean + z), slope: threshold.target_mean + 2.0 * z }
            }
            Negatives::DividedAngle { by, sin_floor } if by != 1.0 => {
                let cosine = z.clamp(-1.0, 1.0);
                let angle = cosine.acos() / by;
                let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
                // At an angle of 0 both sines vanish; the limit is the quotient of their derivatives.
                let is_at_pole = sine < sin_floor && cosine > 0.0;
                let slope = if is_at_pole { 1.0 / (by * by) } else { angle.sin() / (by * sine.max(sin_floor)) };
                Modified { score: angle.cos(), slope }
            }
            _ => unmodified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::five_point_difference;

    const THRESHOLD: Threshold = Threshold { psi: 0.1, plain: -0.2, target_mean: 0.3 };

    #[test]
    fn derivatives_agree_with_differences() {
        let all = [
            Negatives::Plain,
            Negatives::Misclassified { factor: 1.12 },
            Negatives::Curricular { momentum: 0.01 },
            Negatives::DividedAngle { by: 1.5, sin_floor: 2f64.powi(-20) },
        ];
        for negatives in all {
            for z in [-0.9, -0.1, 0.05, 0.4, 0.95] {
                let d = five_point_difference(|v| negatives.modify(v[0], THRESHOLD).score, &[z], 1e-4)[0];
                assert!((negatives.modify(z, THRESHOLD).slope - d).abs() < 1e-10, "{negatives:?} at {z}");
            }
        }
    }

    #[test]
    fn only_scores_strictly_above_the_threshold_are_modified() {
        let misclassified = Negatives::Misclassified { factor: 2.0 };
        assert_eq!(misclassified.modify(0.1, THRESHOLD).score, 0.1);
        assert_eq!(misclassified.modify(0.5, THRESHOLD), Modified { score: 2.0, slope: 2.0 });
        let curricular = Negatives::Curricular { momentum: 0.01 };
        assert_eq!(curricular.modify(-0.2, THRESHOLD).score, -0.2);
        assert_eq!(curricular.modify(0.0, THRESHOLD), Modified { score: 0.0, slope: 0.3 });
    }

    #[test]
    fn a_divided_angle_has_a_pole_only_at_pi() {
        let floor = 2f64.powi(-12);
        let halved = Negatives::DividedAngle { by: 2.0, sin_floor: floor };
        assert_eq!(halved.modify(1.0, THRESHOLD), Modified { score: 1.0, slope: 0.25 });
        let opposite = halved.modify(-1.0, THRESHOLD);
        assert!(opposite.score.abs() < 1e-16 && opposite.slope == 2048.0);
        assert_eq!(halved.modify(f64::INFINITY, THRESHOLD).score, f64::INFINITY);
        let neutral = Negatives::DividedAngle { by: 1.0, sin_floor: floor };
        assert_eq!(neutral.modify(0.3, THRESHOLD), Modified { score: 0.3, slope: 1.0 });
    }
}
