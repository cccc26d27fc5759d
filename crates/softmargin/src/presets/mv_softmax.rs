//! AM-Softmax with increased scores of the negatives above the target: MV-Softmax.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s n_j) - s (cos_y - m)),  n_j = 1.12 cos_j + 0.12 where cos_j > cos_y - m, else cos_j
//! dL/dcos_j = 1.12 s q_j sigma(t) where cos_j > cos_y - m, else s q_j sigma(t);  dL/dcos_y = -s sigma(t)
//! ```
//!
//! Defaults: s = 32, m = 0.35. Wang, Zhang, Wang, Fu, Shi, Mei 2019, arXiv 1912.00833.

use super::preset::{MarginParameter, Preset, cosine};
use crate::axes::margin::Margin;
use crate::axes::negatives::Negatives;
use crate::spec::LossSpec;

/// MV-Softmax: AM-Softmax with increased scores of the negatives above the target.
pub const MV_SOFTMAX: Preset = Preset {
    name: "mv-softmax",
    aliases: &["mv-am-softmax"],
    summary: "am-softmax, with negatives above the target raised",
    equation: "L = softplus(LSE_{j!=y}(s n_j) - s (cos_y - m)), n_j = 1.12 cos_j + 0.12 where cos_j > cos_y - m, else cos_j",
    gradient: "dL/dcos_j = 1.12 s q_j sigma(t) where cos_j > cos_y - m, else s q_j sigma(t), dL/dcos_y = -s sigma(t), t the argument of softplus, q over the negatives' new scores",
    paper: "Wang, Zhang, Wang, Fu, Shi and Mei 2019, MV-Softmax, arXiv 1912.00833",
    margin: MarginParameter::Score,
    spec: || LossSpec { negatives: Negatives::Misclassified { factor: 1.12 }, ..cosine(32.0, Margin::score(0.35)) },
};
