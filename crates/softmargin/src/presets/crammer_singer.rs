//! The multi-class hinge against the strongest negative: Crammer and Singer.
//!
//! ```text
//! L = max(0, max_{j != y} z_j - z_y + m)
//! dL/dz_y = -1 and dL/dz_k = 1 for the first largest negative k, where L > 0
//! ```
//!
//! The loss is below softmax cross-entropy of the same modified scores, which in turn is at most this loss plus `ln C`.
//! Crammer and Singer 2001, "On
//! the algorithmic implementation of multiclass kernel-based vector machines", JMLR 2.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::comparison::Comparison;
use crate::axes::gate::Gate;
use crate::axes::margin::Margin;
use crate::spec::LossSpec;

/// Crammer-Singer: the hinge against the strongest negative.
pub const CRAMMER_SINGER: Preset = Preset {
    name: "crammer-singer",
    aliases: &[],
    summary: "the hinge against the strongest negative",
    equation: "L = max(0, s (max_{j!=y} z_j - z_y + m))",
    gradient: "dL/dz_y = -s, dL/dz_k = s for the strongest negative k, where L > 0",
    paper: "Crammer and Singer 2001, On the algorithmic implementation of multiclass kernel-based vector machines, JMLR 2",
    margin: MarginParameter::Score,
    spec: || LossSpec { margin: Margin::score(1.0), comparison: Comparison::Hardest { gate: Gate::Relu }, ..plain() },
};
