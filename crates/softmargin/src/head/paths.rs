//! The two paths of a call: fused, in two sweeps over the classes, or unfused, with the scores of some rows at a time.

use super::batch::{HeadBatch, HeadParameters};
use super::fused::{FirstSweepDone, FusedCall};
use super::memory::Memory;
use super::options::{HeadOptions, Mode};
use super::result::{HeadGradients, HeadValue};
use super::unfused::{self, UnfusedOptions};
use crate::error::Result;
use crate::loss::Loss;
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::{Learned, Targets};
use ndarray::{ArrayView1, ArrayView2};

/// The parts of a head that a call needs.
#[derive(Clone, Copy)]
pub struct Paths<'a> {
    pub(super) loss: &'a Loss,
    pub(super) options: &'a HeadOptions,
    pub(super) memory: &'a Memory,
    /// The tile size that a test has set.
    pub(super) tile: Option<usize>,
}

impl<'a> Paths<'a> {
    fn num_prototypes(&self) -> usize {
        self.loss.num_classes() * self.loss.spec().sub_centers
    }

    /// Runs the first sweep of the fused path; `None` if the call must take the unfused path.
    pub(super) fn begin(
        self,
        batch: HeadBatch<'a, f32>,
        weight: ArrayView2<'_, f32>,
        bias: Option<ArrayView1<'a, f32>>,
        learned: Learned,
        reduction: Reduction,
        gradients: bool,
    ) -> Result<Option<FirstSweepDone<'a>>> {
        let is_hard = matches!(batch.rows.targets, Targets::Hard(_));
        let too_many = u32::try_from(self.num_prototypes()).is_err();
        if self.options.mode == Mode::Unfused || !is_hard || too_many {
            return Ok(None);
        }
        let call = FusedCall {
            loss: self.loss,
            options: self.options,
            memory: self.memory,
            batch,
            bias,
            learned,
            reduction,
            tile: self.tile,
        };
        call.begin(weight, gradients)
    }

    pub(super) fn unfused<F: Real>(
        self,
        batch: &HeadBatch<'_, F>,
        parameters: &HeadParameters<'_, F>,
        reduction: Reduction,
        gradients: bool,
    ) -> Result<(HeadValue<F>, Option<HeadGradients<F>>)> {
        let rows_at_a_time = unfused::rows_at_a_time::<F>(self.options.memory, self.num_prototypes());
        let options = UnfusedOptions { gradients, statistics: self.options.statistics, rows_at_a_time };
        unfused::compute(self.loss, batch, parameters, reduction, options)
    }
}
