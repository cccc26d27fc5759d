//! The first sweep over the classes: scores and accumulators of every row and, if slopes are stored, the sums of the
//! gradient with respect to the embeddings, up to a factor per row.
//!
//! ```text
//! Z = X W^T,    E = exp(s (Z - reference)),    sums of E,    A += E W
//! ```

use super::memory::Buffer;
use super::panels::{Panels, pair_columns, pair_rows, panels_of};
use super::product::TransposedProduct;
use super::sweep::{Block, Prototypes, Scratch, Sweep, has_products, slopes_of_panel};
use super::tile::{FirstSweepWork, PanelRows, PanelSums, TileContext, sweep_tile};
use super::tiling::Shard;
use crate::simd::{Instructions, LINE, Line, Work, run_on};
use std::ops::Range;

/// The memory that stores the slopes of a shard, tile by tile, block by block.
pub(super) enum Store<'a> {
    Nothing,
    /// f32 values, in panels.
    Whole(&'a mut [Line]),
    /// Words of two bf16 values of neighboring rows of the batch.
    Half(&'a mut [Line]),
}

/// Returns the number of lines that store the slopes of some prototypes and a block of rows.
pub(super) fn stored_lines(prototypes: usize, rows: usize, half: bool) -> usize {
    let panels = panels_of(rows);
    prototypes * if half { panels.div_ceil(2) } else { panels }
}

/// The references of the exponentials from a tile of the shard until the next epoch, panel by panel.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) tile: usize,
    pub(super) reference: Vec<Line>,
}

/// The results of the first sweep of a shard for one block.
pub(super) struct BlockResults<'a> {
    pub(super) panels: Vec<PanelSums>,
    pub(super) epochs: Vec<Epoch>,
    /// `A`, in panels, if slopes are stored.
    pub(super) sums: Option<Buffer<'a>>,
    /// True if `A` sums final slopes; false if it sums exponentials relative to the last reference.
    pub(super) is_final: bool,
}

/// The results of the first sweep of a shard.
pub(super) struct FirstSweep<'a> {
    /// The results of each block.
    pub(super) found: Vec<BlockResults<'a>>,
    /// `1 / |w|` by position, if slopes are stored.
    pub(super) inverse: Vec<f64>,
    /// True if all prototypes were finite and none was too large.
    pub(super) all_finite: bool,
}

impl<'a> Sweep<'a> {
    /// Sweeps over a shard, and stores slopes as `store` defines.
    pub(super) fn first(
        &self,
        shard: &Shard,
        weight: Prototypes<'_>,
        blocks: &[Block<'_>],
        mut store: Store<'_>,
    ) -> FirstSweep<'a> {
        let stores = !matches!(store, Store::Nothing) && has_products(self.work.kind);
        let most_rows = blocks.iter().map(Block::padded).max().unwrap_or(0);
        let mut scratch = self.scratch(shard.tile.min(shard.positions.len()), most_rows);
        let mut found: Vec<BlockResults<'a>> = blocks
            .iter()
            .map(|block| BlockResults {
                panels: vec![PanelSums::new(); block.panels.len()],
                epochs: Vec::new(),
                sums: stores.then(|| self.memory.take_zeros(self.width_panels() * block.padded())),
                is_final: false,
            })
            .collect();
        let (mut by_panel, mut inverse) = (Vec::new(), Vec::new());
        let lines_of_tile = panels_of(most_rows) * shard.tile.min(shard.positions.len());
        // f32 slopes are computed in place in the store, without a buffer for scores.
        let mut scores = self.memory.take(if matches!(store, Store::Whole(_)) { 0 } else { lines_of_tile });
        for (number, tile) in shard.tiles().enumerate() {
            self.load_tile(&mut scratch, weight, &tile);
            if stores {
                inverse.extend_from_slice(&scratch.inverse[..tile.len()]);
            }
            for (block, found) in blocks.iter().zip(&mut found) {
                block.targets_in(&tile, &mut by_panel);
                let lines = panels_of(block.padded()) * tile.len();
                let slopes = match &mut store {
                    Store::Whole(all) => take_front(all, lines),
                    Store::Half(_) | Store::Nothing => &mut scores[..lines],
                };
                self.product_of(&scratch, block, slopes);
                self.accumulate(slopes, &mut scratch, block, &tile, &by_panel, number, found);
                if stores {
                    if let Some(sums) = &mut found.sums {
                        self.transposed(slopes, &mut scratch, sums);
                    }
                    if let Store::Half(all) = &mut store {
                        let half = take_front(all, stored_lines(tile.len(), block.padded(), true));
                        pair_columns(Panels::new(slopes, tile.len()), half);
                    }
                }
            }
        }
        FirstSweep { found, inverse, all_finite: scratch.all_finite }
    }

    /// Accumulates the scores of a tile, panel by panel, and replaces them by slopes.
    #[expect(clippy::too_many_arguments, reason = "a tile, a block, and the accumulators")]
    fn accumulate(
        &self,
        scores: &mut [Line],
        scratch: &mut Scratch<'_>,
        block: &Block<'_>,
        tile: &Range<usize>,
        targets: &[Vec<(usize, usize)>],
        number: usize,
        found: &mut BlockResults<'_>,
    ) {
        let BlockResults { panels, epochs, sums, .. } = found;
        let (count, padded) = (tile.len(), block.padded());
        let mut moved = false;
        for (panel, (rows, sums_of_panel)) in block.panels.iter().zip(panels.iter_mut()).enumerate() {
            let mut rebase = |lane: usize, factor: f32| {
                moved = true;
                let row = panel * LINE + lane;
                // Before the first tile, the sums are empty.
                for line in
                    sums.iter_mut().filter(|_| number > 0).flat_map(|sums| sums.iter_mut().skip(row).step_by(padded))
                {
                    line.0.iter_mut().for_each(|value| *value *= factor);
                }
            };
            run_on(
                self.set,
                FirstSweepOfPanel {
                    scores: &mut scores[panel * count..][..count],
                    slopes: slopes_of_panel(&mut scratch.slopes, panel, count),
                    rows,
                    tile: self.tile_of(tile, &scratch.bias[..count], &targets[panel]),
                    work: self.work,
                    sums: sums_of_panel,
                    rebase: &mut rebase,
                },
            );
        }
        if moved {
            let reference = panels.iter().map(|sums| sums.reference).collect();
            epochs.push(Epoch { tile: number, reference });
        }
    }

    /// Adds the product of the slopes of a tile and its prototypes to the sums of a block.
    pub(super) fn transposed(&self, slopes: &[Line], scratch: &mut Scratch<'_>, sums: &mut [Line]) {
        let count = scratch.count;
        if !self.pairs() {
            let (a, b) =
                (Panels::new(slopes, count), Panels::new(&scratch.prototypes[..self.width_panels() * count], count));
            run_on(self.set, TransposedProduct { a, b, c: sums, pairs: false });
            return;
        }
        let half = count.div_ceil(2);
        let paired = &mut scratch.paired[..slopes.len() / count * half];
        pair_rows(Panels::new(slopes, count), half, paired);
        let (a, b) = (Panels::new(paired, half), Panels::new(&scratch.by_row[..self.width_panels() * half], half));
        run_on(self.set, TransposedProduct { a, b, c: sums, pairs: true });
    }
}

/// Splits the first lines off the rest of a store.
fn take_front<'a>(all: &mut &'a mut [Line], lines: usize) -> &'a mut [Line] {
    let (front, rest) = std::mem::take(all).split_at_mut(lines);
    *all = rest;
    front
}

struct FirstSweepOfPanel<'a> {
    scores: &'a mut [Line],
    slopes: &'a mut [Line],
    rows: &'a PanelRows,
    tile: TileContext<'a>,
    work: FirstSweepWork,
    sums: &'a mut PanelSums,
    rebase: &'a mut dyn FnMut(usize, f32),
}

impl Work for FirstSweepOfPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        sweep_tile::<I>(self.scores, self.slopes, self.rows, &self.tile, self.work, self.sums, self.rebase);
    }
}
