//! The loss of a row and its derivatives.

/// The loss of a row, and the factors of its derivatives with respect to the scaled scores of the negatives.
///
/// The derivative is `slope e_j - share`, where `e_j` is the value of the sweep: an exponential, the derivative of a
/// gate, or 1 at the hardest negative.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) row: RowLoss,
    pub(crate) slope: f64,
    pub(crate) share: f64,
}

/// The loss of a row and its derivatives, without the row's factor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowLoss {
    pub(crate) loss: f64,
    /// `dL / du`, where `u = s psi`.
    pub(crate) target_slope: f64,
    /// `dL / ds` through the scores of the negatives only.
    pub(crate) negatives_scale_slope: f64,
}
