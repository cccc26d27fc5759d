//! AM-Softmax with a margin drawn for each sample: ElasticFace on the cosine.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s (cos_y - m_i)),  m_i drawn from N(m, 0.0125)
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t),  t the argument of softplus
//! ```
//!
//! Draws are clamped to `[0, 2]`, and are functions of seed, step and row. Defaults: s = 64, m = 0.35. Boutros, Damer,
//! Kirchbuchner, Kuijper 2021, arXiv 2109.09416.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;
use crate::axes::margin_value::MarginValue;

/// ElasticFace on the cosine: AM-Softmax with a margin of mean m drawn for each sample.
pub const ELASTICFACE_COS: Preset = Preset {
    name: "elasticface-cos",
    aliases: &[],
    summary: "am-softmax with a margin drawn for each sample, of mean m",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s (cos_y - m_i)), m_i drawn from N(m, 0.0125)",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t), t the argument of softplus, q = softmax_{j!=y}(s cos)",
    paper: "Boutros, Damer, Kirchbuchner and Kuijper 2021, ElasticFace, arXiv 2109.09416",
    margin: MarginParameter::DrawnScore,
    spec: || cosine(64.0, Margin::Score { value: MarginValue::Drawn { mean: 0.35, std: 0.0125 } }),
};
