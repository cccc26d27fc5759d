//! The hinge against the smooth maximum of the negatives.
//!
//! ```text
//! L = max(0, LSE_{j != y}(z) - z_y + m)
//! dL/dz_y = -1, dL/dz_j = q_j with q = softmax over the negatives, where L > 0
//! ```
//!
//! All negatives have a derivative, and the absolute derivatives add up to 2. Log-sum-exp lies above the maximum, which
//! acts as a margin, so the default is m = 0. The loss lies between crammer-singer and cross-entropy, which is at most
//! `ln 2` above it. Wang 2018, <https://zhuanlan.zhihu.com/p/45014864>.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::comparison::{Comparison, SmoothGate};
use crate::spec::LossSpec;

/// LSE hinge: the hinge against the smooth maximum of the negatives.
pub const LSE_HINGE: Preset = Preset {
    name: "lse-hinge",
    aliases: &[],
    summary: "the hinge against the smooth maximum of the negatives",
    equation: "L = max(0, LSE_{j!=y}(s z_j) - s (z_y - m))",
    gradient: "dL/dz_y = -s, dL/dz_j = s softmax_{j!=y}(s z)_j, where L > 0",
    paper: "the step from the hinge to softmax cross-entropy: Wang 2018, https://zhuanlan.zhihu.com/p/45014864",
    margin: MarginParameter::Score,
    spec: || LossSpec { comparison: Comparison::LogSumExp { gate: SmoothGate::Relu }, ..plain() },
};
