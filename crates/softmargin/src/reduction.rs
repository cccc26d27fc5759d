//! The reduction of row losses to the loss of the batch, shared by all losses.
//!
//! A row's weight is its class weight times its sample weight; an ignored row has weight 0. The mean divides by the sum
//! of the weights, so that it is the average loss of the valid rows.

use serde::{Deserialize, Serialize};

/// The reduction of the row losses to one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// No reduction: the weighted loss of each row. The gradient is that of their sum.
    None,
    /// The weighted sum.
    Sum,
    /// The weighted mean; 0, with zero gradients, if no row is valid.
    #[default]
    Mean,
    /// The weighted mean; NaN if no row is valid, as in PyTorch.
    MeanOrNan,
}

impl Reduction {
    /// Returns the factor of every weighted row loss; `weight` is the sum of the rows' weights.
    pub(crate) fn factor(self, weight: f64) -> f64 {
        match self {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean | Reduction::MeanOrNan if weight > 0.0 => 1.0 / weight,
            Reduction::Mean => 0.0,
            Reduction::MeanOrNan => f64::NAN,
        }
    }
}
