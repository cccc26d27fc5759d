//! What becomes of the scores `j != y` before they are compared with the target's.
//!
//! ```text
//! misclassified   t cos_j + t - 1      where cos_j > psi
//! curricular      cos_j (T + cos_j)    where cos_j > psi', the margin without a continuation beyond pi
//! divided angle   cos(theta_j / m)     everywhere
//! ```
//!
//! The choice itself has no derivative. Infinite scores stay as they are. All need cosines.

/// How the scores of the negatives are modified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Negatives {
    /// Not at all.
    Plain,
    /// Those above the target are raised (MV-Softmax, arXiv 1912.00833).
    Misclassified {
        /// `t`, 1 or above.
        factor: f64,
    },
    /// Those above the target count by how far training is (CurricularFace, arXiv 2004.00288).
    Curricular {
        /// How fast the state's `T` follows the batches.
        momentum: f64,
    },
    /// All come nearer (SphereFace-R v2, arXiv 2109.05565).
    DividedAngle {
        /// `m`, 1 or above.
        by: f64,
        /// The least `sin theta` by which the derivative divides.
        sin_floor: f64,
    },
}

/// A negative's score after modification.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Modified {
    /// The score.
    pub score: f64,
    /// Its derivative by the score before.
    pub slope: f64,
}

/// What a negative is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The target's score after the margin.
    pub psi: f64,
    /// The same without a continuation beyond pi.
    pub plain: f64,
    /// `T`.
    pub target_mean: f64,
}

impl Negatives {
    /// A negative's score `z` after modification.
    pub fn modify(self, z: f64, against: Threshold) -> Modified {
        let same = Modified { score: z, slope: 1.0 };
        match self {
            _ if z.is_infinite() => same,
            Negatives::Misclassified { factor } if z > against.psi => {
                Modified { score: factor * z + factor - 1.0, slope: factor }
            }
            Negatives::Curricular { .. } if z > against.plain => {
                Modified { score: z * (against.target_mean + z), slope: against.target_mean + 2.0 * z }
            }
            Negatives::DividedAngle { by, sin_floor } if by != 1.0 => {
                let cosine = z.clamp(-1.0, 1.0);
                let angle = cosine.acos() / by;
                let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
                // Both sines vanish at an angle of 0, and leave the quotient of their derivatives.
                let flat = sine < sin_floor && cosine > 0.0;
                let slope = if flat { 1.0 / (by * by) } else { angle.sin() / (by * sine.max(sin_floor)) };
                Modified { score: angle.cos(), slope }
            }
            _ => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::five_point_difference;

    const AGAINST: Threshold = Threshold { psi: 0.1, plain: -0.2, target_mean: 0.3 };

    #[test]
    fn slopes_are_derivatives() {
        let all = [
            Negatives::Plain,
            Negatives::Misclassified { factor: 1.12 },
            Negatives::Curricular { momentum: 0.01 },
            Negatives::DividedAngle { by: 1.5, sin_floor: 2f64.powi(-20) },
        ];
        for negatives in all {
            for z in [-0.9, -0.1, 0.05, 0.4, 0.95] {
                let d = five_point_difference(|v| negatives.modify(v[0], AGAINST).score, &[z], 1e-4)[0];
                assert!((negatives.modify(z, AGAINST).slope - d).abs() < 1e-10, "{negatives:?} at {z}");
            }
        }
    }

    #[test]
    fn each_has_its_own_threshold_and_is_strict() {
        let misclassified = Negatives::Misclassified { factor: 2.0 };
        assert_eq!(misclassified.modify(0.1, AGAINST).score, 0.1);
        assert_eq!(misclassified.modify(0.5, AGAINST), Modified { score: 2.0, slope: 2.0 });
        let curricular = Negatives::Curricular { momentum: 0.01 };
        assert_eq!(curricular.modify(-0.2, AGAINST).score, -0.2);
        assert_eq!(curricular.modify(0.0, AGAINST), Modified { score: 0.0, slope: 0.3 });
    }

    #[test]
    fn a_divided_angle_has_no_pole_but_at_pi() {
        let floor = 2f64.powi(-12);
        let halved = Negatives::DividedAngle { by: 2.0, sin_floor: floor };
        assert_eq!(halved.modify(1.0, AGAINST), Modified { score: 1.0, slope: 0.25 });
        let opposite = halved.modify(-1.0, AGAINST);
        assert!(opposite.score.abs() < 1e-16 && opposite.slope == 2048.0);
        assert_eq!(halved.modify(f64::INFINITY, AGAINST).score, f64::INFINITY);
        let neutral = Negatives::DividedAngle { by: 1.0, sin_floor: floor };
        assert_eq!(neutral.modify(0.3, AGAINST), Modified { score: 0.3, slope: 1.0 });
    }
}
