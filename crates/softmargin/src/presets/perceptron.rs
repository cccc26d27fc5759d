//! The multi-class perceptron.
//!
//! ```text
//! L = max_i z_i - z_y = max(0, max_{j != y} z_j - z_y)
//! dL/dz_y = -1 and dL/dz_k = 1 for the strongest negative k, where it wins
//! ```
//!
//! This is crammer-singer without a margin: the loss is 0 if the target's score is the largest. Rosenblatt 1958; for
//! many classes Collins 2002, "Discriminative training methods for hidden Markov models", EMNLP.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::comparison::Comparison;
use crate::axes::gate::Gate;
use crate::spec::LossSpec;

/// Perceptron: the difference between the largest score and the target's.
pub const PERCEPTRON: Preset = Preset {
    name: "perceptron",
    aliases: &[],
    summary: "the lead of the winner over the target",
    equation: "L = s (max_i z_i - z_y)",
    gradient: "dL/dz_y = -s, dL/dz_k = s for the winner k, where k != y",
    paper: "Rosenblatt 1958; Collins 2002, Discriminative training methods for hidden Markov models, EMNLP",
    margin: MarginParameter::None("crammer-singer is the perceptron with a margin"),
    spec: || LossSpec { comparison: Comparison::Hardest { gate: Gate::Relu }, ..plain() },
};
