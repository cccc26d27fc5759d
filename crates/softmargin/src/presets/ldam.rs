//! Softmax cross-entropy of cosines with larger margins for rarer classes: label-distribution-aware margins (LDAM).
//!
//! ```text
//! L = softplus(LSE_{j != y}(s cos_j) - s (cos_y - m_y)),  m_y = m (n_y / n_min)^(-1/4)
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t),  t the argument of softplus
//! ```
//!
//! `n_y` is the number of samples of class y, `n_min` that of the rarest class with samples, so the largest margin is
//! m. The counts of the training set are given with
//! [`LossSpec::with_class_counts`](crate::LossSpec::with_class_counts). Defaults: s = 30, m = 0.5. Cao, Wei, Gaidon,
//! Arechiga, Ma 2019, arXiv 1906.07413.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;
use crate::axes::margin_value::MarginValue;

/// LDAM: softmax cross-entropy of cosines, with the target's cosine reduced more for rarer classes.
pub const LDAM: Preset = Preset {
    name: "ldam",
    aliases: &[],
    summary: "softmax cross-entropy of cosines, the target's reduced the more, the rarer its class",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s (cos_y - m_y)), m_y = m (n_y / n_min)^(-1/4), n_y samples of class y, n_min of the rarest",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t), t the argument of softplus, q = softmax_{j!=y}(s cos)",
    paper: "Cao, Wei, Gaidon, Arechiga and Ma 2019, LDAM, arXiv 1906.07413",
    margin: MarginParameter::Largest,
    spec: || cosine(30.0, Margin::Score { value: MarginValue::ByFrequency { largest: 0.5, class_counts: None } }),
};
