//! The first sweep over the classes: scores, the sums of every row, and, where slopes are stored, what they give to the
//! embeddings, up to a number a row.
//!
//! ```text
//! Z = X W^T,    E = exp(s (Z - reference)),    sums of E,    A += E W
//! ```

use super::memory::Buffer;
use super::panels::{Panels, pair_columns, pair_rows, panels_of};
use super::product::TransposedProduct;
use super::sweep::{Block, Prototypes, Room, Sweep, has_products, slopes_of_panel};
use super::tile::{Look, PanelRows, PanelSums, TileOf, look};
use super::tiling::Shard;
use crate::simd::{Instructions, LINE, Line, Work, run_on};
use std::ops::Range;

/// Where the slopes of a shard are kept: tile by tile, block by block.
pub(super) enum Store<'a> {
    Nothing,
    /// Words of single precision, in panels.
    Whole(&'a mut [Line]),
    /// Words of two bf16 numbers, neighboring rows of the batch.
    Half(&'a mut [Line]),
}

/// Lines that the slopes of so many prototypes and a block take.
pub(super) fn stored_lines(prototypes: usize, rows: usize, half: bool) -> usize {
    let panels = panels_of(rows);
    prototypes * if half { panels.div_ceil(2) } else { panels }
}

/// From a tile of the shard on, exponentials are relative to this reference, panel by panel.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) tile: usize,
    pub(super) reference: Vec<Line>,
}

/// What a shard gives to one block.
pub(super) struct Found<'a> {
    pub(super) panels: Vec<PanelSums>,
    pub(super) epochs: Vec<Epoch>,
    /// `A`, in panels; where slopes are at hand.
    pub(super) sums: Option<Buffer<'a>>,
    /// Whether `A` is of final slopes, rather than of exponentials relative to the last reference.
    pub(super) is_final: bool,
}

/// What a shard has shown.
pub(super) struct FirstSweep<'a> {
    /// By block.
    pub(super) found: Vec<Found<'a>>,
    /// `1 / |w|` by position, where slopes are stored.
    pub(super) inverse: Vec<f64>,
    /// Whether all prototypes were finite.
    pub(super) sound: bool,
}

impl<'a> Sweep<'a> {
    /// Sweeps over a shard. What is stored is what `store` has room for.
    pub(super) fn first(
        &self,
        shard: &Shard,
        weight: Prototypes<'_>,
        blocks: &[Block<'_>],
        mut store: Store<'_>,
    ) -> FirstSweep<'a> {
        let stores = !matches!(store, Store::Nothing) && has_products(self.look.kind);
        let most_rows = blocks.iter().map(Block::padded).max().unwrap_or(0);
        let mut room = self.room(shard.tile.min(shard.positions.len()), most_rows);
        let mut found: Vec<Found<'a>> = blocks
            .iter()
            .map(|block| Found {
                panels: vec![PanelSums::new(); block.panels.len()],
                epochs: Vec::new(),
                sums: stores.then(|| self.memory.take_zeros(self.width_panels() * block.padded())),
                is_final: false,
            })
            .collect();
        let (mut by_panel, mut inverse) = (Vec::new(), Vec::new());
        let lines_of_tile = panels_of(most_rows) * shard.tile.min(shard.positions.len());
        // In whole words the store itself is where scores are put.
        let mut scores = self.memory.take(if matches!(store, Store::Whole(_)) { 0 } else { lines_of_tile });
        for (number, tile) in shard.tiles().enumerate() {
            self.enter(&mut room, weight, &tile);
            if stores {
                inverse.extend_from_slice(&room.inverse[..tile.len()]);
            }
            for (block, found) in blocks.iter().zip(&mut found) {
                block.targets_in(&tile, &mut by_panel);
                let lines = panels_of(block.padded()) * tile.len();
                let slopes = match &mut store {
                    Store::Whole(all) => take_front(all, lines),
                    Store::Half(_) | Store::Nothing => &mut scores[..lines],
                };
                self.product_of(&room, block, slopes);
                self.look_at(slopes, &mut room, block, &tile, &by_panel, number, found);
                if stores {
                    if let Some(sums) = &mut found.sums {
                        self.transposed(slopes, &mut room, sums);
                    }
                    if let Store::Half(all) = &mut store {
                        let half = take_front(all, stored_lines(tile.len(), block.padded(), true));
                        pair_columns(Panels::new(slopes, tile.len()), half);
                    }
                }
            }
        }
        FirstSweep { found, inverse, sound: room.sound }
    }

    /// Looks at the scores of a tile, panel by panel.
    #[expect(clippy::too_many_arguments, reason = "a tile, a block, and where what is found goes")]
    fn look_at(
        &self,
        scores: &mut [Line],
        room: &mut Room<'_>,
        block: &Block<'_>,
        tile: &Range<usize>,
        targets: &[Vec<(usize, usize)>],
        number: usize,
        found: &mut Found<'_>,
    ) {
        let Found { panels, epochs, sums, .. } = found;
        let (count, padded) = (tile.len(), block.padded());
        let mut moved = false;
        for (panel, (rows, sums_of_panel)) in block.panels.iter().zip(panels.iter_mut()).enumerate() {
            let mut rebase = |lane: usize, factor: f32| {
                moved = true;
                let row = panel * LINE + lane;
                // Nothing has been summed up before the first tile.
                for line in
                    sums.iter_mut().filter(|_| number > 0).flat_map(|sums| sums.iter_mut().skip(row).step_by(padded))
                {
                    line.0.iter_mut().for_each(|value| *value *= factor);
                }
            };
            run_on(
                self.set,
                LookAt {
                    scores: &mut scores[panel * count..][..count],
                    slopes: slopes_of_panel(&mut room.slopes, panel, count),
                    rows,
                    tile: self.tile_of(tile, &room.bias[..count], &targets[panel]),
                    look: self.look,
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

    /// Adds to the sums of a block what the slopes of a tile give to its embeddings.
    pub(super) fn transposed(&self, slopes: &[Line], room: &mut Room<'_>, sums: &mut [Line]) {
        let count = room.count;
        if !self.pairs() {
            let (a, b) =
                (Panels::new(slopes, count), Panels::new(&room.prototypes[..self.width_panels() * count], count));
            run_on(self.set, TransposedProduct { a, b, c: sums, pairs: false });
            return;
        }
        let half = count.div_ceil(2);
        let paired = &mut room.paired[..slopes.len() / count * half];
        pair_rows(Panels::new(slopes, count), half, paired);
        let (a, b) = (Panels::new(paired, half), Panels::new(&room.by_row[..self.width_panels() * half], half));
        run_on(self.set, TransposedProduct { a, b, c: sums, pairs: true });
    }
}

/// The first lines of what is left of a store, which are taken off it.
fn take_front<'a>(all: &mut &'a mut [Line], lines: usize) -> &'a mut [Line] {
    let (front, rest) = std::mem::take(all).split_at_mut(lines);
    *all = rest;
    front
}

struct LookAt<'a> {
    scores: &'a mut [Line],
    slopes: &'a mut [Line],
    rows: &'a PanelRows,
    tile: TileOf<'a>,
    look: Look,
    sums: &'a mut PanelSums,
    rebase: &'a mut dyn FnMut(usize, f32),
}

impl Work for LookAt<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        look::<I>(self.scores, self.slopes, self.rows, &self.tile, self.look, self.sums, self.rebase);
    }
}
