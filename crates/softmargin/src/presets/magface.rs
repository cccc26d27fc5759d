//! ArcFace with a margin that grows with the embedding's norm, and a term that increases norms: MagFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s cos(theta_y + m(a))) + 20 (a / 110^2 + 1 / a)
//! m(a) = low + (high - low) (a - 10) / 100,  a = |x| clamped to [10, 110]
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t) sin(theta_y + m) / sin(theta_y)
//! dL/da = s sigma(t) sin(theta_y + m) m'(a) + 20 (1 / 110^2 - 1 / a^2), 0 where a is clamped
//! ```
//!
//! Past `theta + m = pi` the score continues as in ArcFace. Defaults: s = 64, low = 0.45, high = 0.8. Meng, Zhao,
//! Huang, Zhou 2021, arXiv 2103.06627.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::{AngularMargin, Margin};
use crate::axes::margin_value::{MarginValue, NormMargin};
use crate::axes::regularizer::Regularizer;
use crate::spec::LossSpec;

/// MagFace: ArcFace with a margin that grows with the embedding's norm, and a term that increases norms.
pub const MAGFACE: Preset = Preset {
    name: "magface",
    aliases: &[],
    summary: "arcface with a margin that grows with the embedding's norm, and a term that draws norms up",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s cos(theta_y + m(a))) + 20 (a / 110^2 + 1 / a), m(a) = low + (high - low) (a - 10) / 100, a = |x| kept from 10 to 110; past theta_y + m = pi, cos theta_y - (1 - cos m) in place of that cosine",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) sin(theta_y + m) / sin(theta_y), t the argument of softplus; dL/da = s sigma(t) sin(theta_y + m) m'(a) + 20 (1 / 110^2 - 1 / a^2), 0 where a is kept",
    paper: "Meng, Zhao, Huang and Zhou 2021, MagFace, arXiv 2103.06627",
    margin: MarginParameter::Linear,
    spec: || {
        let plus = NormMargin::Linear { low: 0.45, high: 0.8, norm_low: 10.0, norm_high: 110.0 };
        let term = Regularizer::Magnitude { weight: 20.0, low: 10.0, high: 110.0 };
        let margin = Margin::Angle(AngularMargin::added(MarginValue::FromNorm(plus)));
        LossSpec { regularizer: Some(term), ..cosine(64.0, margin) }
    },
};
