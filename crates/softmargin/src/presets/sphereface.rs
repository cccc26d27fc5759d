//! Softmax cross-entropy with a multiplied target angle and normalized prototypes: SphereFace, A-Softmax.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s z_j) - s |x| psi(theta_y)),  psi = (-1)^k cos(m theta) - 2k,  k = floor(m theta / pi)
//! dL/dz_y = -s sigma(t) (-1)^k m sin(m theta_y) / sin(theta_y), and the derivative with respect to the norm
//! ```
//!
//! `psi` is annealed: `(lambda cos + psi) / (1 + lambda)`, `lambda = max(5, 1000 (1 + 2.5e-5 step)^-35)`. Default: m =
//! 4. Liu, Wen, Yu, Li, Raj, Song 2017, arXiv 1704.08063.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::geometry::Geometry;
use crate::axes::margin::{AngularMargin, Anneal, BeyondPi, Margin, MarginGradient};
use crate::axes::margin_value::{MarginValue, Radians};
use crate::spec::LossSpec;

/// SphereFace: softmax cross-entropy with the target's angle multiplied by m and prototypes of norm 1.
pub const SPHEREFACE: Preset = Preset {
    name: "sphereface",
    aliases: &["a-softmax"],
    summary: "the target's angle multiplied by m, prototypes of norm 1",
    equation: "L = softplus(LSE_{j!=y}(s z_j) - s |x| psi(theta_y)), psi = (-1)^k cos(m theta) - 2k, k = floor(m theta / pi), coming in as (lambda cos theta + psi) / (1 + lambda), lambda = max(5, 1000 (1 + 2.5e-5 step)^-35)",
    gradient: "dL/dz_j = s q_j sigma(t), dL/dz_y = -s sigma(t) psi'(cos theta_y), t the argument of softplus; also by the norm",
    paper: "Liu, Wen, Yu, Li, Raj and Song 2017, SphereFace, arXiv 1704.08063",
    margin: MarginParameter::Times,
    spec: || {
        let margin = AngularMargin {
            times: 4.0,
            plus: MarginValue::One(Radians(0.0)),
            minus: MarginValue::One(0.0),
            beyond_pi: BeyondPi::Piecewise,
            gradient: MarginGradient::Exact,
            anneal: Some(Anneal::SPHEREFACE),
        };
        LossSpec { geometry: Geometry::UnitWeights, margin: Margin::Angle(margin), ..plain() }
    },
};
