//! From the losses of the rows to the loss of the batch: the same for every member of the family.
//!
//! A row's weight is its class weight times its sample weight; an ignored row has weight 0. The mean divides by the sum
//! of the weights, so that it is the average loss of what was kept.

use serde::{Deserialize, Serialize};

/// How the losses of the rows become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Not at all: the weighted loss of each row. The gradient is that of their sum.
    None,
    /// Their weighted sum.
    Sum,
    /// Their weighted mean; 0, with zero gradients, where nothing was kept.
    #[default]
    Mean,
    /// Their weighted mean; NaN where nothing was kept, as in PyTorch.
    MeanOrNan,
}

impl Reduction {
    /// What every weighted row loss is multiplied by.
    pub(crate) fn factor(self, weight: f64) -> f64 {
        match self {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean | Reduction::MeanOrNan if weight > 0.0 => 1.0 / weight,
            Reduction::Mean => 0.0,
            Reduction::MeanOrNan => f64::NAN,
        }
    }
}
