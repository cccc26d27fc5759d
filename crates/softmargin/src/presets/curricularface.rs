//! ArcFace with hard negatives that gain weight as training progresses: CurricularFace.
//!
//! ```text
//! L = softplus(LSE_{j != y}(s n_j) - s cos(theta_y + m)),  n_j = cos_j (T + cos_j) where cos_j > cos(theta_y + m)
//! dL/dcos_j = s q_j sigma(t) (T + 2 cos_j) where cos_j > cos(theta_y + m), else s q_j sigma(t)
//! ```
//!
//! `T`, the moving average of the targets' cosines, starts at 0, so that hard negatives have little weight at first. A
//! negative is hard if it is above `cos(theta + m)`, without a continuation past pi. The target's score continues past
//! pi as in ArcFace. Defaults: s = 64, m = 0.5. Huang, Wang, Tai, Liu, Shen, Li, Li, Huang 2020, arXiv 2004.00288.

use super::arcface::ARCFACE;
use super::preset::{MarginParameter, Preset};
use crate::axes::negatives::Negatives;
use crate::spec::LossSpec;

/// CurricularFace: ArcFace with negatives above the target weighted more as training progresses.
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
