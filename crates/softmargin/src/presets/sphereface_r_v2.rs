//! Softmax cross-entropy of cosines, with the negatives' angles divided by m: SphereFace-R, second form.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos(theta_j / m)) - s cos_y)
//! dL/dcos_j = s q_j sigma(t) sin(theta_j / m) / (m sin theta_j),  dL/dcos_y = -s sigma(t)
//! ```
//!
//! No angle exceeds pi, so no continuation is needed. Defaults: s = 30, m = 1.5. Liu, Wen, Raj, Singh, Weller 2021,
//! arXiv 2109.05565.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;
use crate::axes::negatives::Negatives;
use crate::spec::LossSpec;

/// SphereFace-R v2: softmax cross-entropy of cosines, with the negatives' angles divided by m.
pub const SPHEREFACE_R_V2: Preset = Preset {
    name: "sphereface-r-v2",
    aliases: &["sphereface-r"],
    summary: "softmax cross-entropy of cosines, the negatives' angles divided by m",
    equation: "L = softplus(LSE_{j!=y}(s cos(theta_j / m)) - s cos_y)",
    gradient: "dL/dcos_j = s q_j sigma(t) sin(theta_j / m) / (m sin theta_j), dL/dcos_y = -s sigma(t), t the argument of softplus, q over the negatives' new scores",
    paper: "Liu, Wen, Raj, Singh and Weller 2021, SphereFace Revived, arXiv 2109.05565",
    margin: MarginParameter::Divisor,
    spec: || LossSpec { negatives: Negatives::DividedAngle { by: 1.5 }, ..cosine(30.0, Margin::None) },
};
