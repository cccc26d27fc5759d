//! The gate: the function from the gap `t` between the negatives and the target to a loss.
//!
//! | gate | value | derivative | notes |
//! |---|---|---|---|
//! | ReLU | `max(t, 0)` | 1 above 0, else 0 | derivative 0 at 0 |
//! | softplus | `ln(1 + e^t)` | `1 / (1 + e^-t)` | `t` for large `t`, `e^t` for small |
//! | identity | `t` | 1 | no minimum unless the scores are bounded |

use crate::smooth::{sigmoid, softplus};
use serde::{Deserialize, Serialize};

/// The function from a gap to a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// `max(t, 0)`: the hinge.
    Relu,
    /// `ln(1 + e^t)`: the smooth hinge.
    Softplus,
    /// `t` itself.
    Identity,
}

impl Gate {
    /// Computes value and derivative at a gap, which may be infinite.
    pub(crate) fn apply(self, gap: f64) -> (f64, f64) {
        match self {
            Gate::Relu if gap > 0.0 => (gap, 1.0),
            Gate::Relu => (0.0, 0.0),
            Gate::Softplus => (softplus(gap), sigmoid(gap)),
            Gate::Identity => (gap, 1.0),
        }
    }
}
