//! Many rows and few prototypes: both sweeps on some rows at a time, while their scores are at hand.
//!
//! A row's loss needs no other row. So each of some groups of blocks goes through its blocks alone, sums up what they
//! give to the prototypes, and the sums of the groups are added in their order.

use super::barrier::{Barrier, Shared};
use super::first_sweep::{FirstSweep, Found, Store, stored_lines};
use super::memory::Buffer;
use super::second_sweep::{Goal, Kept, Second};
use super::sweep::{Block, Prototypes, Sweep, has_products};
use super::tiling::Shard;
use crate::simd::LINE;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Groups of blocks, each with a sum of its own.
const MOST_GROUPS: usize = 16;

/// What all rows give.
pub(super) struct RowSweeps<'a> {
    pub(super) barrier: Barrier,
    /// As if one shard of all prototypes had been swept over.
    pub(super) first: FirstSweep<'a>,
    /// What the rows give to the prototypes, tile by tile, and to their bias; where gradients are wanted.
    pub(super) raw: Option<(Buffer<'a>, Vec<f64>)>,
}

/// What a group of blocks gives.
struct Group<'a> {
    barriers: Vec<Barrier>,
    found: Vec<Found<'a>>,
    raw: Option<(Buffer<'a>, Vec<f64>)>,
}

impl<'a> Sweep<'a> {
    /// Both sweeps. `None` where a score was NaN or plus infinity.
    pub(super) fn by_rows(
        &self,
        shared: &Shared<'_>,
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
        Some(RowSweeps { barrier, first: FirstSweep { found, inverse: Vec::new(), sound: true }, raw })
    }

    fn group(
        &self,
        shared: &Shared<'_>,
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
        // What label smoothing takes off every negative is known only when all sums are.
        let stores = gradients && !self.look.smooths && has_products(self.look.kind);
        let most = blocks.iter().map(Block::padded).max().unwrap_or(0);
        let mut store = self.memory.take(if stores { stored_lines(positions, most, false) } else { 0 });
        for block in blocks {
            let own = std::slice::from_ref(block);
            let lines = stored_lines(positions, block.padded(), false);
            let place = if stores { Store::Whole(&mut store[..lines]) } else { Store::Nothing };
            let mut first = self.first(shard, weight, own, place);
            let barrier = Barrier::reach(shared, own, std::slice::from_ref(&first))?;
            if let Some((raw, bias)) = &mut raw {
                let plain = if stores || !has_products(self.look.kind) {
                    Vec::new()
                } else {
                    vec![self.weighted_rows(shared.rows, embeddings, block, &|_| 1.0)]
                };
                let second = Second { rows: shared.rows, embeddings, blocks: own, barrier: &barrier, plain: &plain };
                let kept = if stores { Kept::Whole(&first, &store[..lines]) } else { Kept::Nothing };
                let mut answer = self.second(shard, &second, kept, Goal::Gather(weight, raw));
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
