//! Softmax cross-entropy of cosines with a margin on the target's angle: ArcFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s cos(theta_y + m))
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t) sin(theta_y + m) / sin(theta_y)
//! ```
//!
//! Past `theta + m = pi` the target's score continues as `cos theta - (1 - cos m)`, continuous and decreasing. The
//! gradient is exact. Defaults: s = 64, m = 0.5. Deng, Guo, Xue, Zafeiriou 2018, arXiv 1801.07698.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;

/// ArcFace: softmax cross-entropy of cosines, with the target's angle enlarged by m.
pub const ARCFACE: Preset = Preset {
    name: "arcface",
    aliases: &[],
    summary: "softmax cross-entropy of cosines, the target's angle enlarged by m",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s cos(theta_y + m)); past theta_y + m = pi, cos theta_y - (1 - cos m) in place of that cosine",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) sin(theta_y + m) / sin(theta_y), t the argument of softplus",
    paper: "Deng, Guo, Xue and Zafeiriou 2018, ArcFace, arXiv 1801.07698",
    margin: MarginParameter::Plus,
    spec: || cosine(64.0, Margin::angle(0.5)),
};
