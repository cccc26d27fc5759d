//! Softmax cross-entropy of cosines whose margin moves from the angle to the cosine with the embedding's norm: AdaFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s psi),  psi = cos(clip(theta_y - m u, 0, pi)) - (m + m u)
//! u = clip(h (a - mu) / (sd + 0.001), -1, 1),  a = |x| clamped to [0.001, 100]
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t) sin(theta_y - m u) / sin(theta_y), 0 where the angle is clipped
//! ```
//!
//! The norm is a proxy for the quality of the image. `mu` and `sd`, its mean and standard deviation, are moving
//! averages that start at 20 and 100. `u` is treated as a constant. Defaults: s = 64, m = 0.4, h = 0.333. Kim, Jain,
//! Liu 2022, arXiv 2204.00964.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::{AngularMargin, BeyondPi, Margin};
use crate::axes::margin_value::{MarginValue, NormMargin};

/// AdaFace: softmax cross-entropy of cosines, with a margin that moves from angle to cosine with the embedding's norm.
pub const ADAFACE: Preset = Preset {
    name: "adaface",
    aliases: &[],
    summary: "softmax cross-entropy of cosines, the target's margin moved from angle to cosine by the embedding's norm",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s psi), psi = cos(clip(theta_y - m u, 0, pi)) - (m + m u), u = clip(0.333 (|x| - mu) / (sd + 0.001), -1, 1), mu and sd running averages",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) sin(theta_y - m u) / sin(theta_y), 0 where the angle is clipped, t the argument of softplus",
    paper: "Kim, Jain and Liu 2022, AdaFace, arXiv 2204.00964",
    margin: MarginParameter::Standardized,
    spec: || {
        let value = NormMargin::Standardized { value: 0.4, concentration: 0.333, momentum: 0.01 };
        let margin = AngularMargin {
            minus: MarginValue::FromNorm(value),
            beyond_pi: BeyondPi::Clamp,
            ..AngularMargin::added(MarginValue::FromNorm(value))
        };
        cosine(64.0, Margin::Angle(margin))
    },
};
