//! ArcFace with hard negatives weighed by how far training has come: CurricularFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s n_j) - s cos(theta_y + m)),  n_j = cos_j (T + cos_j) where cos_j > cos(theta_y + m)
//! dL/dcos_j = s q_j sigma(t) (T + 2 cos_j) where cos_j > cos(theta_y + m), else s q_j sigma(t)
//! ```
//!
//! `T`, the average cosine of the targets, starts at 0: easy negatives come first. Which negatives are hard is decided by the plain
//! `cos(theta + m)`; past pi the target's score goes on as ArcFace's. Usual: s = 64, m = 0.5. Huang, Wang, Tai, Liu, Shen, Li,
//! Li, Huang 2020, arXiv 2004.00288.

use super::arcface::ARCFACE;
use super::preset::{MarginParameter, Preset};
use crate::axes::negatives::Negatives;
use crate::spec::LossSpec;

/// Arcface, with negatives above the target weighed the more, the better the targets do.
pub const CURRICULARFACE: Preset = Preset {
    name: "curricularface",
    aliases: &[],
    summary: "arcface, with negatives above the target weighed the more, the better the targets do",
    equation: "L = softplus(LSE_{j!=y}(s n_j) - s cos(theta_y + m)), n_j = cos_j (T + cos_j) where cos_j > cos(theta_y + m), else cos_j; T <- 0.01 mean(cos_y) + 0.99 T; past theta_y + m = pi, cos theta_y - (1 - cos m) as the target",
    gradient: "dL/dcos_j = s q_j sigma(t) (T + 2 cos_j) where cos_j > cos(theta_y + m), else s q_j sigma(t); dL/dcos_y as arcface; t the argument of softplus, q over the negatives' new scores",
    paper: "Huang, Wang, Tai, Liu, Shen, Li, Li and Huang 2020, CurricularFace, arXiv 2004.00288",
    margin: MarginParameter::Plus,
    spec: || LossSpec { negatives: Negatives::Curricular { momentum: 0.01 }, ..ARCFACE.spec() },
};
