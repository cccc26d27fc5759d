//! [`Mode::RowChunked`](super::Mode::RowChunked), for many rows and few prototypes: both sweeps on one block of rows at
//! a time, while its scores are in the cache.
//!
//! The loss of a row does not depend on other rows. So groups of blocks are computed independently. Each group sums the
//! gradient with respect to the prototypes over its blocks, and the sums of the groups are added in order.

use super::barrier::{Barrier, BatchContext};
use super::first_sweep::{BlockResults, FirstSweep, Store, stored_lines};
use super::memory::Buffer;
use super::second_sweep::{GradientDestination, SecondSweepInputs, StoredSlopes};
use super::sweep::{Block, Prototypes, Sweep, has_products};
use super::tiling::Shard;
use crate::simd::LINE;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// The largest number of groups of blocks.
const MOST_GROUPS: usize = 16;

/// The results of all rows.
pub(super) struct RowSweeps<'a> {
    pub(super) barrier: Barrier,
    /// The first sweep, as of one shard with all prototypes.
    pub(super) first: FirstSweep<'a>,
    /// The gradients with respect to prototypes, tile by tile, and to bias, if gradients are requested.
    pub(super) raw: Option<(Buffer<'a>, Vec<f64>)>,
}

/// The results of a group of blocks.
struct Group<'a> {
    barriers: Vec<Barrier>,
    found: Vec<BlockResults<'a>>,
    raw: Option<(Buffer<'a>, Vec<f64>)>,
}

impl<'a> Sweep<'a> {
    /// Runs both sweeps on all rows. `None` if a score is NaN or plus infinity.
    pub(super) fn by_rows(
        &self,
        shared: &BatchContext<'_>,
        embeddings: ArrayView2<'_, f32>,
        shard: &Shard,
        weight: Prototypes<'_>,
        blocks: &[Block<'a>],
        gradients: bool,
    ) -> Option<RowSweeps<'a>> {
        let size = blocks.len().div_ceil(MOST_GROUPS).max(1);
        let groups: Vec<Option<Group<'a>>> = blocks
            .par_chunks(size)
            .map(|blocks| self.group(shared, embeddings, shard, weight, blocks, gradients))
            .collect();
        let (mut barriers, mut found, mut raw) = (Vec::new(), Vec::new(), None);
        for group in groups {
            let group = group?;
            barriers.extend(group.barriers);
            found.extend(group.found);
            raw = match (raw, group.raw) {
                (None, first) => first,
                (Some(sum), None) => Some(sum),
                (Some((mut sum, mut bias)), Some((lines, of_bias))) => {
                    add(&mut sum, &lines, &mut bias, &of_bias);
                    Some((sum, bias))
                }
            };
        }
        let barrier = Barrier::joined(barriers.into_iter());
        Some(RowSweeps { barrier, first: FirstSweep { found, inverse: Vec::new(), all_finite: true }, raw })
    }

    fn group(
        &self,
        shared: &BatchContext<'_>,
        embeddings: ArrayView2<'_, f32>,
        shard: &Shard,
        weight: Prototypes<'_>,
        blocks: &[Block<'a>],
        gradients: bool,
    ) -> Option<Group<'a>> {
        let positions = shard.positions.len();
        let of_bias = if self.bias.is_some() { positions } else { 0 };
        let mut raw = gradients.then(|| (self.memory.take_zeros(self.width_panels() * positions), vec![0.0; of_bias]));
        let (mut barriers, mut found) = (Vec::new(), Vec::new());
        // Under label smoothing, final slopes need the number of negatives, which only a whole sweep finds.
        let stores = gradients && !self.work.smooths && has_products(self.work.kind);
        let most = blocks.iter().map(Block::padded).max().unwrap_or(0);
        let mut store = self.memory.take(if stores { stored_lines(positions, most, false) } else { 0 });
        for block in blocks {
            let own = std::slice::from_ref(block);
            let lines = stored_lines(positions, block.padded(), false);
            let place = if stores { Store::Whole(&mut store[..lines]) } else { Store::Nothing };
            let mut first = self.first(shard, weight, own, place);
            let barrier = Barrier::reach(shared, own, std::slice::from_ref(&first))?;
            if let Some((raw, bias)) = &mut raw {
                let plain = if stores || !has_products(self.work.kind) {
                    Vec::new()
                } else {
                    vec![self.weighted_rows(shared.rows, embeddings, block, &|_| 1.0)]
                };
                let second =
                    SecondSweepInputs { rows: shared.rows, embeddings, blocks: own, barrier: &barrier, plain: &plain };
                let stored = if stores { StoredSlopes::Whole(&first, &store[..lines]) } else { StoredSlopes::Nothing };
                let mut answer = self.second(shard, &second, stored, GradientDestination::Gather(weight, raw));
                bias.iter_mut().zip(&answer.bias).for_each(|(bias, more)| *bias += more);
                if let Some(sums) = answer.sums.pop() {
                    first.found[0].sums = Some(sums);
                    first.found[0].is_final = true;
                }
            }
            barriers.push(barrier);
            found.extend(first.found);
        }
        Some(Group { barriers, found, raw })
    }
}

fn add(sum: &mut Buffer<'_>, lines: &Buffer<'_>, bias: &mut [f64], of_bias: &[f64]) {
    for (sum, line) in sum.iter_mut().zip(lines.iter()) {
        for l in 0..LINE {
            sum.0[l] += line.0[l];
        }
    }
    bias.iter_mut().zip(of_bias).for_each(|(bias, more)| *bias += more);
}
