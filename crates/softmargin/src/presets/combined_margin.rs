//! Softmax cross-entropy of cosines with three margins: a factor of the angle, an added angle, a subtracted cosine.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s psi),  psi = cos(m1 theta_y + m2) - m3
//! dL/dcos_y = -s sigma(t) m1 sin(m1 theta_y + m2) / sin(theta_y)
//! ```
//!
//! Past `m1 theta + m2 = pi`, at `t* = (pi - m2) / m1`, `psi` continues as `-1 - m3 + cos theta - cos t*`. Defaults: s
//! = 64, (m1, m2, m3) = (1, 0.3, 0.2); the paper also has (0.9, 0.4, 0.15). Deng, Guo, Xue, Zafeiriou 2018, arXiv
//! 1801.07698.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::{AngularMargin, BeyondPi, Margin, MarginGradient};
use crate::axes::margin_value::{MarginValue, Radians};

/// Combined margin: a factor of the angle, an angle added to it, and a value subtracted from its cosine.
pub const COMBINED_MARGIN: Preset = Preset {
    name: "combined-margin",
    aliases: &[],
    summary: "a margin that multiplies the angle, one added to it and one taken from its cosine",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s (cos(m1 theta_y + m2) - m3)); past m1 theta_y + m2 = pi, at t* = (pi - m2) / m1, cos theta_y - cos t* - 1 in place of that cosine",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) m1 sin(m1 theta_y + m2) / sin(theta_y), t the argument of softplus",
    paper: "Deng, Guo, Xue and Zafeiriou 2018, ArcFace, arXiv 1801.07698",
    margin: MarginParameter::Combined,
    spec: || {
        let margin = AngularMargin {
            times: 1.0,
            plus: MarginValue::One(Radians(0.3)),
            minus: MarginValue::One(0.2),
            beyond_pi: BeyondPi::Continue,
            gradient: MarginGradient::Exact,
            anneal: None,
        };
        cosine(64.0, Margin::Angle(margin))
    },
};
