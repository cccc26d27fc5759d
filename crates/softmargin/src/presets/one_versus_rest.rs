//! A logistic regression for every class: one versus rest.
//!
//! ```text
//! L = softplus(-z_y) + sum_{j != y} softplus(z_j)
//! dL/dz_y = -(1 - sigma(z_y)), dL/dz_j = sigma(z_j)
//! ```
//!
//! Each score is a binary classification of its own, so a row may belong to no class. Rifkin and Klautau 2004, "In
//! defense of one-vs-all classification", JMLR 5.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::comparison::Comparison;
use crate::axes::gate::Gate;
use crate::axes::geometry::Geometry;
use crate::spec::LossSpec;

/// One versus rest: a logistic regression for every class.
pub const ONE_VERSUS_REST: Preset = Preset {
    name: "one-versus-rest",
    aliases: &["binary"],
    summary: "a logistic regression for every class",
    equation: "L = softplus(-s z_y) + sum_{j!=y} softplus(s z_j)",
    gradient: "dL/dz_y = -s sigma(-s z_y), dL/dz_j = s sigma(s z_j)",
    paper: "Rifkin and Klautau 2004, In defense of one-vs-all classification, JMLR 5",
    margin: MarginParameter::None("its threshold is 0 for every class; crammer-singer and am-softmax have margins"),
    spec: || LossSpec {
        geometry: Geometry::InnerProduct { bias: true, temperature: 1.0 },
        comparison: Comparison::AgainstZero { gate: Gate::Softplus },
        ..plain()
    },
};
