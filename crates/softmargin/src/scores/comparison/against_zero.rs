//! Against zero over given scores; the equation is in `rows/comparison/against_zero.rs`.

use super::each_pair;
use super::row::{Row, Work};
use crate::axes::gate::Gate;
use crate::number::Real;
use crate::rows::comparison::{RowLoss, against_zero};
use crate::simd::Sweeps;

pub(super) fn row<F: Real>(
    gate: Gate,
    sweeps: &Sweeps<F>,
    row: &Row<'_, F>,
    work: &mut Work<F>,
    gradient: Option<&mut [F]>,
) -> RowLoss {
    against_zero::outcome(gate, &row.aim(), &each_pair::gated(gate, sweeps, row, (0.0, 0.0), work, gradient))
}
