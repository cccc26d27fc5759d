//! ArcFace with K prototypes per class, of which the most similar one counts: sub-centers.
//!
//! ```text
//! cos_j = max_k cos(x, w_{j,k}),    L = softplus(LSE_{j != y}(s cos_j) - s cos(theta_y + m))
//! dL/dcos_j = s q_j sigma(t),  dL/dcos_y = -s sigma(t) sin(theta_y + m) / sin(theta_y), each to the winning prototype
//! ```
//!
//! Mislabeled samples gather at separate prototypes. Defaults: K = 3, s = 64, m = 0.5. Deng, Guo, Liu, Gong, Zafeiriou
//! 2020, Sub-center ArcFace, ECCV.

use super::arcface::ARCFACE;
use super::preset::{MarginParameter, Preset};
use crate::spec::LossSpec;

/// Sub-center ArcFace: ArcFace with three prototypes per class, of which the most similar one counts.
pub const SUB_CENTER_ARCFACE: Preset = Preset {
    name: "sub-center-arcface",
    aliases: &["sub-centre-arcface", "subcenter-arcface"],
    summary: "arcface with three prototypes a class, of which the best one counts",
    equation: "L = softplus(LSE_{j!=y}(s cos_j) - s cos(theta_y + m)), cos_j = max_k cos(x, w_{j,k}); past theta_y + m = pi, cos theta_y - (1 - cos m) in place of that cosine",
    gradient: "dL/dcos_j = s q_j sigma(t), dL/dcos_y = -s sigma(t) sin(theta_y + m) / sin(theta_y), t the argument of softplus; each goes to the prototype that has the maximum",
    paper: "Deng, Guo, Liu, Gong and Zafeiriou 2020, Sub-center ArcFace, ECCV 2020",
    margin: MarginParameter::Plus,
    spec: || LossSpec { sub_centers: 3, ..ARCFACE.spec() },
};
