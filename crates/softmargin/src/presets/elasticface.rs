//! ArcFace with a margin drawn for each sample: ElasticFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s cos(theta_y + m_i)),  m_i drawn from N(m, 0.0125)
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t) sin(theta_y + m_i) / sin(theta_y)
//! ```
//!
//! Draws are clamped to `[0, pi]`, and are functions of seed, step and row. Past `theta + m_i = pi` the score continues
//! as in ArcFace. Defaults: s = 64, m = 0.5. Boutros, Damer, Kirchbuchner, Kuijper 2021, arXiv 2109.09416.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::{AngularMargin, Margin};
use crate::axes::margin_value::{MarginValue, Radians};

/// ElasticFace: ArcFace with a margin of mean m drawn for each sample.
pub const ELASTICFACE: Preset = Preset {
    name: "elasticface",
    aliases: &["elasticface-arc"],
    summary: "arcface with a margin drawn for each sample, of mean m",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s cos(theta_y + m_i)), m_i drawn from N(m, 0.0125); past theta_y + m_i = pi, cos theta_y - (1 - cos m_i) in place of that cosine",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) sin(theta_y + m_i) / sin(theta_y), t the argument of softplus",
    paper: "Boutros, Damer, Kirchbuchner and Kuijper 2021, ElasticFace, arXiv 2109.09416",
    margin: MarginParameter::DrawnPlus,
    spec: || {
        let plus = MarginValue::Drawn { mean: Radians(0.5), std: Radians(0.0125) };
        cosine(64.0, Margin::Angle(AngularMargin::added(plus)))
    },
};
