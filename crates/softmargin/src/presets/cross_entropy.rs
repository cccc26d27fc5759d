//! Softmax cross-entropy.
//!
//! ```text
//! L = ln(1 + sum_{j != y} e^(z_j - z_y)) = softplus(LSE_{j != y}(z) - z_y)
//! dL/dz_j = p_j,  dL/dz_y = p_y - 1,  p = softmax(z)
//! ```
//!
//! The loss is `ln C` at equal scores and approaches 0 as `z_y` grows. It is the only comparison with soft targets,
//! label smoothing and z-loss. Bridle 1990, "Training stochastic model recognition algorithms as networks", NIPS 2.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::geometry::Geometry;
use crate::spec::LossSpec;

/// Softmax cross-entropy on inner products with a bias.
pub const CROSS_ENTROPY: Preset = Preset {
    name: "cross-entropy",
    aliases: &["softmax"],
    summary: "softmax cross-entropy on inner products with a bias",
    equation: "L = ln(1 + sum_{j!=y} e^(s (z_j - z_y)))",
    gradient: "dL/dz_j = s p_j, dL/dz_y = -s (1 - p_y), p = softmax(s z)",
    paper: "Bridle 1990, Training stochastic model recognition algorithms as networks, NIPS 2",
    margin: MarginParameter::None("am-softmax is cross-entropy with a margin"),
    spec: || LossSpec { geometry: Geometry::InnerProduct { bias: true, temperature: 1.0 }, ..plain() },
};
