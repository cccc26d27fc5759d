//! Softmax cross-entropy of cosines with a margin on the target's cosine: AM-Softmax, CosFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s (cos_y - m))
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t),  t the argument of softplus
//! ```
//!
//! Defaults: s = 30, m = 0.35, as in the first paper; the second has s = 64, m = 0.35. Wang, Cheng, Liu, Liu 2018,
//! arXiv 1801.05599; Wang et al. 2018, arXiv 1801.09414.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;

/// AM-Softmax or CosFace: softmax cross-entropy of cosines, with the target's cosine reduced by m.
pub const AM_SOFTMAX: Preset = Preset {
    name: "am-softmax",
    aliases: &["cosface"],
    summary: "softmax cross-entropy of cosines, the target's reduced by m",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s (cos_y - m))",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t), t the argument of softplus, q = softmax_{j!=y}(s cos)",
    paper: "Wang, Cheng, Liu and Liu 2018, AM-Softmax, arXiv 1801.05599; Wang et al. 2018, CosFace, arXiv 1801.09414",
    margin: MarginParameter::Score,
    spec: || cosine(30.0, Margin::score(0.35)),
};
