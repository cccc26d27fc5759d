//! Rows whose negatives are transformed before the comparison; the formulas are in `axes/negatives.rs`.

use super::comparison::{self, Row, Work, negative_tiles};
use super::faults::RowFault;
use crate::axes::comparison::Comparison;
use crate::axes::geometry::COSINE_TOLERANCE;
use crate::number::Real;
use crate::rows::comparison::RowLoss;
use crate::simd::{NegativeTransform, Sweeps};

/// Buffers for the transformed negatives of a row and their derivatives.
#[derive(Debug)]
pub(crate) struct Transformed<F> {
    scores: Vec<F>,
    slopes: Vec<F>,
}

impl<F: Real> Transformed<F> {
    pub(crate) fn new() -> Self {
        Self { scores: Vec::new(), slopes: Vec::new() }
    }

    /// Transforms the negatives of a row and computes its comparison. The gradient is multiplied by their derivatives.
    pub(super) fn row(
        &mut self,
        transform: NegativeTransform<F>,
        kind: Comparison,
        sweeps: &Sweeps<F>,
        row: Row<'_, F>,
        work: &mut Work<F>,
        mut gradient: Option<&mut [F]>,
    ) -> std::result::Result<RowLoss, RowFault> {
        if let NegativeTransform::DividedAngle { .. } = transform {
            check_cosines(&row)?;
        }
        let classes = row.scores.len();
        self.scores.resize(classes, F::zero());
        self.slopes.resize(classes, F::zero());
        self.scores[row.target] = row.scores[row.target];
        for range in negative_tiles(classes, row.target) {
            let (scores, slopes) = (&mut self.scores[range.clone()], &mut self.slopes[range.clone()]);
            (sweeps.transform)(&row.scores[range], transform, scores, slopes);
        }
        let target = row.target;
        let transformed = Row { scores: &self.scores, ..row };
        let outcome = comparison::row(kind, sweeps, &transformed, work, gradient.as_deref_mut())?;
        if let Some(gradient) = gradient {
            for range in negative_tiles(classes, target) {
                (sweeps.multiply_each)(&mut gradient[range.clone()], &self.slopes[range]);
            }
        }
        Ok(outcome)
    }
}

/// Returns a fault if a negative has no angle.
fn check_cosines<F: Real>(row: &Row<'_, F>) -> std::result::Result<(), RowFault> {
    let most = F::round_from(1.0 + COSINE_TOLERANCE);
    let has_none = |(class, score): (usize, &F)| {
        (class != row.target && score.is_finite() && score.abs() > most).then_some(score.widen())
    };
    match row.scores.iter().enumerate().find_map(has_none) {
        Some(score) => Err(RowFault::NegativeIsNotACosine(score)),
        None => Ok(()),
    }
}
