//! The gate that bends the gap `t` between the negatives and the target into a loss.
//!
//! | gate | value | slope | at the edges |
//! |---|---|---|---|
//! | ReLU | `max(t, 0)` | 1 above 0, else 0 | slope 0 at 0 |
//! | softplus | `ln(1 + e^t)` | `1 / (1 + e^-t)` | `t` for large `t`, `e^t` for small |
//! | identity | `t` | 1 | no minimum unless the scores are bounded |

use crate::smooth::{sigmoid, softplus};
use serde::{Deserialize, Serialize};

/// How a gap becomes a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// `max(t, 0)`: the hinge.
    Relu,
    /// `ln(1 + e^t)`: the hinge made smooth.
    Softplus,
    /// `t` itself.
    Identity,
}

impl Gate {
    /// Value and slope at a gap, infinite gaps included.
    pub(crate) fn apply(self, gap: f64) -> (f64, f64) {
        match self {
            Gate::Relu if gap > 0.0 => (gap, 1.0),
            Gate::Relu => (0.0, 0.0),
            Gate::Softplus => (softplus(gap), sigmoid(gap)),
            Gate::Identity => (gap, 1.0),
        }
    }
}
