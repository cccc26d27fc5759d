//! The hardest negative over given scores; the equation is in `rows/comparison/hardest.rs`.

use super::row::Row;
use crate::axes::gate::Gate;
use crate::number::Real;
use crate::rows::comparison::{Outcome, RowLoss, hardest};

pub(super) fn row<F: Real>(gate: Gate, row: &Row<'_, F>, max: F, gradient: Option<&mut [F]>) -> RowLoss {
    let Outcome { row: loss, slope, .. } = hardest::outcome(gate, &row.aim(), max.widen());
    if let Some(gradient) = gradient {
        gradient.fill(F::zero());
        let strongest = |(class, score): (usize, &F)| class != row.target && *score == max;
        if let Some(class) = row.scores.iter().enumerate().position(strongest) {
            gradient[class] = F::round_from(row.factor * row.scale * slope);
        }
    }
    loss
}
