//! The multi-class hinge over all pairs of target and negative: Weston and Watkins.
//!
//! ```text
//! L = sum_{j != y} max(0, z_j - z_y + m)
//! dL/dz_j = 1 where z_j - z_y + m > 0, dL/dz_y = -(number of these)
//! ```
//!
//! The size of the target's derivative grows with the number of violations, up to `C - 1`. Weston and Watkins 1999,
//! "Support vector machines for multi-class pattern recognition", ESANN.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::comparison::Comparison;
use crate::axes::gate::Gate;
use crate::axes::margin::Margin;
use crate::spec::LossSpec;

/// Weston-Watkins: the hinge over all pairs of target and negative.
pub const WESTON_WATKINS: Preset = Preset {
    name: "weston-watkins",
    aliases: &[],
    summary: "the hinge over all pairs of target and negative",
    equation: "L = sum_{j!=y} max(0, s (z_j - z_y + m))",
    gradient: "dL/dz_j = s where z_j - z_y + m > 0, dL/dz_y = -s (number of these)",
    paper: "Weston and Watkins 1999, Support vector machines for multi-class pattern recognition, ESANN",
    margin: MarginParameter::Score,
    spec: || LossSpec { margin: Margin::score(1.0), comparison: Comparison::EachPair { gate: Gate::Relu }, ..plain() },
};
