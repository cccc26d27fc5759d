//! Softmax cross-entropy of cosines with a learned scale: NormFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s cos_y)
//! dL/dcos_j = s p_j,  dL/dcos_y = -s (1 - p_y),  dL/ds = sum_j p_j cos_j - cos_y
//! ```
//!
//! With s = 1 the loss cannot be lower than `ln(1 + (C - 1) e^(-C / (C - 1)))` (proposition 2). So the scale is
//! learned: it starts at 20 and stays in `[1, 128]`. Wang, Xiang, Cheng, Yuille 2017, arXiv 1704.06369.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;
use crate::axes::scale::Scale;
use crate::spec::LossSpec;

/// NormFace: softmax cross-entropy of cosines, with a learned scale.
pub const NORMFACE: Preset = Preset {
    name: "normface",
    aliases: &[],
    summary: "softmax cross-entropy of cosines, with a learned scale",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s cos_y)",
    gradient: "dL/dcos_j = s p_j, dL/dcos_y = -s (1 - p_y), dL/ds = sum_j p_j cos_j - cos_y",
    paper: "Wang, Xiang, Cheng and Yuille 2017, NormFace, arXiv 1704.06369",
    margin: MarginParameter::None("am-softmax is normface with a margin"),
    spec: || LossSpec { scale: Scale::Learned { initial: 20.0, min: 1.0, max: 128.0 }, ..cosine(20.0, Margin::None) },
};
