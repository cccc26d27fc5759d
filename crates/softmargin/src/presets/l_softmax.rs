//! Softmax cross-entropy of inner products with a multiplied target angle: L-softmax.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s z_j) - s |x| |w_y| psi(theta_y))
//! psi = (-1)^k cos(m theta) - 2k,  k = floor(m theta / pi)
//! dL/dz_y = -s sigma(t) (-1)^k m sin(m theta_y) / sin(theta_y), and derivatives with respect to the norms
//! ```
//!
//! `psi` is annealed: `(lambda cos + psi) / (1 + lambda)`, `lambda = max(5, 1000 (1 + 2.5e-5 step)^-35)`. Default: m =
//! 2; the paper has 2 to 4. Liu, Wen, Yu, Yang 2016, arXiv 1612.02295.

use super::preset::{MarginParameter, Preset, plain};
use crate::axes::margin::{AngularMargin, Anneal, BeyondPi, Margin, MarginGradient};
use crate::axes::margin_value::{MarginValue, Radians};
use crate::spec::LossSpec;

/// L-softmax: softmax cross-entropy of inner products, with the target's angle multiplied by m.
pub const L_SOFTMAX: Preset = Preset {
    name: "l-softmax",
    aliases: &["large-margin-softmax"],
    summary: "the target's angle multiplied by m, both norms kept",
    equation: "L = softplus(LSE_{j!=y}(s z_j) - s |x| |w_y| psi(theta_y)), psi = (-1)^k cos(m theta) - 2k, k = floor(m theta / pi), coming in as (lambda cos theta + psi) / (1 + lambda), lambda = max(5, 1000 (1 + 2.5e-5 step)^-35)",
    gradient: "dL/dz_j = s q_j sigma(t), dL/dz_y = -s sigma(t) psi'(cos theta_y), t the argument of softplus; also by the norms",
    paper: "Liu, Wen, Yu and Yang 2016, Large-margin softmax, arXiv 1612.02295",
    margin: MarginParameter::Times,
    spec: || {
        let margin = AngularMargin {
            times: 2.0,
            plus: MarginValue::One(Radians(0.0)),
            minus: MarginValue::One(0.0),
            beyond_pi: BeyondPi::Piecewise,
            gradient: MarginGradient::Exact,
            anneal: Some(Anneal::SPHEREFACE),
        };
        LossSpec { margin: Margin::Angle(margin), ..plain() }
    },
};
