//! The two ways of computing a call: fused, in two sweeps over the classes, or by the plain code.

use super::batch::{HeadBatch, HeadParameters};
use super::fused::{Begun, Request};
use super::memory::Memory;
use super::options::{HeadOptions, Mode};
use super::result::{HeadGradients, HeadValue};
use super::unfused::{self, Wanted};
use crate::error::Result;
use crate::loss::Loss;
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::{Learned, Targets};
use ndarray::{ArrayView1, ArrayView2};

/// What a head is, for a call to it.
#[derive(Clone, Copy)]
pub struct Paths<'a> {
    pub(super) loss: &'a Loss,
    pub(super) options: &'a HeadOptions,
    pub(super) memory: &'a Memory,
    /// The size of a tile, if a test wants another.
    pub(super) tile: Option<usize>,
}

impl<'a> Paths<'a> {
    fn num_prototypes(&self) -> usize {
        self.loss.num_classes() * self.loss.spec().sub_centers
    }

    /// The fused path as far as its barrier; `None` where the plain code is to be taken.
    pub(super) fn begin(
        self,
        batch: HeadBatch<'a, f32>,
        weight: ArrayView2<'_, f32>,
        bias: Option<ArrayView1<'a, f32>>,
        learned: Learned,
        reduction: Reduction,
        gradients: bool,
    ) -> Result<Option<Begun<'a>>> {
        let is_hard = matches!(batch.rows.targets, Targets::Hard(_));
        let too_many = u32::try_from(self.num_prototypes()).is_err();
        if self.options.mode == Mode::Unfused || !is_hard || too_many {
            return Ok(None);
        }
        let request = Request {
            loss: self.loss,
            options: self.options,
            memory: self.memory,
            batch,
            bias,
            learned,
            reduction,
            tile: self.tile,
        };
        request.begin(weight, gradients)
    }

    pub(super) fn unfused<F: Real>(
        self,
        batch: &HeadBatch<'_, F>,
        parameters: &HeadParameters<'_, F>,
        reduction: Reduction,
        gradients: bool,
    ) -> Result<(HeadValue<F>, Option<HeadGradients<F>>)> {
        let rows_at_a_time = unfused::rows_at_a_time::<F>(self.options.memory, self.num_prototypes());
        let wanted = Wanted { gradients, statistics: self.options.statistics, rows_at_a_time };
        unfused::compute(self.loss, batch, parameters, reduction, wanted)
    }
}
