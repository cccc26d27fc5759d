//! Softmax cross-entropy of cosines, with the target's angle multiplied by m and limited to pi: SphereFace-R, first
//! form.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s cos(min(m theta_y, pi)))
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t) m sin(m theta_y) / sin(theta_y), 0 past m theta_y = pi
//! ```
//!
//! The gradient is exact; the code of the authors treats the margin as a constant. Defaults: s = 30, m = 1.5. Liu, Wen,
//! Raj, Singh, Weller 2021, arXiv 2109.05565.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::{AngularMargin, BeyondPi, Margin};
use crate::axes::margin_value::{MarginValue, Radians};

/// SphereFace-R v1: softmax cross-entropy of cosines, with the target's angle multiplied by m, up to pi.
pub const SPHEREFACE_R_V1: Preset = Preset {
    name: "sphereface-r-v1",
    aliases: &[],
    summary: "softmax cross-entropy of cosines, the target's angle multiplied by m, up to pi",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s cos(min(m theta_y, pi)))",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) m sin(m theta_y) / sin(theta_y), 0 past m theta_y = pi, t the argument of softplus",
    paper: "Liu, Wen, Raj, Singh and Weller 2021, SphereFace Revived, arXiv 2109.05565",
    margin: MarginParameter::Times,
    spec: || {
        let plain = AngularMargin::added(MarginValue::One(Radians(0.0)));
        cosine(30.0, Margin::Angle(AngularMargin { times: 1.5, beyond_pi: BeyondPi::Clamp, ..plain }))
    },
};
