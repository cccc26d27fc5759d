//! The loss of a row and its derivatives.

/// The loss of a row, and its derivatives with respect to the scaled scores of the negatives: `slope` times what the sweep
/// has written (an exponential, the derivative of a gate, or 1 at the hardest), less `share`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) row: RowLoss,
    pub(crate) slope: f64,
    pub(crate) share: f64,
}

/// The loss of a row and its derivatives, the row's factor not applied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowLoss {
    pub(crate) loss: f64,
    /// `dL / du`, `u = s psi`.
    pub(crate) target_slope: f64,
    /// `dL / ds` through the negatives' scores alone.
    pub(crate) negatives_scale_slope: f64,
}
