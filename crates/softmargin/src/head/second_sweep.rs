//! The second sweep over the classes: the gradient with respect to the prototypes and, if nothing was stored, to the
//! embeddings.
//!
//! ```text
//! stored        dW = E^T X',   X' = f X, f the factors of the rows' slopes
//! recomputed    Z = X W^T,   G the final slopes,   A += G W,   dW = G^T X
//! ```
//!
//! A row of dW is finished while its tile is in the cache: the part along a normalized prototype is subtracted, the
//! exact gradients of the targets are added, and the row is either written or consumed by a step of an optimizer.

use super::arithmetic::{dot, dot_in_lanes};
use super::barrier::Barrier;
use super::chunk::Chunk;
use super::first_sweep::{Epoch, FirstSweep, stored_lines};
use super::memory::Buffer;
use super::panels::{Panels, pair_columns, panels_of, read_row};
use super::product::{Product, Start};
use super::rows::{HeadRows, inverse};
use super::sweep::{Block, Prototypes, Scratch, Sweep, has_products, slopes_of_panel};
use super::tile::{PanelFactors, PanelRows, TileContext, final_slopes};
use super::tiling::Shard;
use crate::rows::SweepKind;
use crate::scores::multiplier;
use crate::simd::{Instructions, LINE, Line, Work, from_bf16, run_on};
use ndarray::ArrayView2;
use std::ops::Range;

/// The inputs of the second sweep.
pub(super) struct SecondSweepInputs<'a> {
    pub(super) rows: &'a HeadRows,
    pub(super) embeddings: ArrayView2<'a, f32>,
    pub(super) blocks: &'a [Block<'a>],
    pub(super) barrier: &'a Barrier,
    /// The embeddings of each block as a right factor, if nothing was stored.
    pub(super) plain: &'a [Buffer<'a>],
}

/// The slopes of a shard that the first sweep has stored.
#[derive(Clone, Copy)]
pub(super) enum StoredSlopes<'a> {
    Nothing,
    Whole(&'a FirstSweep<'a>, &'a [Line]),
    Half(&'a FirstSweep<'a>, &'a [Line]),
}

/// The destination of the gradient with respect to the prototypes of a shard.
pub(super) enum GradientDestination<'g, 'c, 'w> {
    /// The rows of the gradient are finished and given to the chunk.
    Finish(&'g mut Chunk<'c>),
    /// The raw sums are added to those of other rows of the batch, tile by tile, and finished later.
    Gather(Prototypes<'w>, &'g mut [Line]),
}

/// The results of the second sweep of a shard, other than the rows of the weight's gradient.
pub(super) struct SecondSweep<'a> {
    /// The gradient with respect to the bias, by position within the shard.
    pub(super) bias: Vec<f64>,
    /// `A` of final slopes for each block, if nothing was stored.
    pub(super) sums: Vec<Buffer<'a>>,
}

/// The right factor of a block in an epoch of the references.
struct WeightedRows<'a> {
    rows: Option<Buffer<'a>>,
    /// The factors of the rows in panels, for the bias.
    slopes: Vec<Line>,
    /// The number of epochs that have begun.
    begun: usize,
}

impl<'a> Sweep<'a> {
    /// Sweeps over a shard, and adds the gradient with respect to the prototypes to its destination.
    pub(super) fn second(
        &self,
        shard: &Shard,
        second: &SecondSweepInputs<'_>,
        stored: StoredSlopes<'_>,
        mut destination: GradientDestination<'_, '_, '_>,
    ) -> SecondSweep<'a> {
        let most_rows = second.blocks.iter().map(Block::padded).max().unwrap_or(0);
        let tile = shard.tile.min(shard.positions.len());
        let recomputes = matches!(stored, StoredSlopes::Nothing) && has_products(self.work.kind);
        let mut scratch = self.scratch(if recomputes { tile } else { 0 }, most_rows);
        let mut fresh = self.memory.take(self.width_panels() * tile);
        let in_store = matches!(stored, StoredSlopes::Whole(..));
        let mut scores = self.memory.take(if in_store { 0 } else { panels_of(most_rows) * tile });
        let sums = second.blocks.iter().filter(|_| recomputes);
        let mut answer = SecondSweep {
            bias: vec![0.0; if self.bias.is_some() { shard.positions.len() } else { 0 }],
            sums: sums.map(|block| self.memory.take_zeros(self.width_panels() * block.padded())).collect(),
        };
        let mut weighted: Vec<WeightedRows<'_>> =
            second.blocks.iter().map(|_| WeightedRows { rows: None, slopes: Vec::new(), begun: 0 }).collect();
        let mut next = 0;
        for (number, tile) in shard.tiles().enumerate() {
            let first = tile.start - shard.positions.start;
            let lines = self.width_panels() * tile.len();
            let (raw, weight) = match &mut destination {
                GradientDestination::Finish(chunk) => {
                    fresh[..lines].fill(Line::default());
                    (&mut fresh[..lines], chunk.weight())
                }
                GradientDestination::Gather(weight, all) => {
                    (&mut all[self.width_panels() * first..][..lines], weight.reborrow())
                }
            };
            let bias = answer.bias.get_mut(first..first + tile.len()).unwrap_or_default();
            match stored {
                StoredSlopes::Nothing if recomputes => {
                    self.recompute(&mut scratch, &mut scores, second, weight, &tile, raw, bias, &mut answer.sums);
                }
                StoredSlopes::Nothing => {}
                StoredSlopes::Whole(sweep, store) => {
                    for (b, weighted) in weighted.iter_mut().enumerate() {
                        self.begin_epoch(weighted, second, sweep, b, number);
                        let lines = stored_lines(tile.len(), second.blocks[b].padded(), false);
                        self.add_product(&store[next..next + lines], tile.len(), weighted, raw, bias);
                        next += lines;
                    }
                }
                StoredSlopes::Half(sweep, store) => {
                    for (b, weighted) in weighted.iter_mut().enumerate() {
                        self.begin_epoch(weighted, second, sweep, b, number);
                        let lines = stored_lines(tile.len(), second.blocks[b].padded(), true);
                        self.add_half(&store[next..next + lines], &mut scores, tile.len(), weighted, raw, bias);
                        next += lines;
                    }
                }
            }
            if let GradientDestination::Finish(chunk) = &mut destination {
                let inverse = match stored {
                    StoredSlopes::Nothing => &scratch.inverse[..if recomputes { tile.len() } else { 0 }],
                    StoredSlopes::Whole(sweep, _) | StoredSlopes::Half(sweep, _) => {
                        &sweep.inverse[first..][..tile.len()]
                    }
                };
                self.finish(&fresh[..lines], inverse, bias, second, chunk, &tile);
            }
        }
        answer
    }

    /// Finishes the gradient with respect to the prototypes of a shard that was summed over chunks of rows.
    pub(super) fn finish_gathered(
        &self,
        shard: &Shard,
        second: &SecondSweepInputs<'_>,
        raw: &[Line],
        mut bias: Vec<f64>,
        chunk: &mut Chunk<'_>,
    ) -> SecondSweep<'a> {
        for tile in shard.tiles() {
            let first = tile.start - shard.positions.start;
            let raw = &raw[self.width_panels() * first..][..self.width_panels() * tile.len()];
            let of_tile = bias.get_mut(first..first + tile.len()).unwrap_or_default();
            self.finish(raw, &[], of_tile, second, chunk, &tile);
        }
        SecondSweep { bias, sums: Vec::new() }
    }

    /// Recomputes the right factor of a block if the references of its exponentials change with this tile.
    fn begin_epoch(
        &self,
        weighted: &mut WeightedRows<'a>,
        second: &SecondSweepInputs<'_>,
        sweep: &FirstSweep<'_>,
        b: usize,
        number: usize,
    ) {
        let (block, epochs) = (&second.blocks[b], &sweep.found[b].epochs);
        let begun = epochs.partition_point(|epoch| epoch.tile <= number);
        if weighted.rows.is_some() && begun == weighted.begun {
            return;
        }
        weighted.begun = begun;
        let epoch = begun.checked_sub(1).map(|last| &epochs[last]);
        let slope = |row: usize| self.slope_since(second, block, epoch, row);
        // The old buffer is returned to the pool first, so that it can be reused.
        weighted.rows = None;
        weighted.rows = Some(self.weighted_rows(second.rows, second.embeddings, block, &slope));
        weighted.slopes = lines_of(block, &slope);
    }

    /// Returns the factor of the stored slopes of a row in an epoch.
    fn slope_since(&self, second: &SecondSweepInputs<'_>, block: &Block<'_>, epoch: Option<&Epoch>, row: usize) -> f64 {
        let slope = second.barrier.slope(row);
        let Some(epoch) = epoch.filter(|_| slope != 0.0) else { return slope };
        let index = row - block.rows.start;
        let reference = f64::from(epoch.reference[index / LINE].0[index % LINE]);
        slope * (second.rows.scale * (reference - second.barrier.found(row).reference)).exp()
    }

    /// Adds `E^T X'` to the gradient, for slopes stored in f32.
    fn add_product(
        &self,
        slopes: &[Line],
        count: usize,
        weighted: &WeightedRows<'_>,
        raw: &mut [Line],
        bias: &mut [f64],
    ) {
        add_bias(slopes, &weighted.slopes, bias);
        let Some(rows) = &weighted.rows else { return };
        if self.pairs() {
            let mut paired = self.memory.take((slopes.len() / count).div_ceil(2) * count);
            pair_columns(Panels::new(slopes, count), &mut paired);
            self.multiply(&paired, count, rows, raw);
        } else {
            self.multiply(slopes, count, rows, raw);
        }
    }

    /// Adds `E^T X'` to the gradient, for slopes stored in bf16.
    fn add_half(
        &self,
        slopes: &[Line],
        scores: &mut [Line],
        count: usize,
        weighted: &WeightedRows<'_>,
        raw: &mut [Line],
        bias: &mut [f64],
    ) {
        let Some(rows) = &weighted.rows else { return };
        if self.pairs() && bias.is_empty() {
            self.multiply(slopes, count, rows, raw);
            return;
        }
        let whole = &mut scores[..weighted.slopes.len() * count];
        widen(slopes, count, whole);
        add_bias(whole, &weighted.slopes, bias);
        if self.pairs() {
            self.multiply(slopes, count, rows, raw);
        } else {
            self.multiply(whole, count, rows, raw);
        }
    }

    fn multiply(&self, slopes: &[Line], count: usize, rows: &[Line], raw: &mut [Line]) {
        let words = rows.len() / self.width_panels().max(1);
        let (a, b) = (Panels::new(slopes, count), Panels::new(rows, words));
        run_on(self.set, Product { a, b, c: raw, start: Start::Sum, pairs: self.pairs() });
    }

    /// Recomputes the scores of a tile and their final slopes, and adds the products with embeddings and prototypes.
    #[expect(clippy::too_many_arguments, reason = "a tile, its scratch space, and the three sums that it is added to")]
    fn recompute(
        &self,
        scratch: &mut Scratch<'_>,
        scores: &mut [Line],
        second: &SecondSweepInputs<'_>,
        weight: Prototypes<'_>,
        tile: &Range<usize>,
        raw: &mut [Line],
        bias: &mut [f64],
        sums: &mut [Buffer<'_>],
    ) {
        self.load_tile(scratch, weight, tile);
        let count = tile.len();
        let mut by_panel = Vec::new();
        for (b, (block, sums)) in second.blocks.iter().zip(sums).enumerate() {
            block.targets_in(tile, &mut by_panel);
            let lines = &mut scores[..panels_of(block.padded()) * count];
            self.product_of(scratch, block, lines);
            for (panel, rows) in block.panels.iter().enumerate() {
                let of = panel_factors(second, block, panel);
                run_on(
                    self.set,
                    FinalSlopes {
                        scores: &mut lines[panel * count..][..count],
                        slopes: slopes_of_panel(&mut scratch.slopes, panel, count),
                        rows,
                        tile: self.tile_of(tile, &scratch.bias[..count], &by_panel[panel]),
                        kind: self.work.kind,
                        of,
                    },
                );
            }
            self.transposed(lines, scratch, sums);
            let ones = vec![Line([1.0; LINE]); block.panels.len()];
            add_bias(lines, &ones, bias);
            if self.pairs() {
                let paired = &mut scratch.paired[..panels_of(block.padded()).div_ceil(2) * count];
                pair_columns(Panels::new(lines, count), paired);
                self.multiply(paired, count, &second.plain[b], raw);
            } else {
                self.multiply(lines, count, &second.plain[b], raw);
            }
        }
    }

    /// Finishes the rows of the gradient of a tile.
    fn finish(
        &self,
        raw: &[Line],
        inverses: &[f64],
        bias: &mut [f64],
        second: &SecondSweepInputs<'_>,
        chunk: &mut Chunk<'_>,
        tile: &Range<usize>,
    ) {
        let exact_gradients = &second.barrier.exact_gradients;
        let mut next = exact_gradients.partition_point(|exact_gradient| exact_gradient.position < tile.start);
        let mut row_buffer = vec![0.0_f32; self.width];
        for (row, position) in tile.clone().enumerate() {
            let own =
                exact_gradients[next..].iter().take_while(|exact_gradient| exact_gradient.position == position).count();
            let own = &exact_gradients[next..next + own];
            next += own.len();
            chunk.take(self.positions.prototype(position), &mut row_buffer, |w, gradient| {
                read_row(raw, row, tile.len(), gradient);
                if self.geometry.normalizes_weights() && has_products(self.work.kind) {
                    let of_w = inverses.get(row).copied();
                    let of_w = of_w.unwrap_or_else(|| inverse(dot(self.set, w, w).sqrt()));
                    run_on(self.set, SubtractRadial { gradient, w, of_w });
                }
                for exact_gradient in own {
                    let x = second.embeddings.row(exact_gradient.row);
                    exact_gradient.add_to_prototype(self, x, second.rows.norms[exact_gradient.row], w, gradient);
                }
            });
            if let Some(bias) = bias.get_mut(row) {
                *bias += own.iter().map(|exact_gradient| exact_gradient.slope).sum::<f64>();
            }
        }
    }
}

/// Returns the references and factors of sixteen rows of a block.
fn panel_factors(second: &SecondSweepInputs<'_>, block: &Block<'_>, panel: usize) -> PanelFactors {
    let first = block.rows.start + panel * LINE;
    let line = |of: &dyn Fn(usize) -> f64, of_none: f32| {
        Line(std::array::from_fn(|l| if first + l < block.rows.end { multiplier(of(first + l)) } else { of_none }))
    };
    PanelFactors {
        // Padding rows get a reference above every score, so that their exponentials are 0 for any bias.
        reference: line(&|row| second.barrier.found(row).reference, f32::MAX),
        factor: line(&|row| second.barrier.slope(row), 0.0),
        share: line(&|row| second.barrier.share(row), 0.0),
    }
}

/// Returns one value per row of a block, in lines; 0 for padding rows.
fn lines_of(block: &Block<'_>, of: &dyn Fn(usize) -> f64) -> Vec<Line> {
    let number = |row: usize| if row < block.rows.end { multiplier(of(row)) } else { 0.0 };
    let line = |panel: usize| Line(std::array::from_fn(|l| number(block.rows.start + panel * LINE + l)));
    (0..block.panels.len()).map(line).collect()
}

/// Adds the slopes of a tile, each times the factor of its row, to the gradient with respect to the bias.
fn add_bias(slopes: &[Line], factors: &[Line], bias: &mut [f64]) {
    if bias.is_empty() {
        return;
    }
    let count = bias.len();
    for (lines, factors) in slopes.chunks_exact(count).zip(factors) {
        for (bias, line) in bias.iter_mut().zip(lines) {
            *bias +=
                line.0.iter().zip(factors.0).map(|(&slope, factor)| f64::from(slope) * f64::from(factor)).sum::<f64>();
        }
    }
}

/// Converts words of two neighboring bf16 columns to panels of f32.
fn widen(paired: &[Line], count: usize, whole: &mut [Line]) {
    for (panel, lines) in whole.chunks_exact_mut(count).enumerate() {
        let (half, offset) = (panel / 2, panel % 2 * LINE / 2);
        for (line, words) in lines.iter_mut().zip(&paired[half * count..]) {
            line.0 = std::array::from_fn(|l| {
                let bits = words.0[offset + l / 2].to_bits() >> (16 * (l as u32 % 2));
                from_bf16((bits & 0xffff) as u16)
            });
        }
    }
}

/// Computes `(g - <g, w^> w^) / |w|`, from the gradient `g` with respect to the normalized prototype.
struct SubtractRadial<'a> {
    gradient: &'a mut [f32],
    w: &'a [f32],
    /// `1 / |w|`
    of_w: f64,
}

impl Work for SubtractRadial<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { gradient, w, of_w } = self;
        if (LEAST_TAME..=MOST_TAME).contains(&of_w) {
            let of_w = of_w as f32;
            let along = short_dot(gradient, w) * of_w * of_w;
            for (g, &w) in gradient.iter_mut().zip(w) {
                *g = (*g - along * w) * of_w;
            }
            return;
        }
        let along = dot_in_lanes(gradient, w) * of_w * of_w;
        for (g, &w) in gradient.iter_mut().zip(w) {
            *g = ((f64::from(*g) - along * f64::from(w)) * of_w) as f32;
        }
    }
}

/// The range of inverse norms whose squares neither overflow nor vanish in single precision.
const LEAST_TAME: f64 = 1e-9;
const MOST_TAME: f64 = 1e9;

/// Computes `sum a_k b_k` in single precision, in lanes.
#[inline(always)]
fn short_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LINE];
    let ((whole, rest), (other, other_rest)) = (a.as_chunks::<LINE>(), b.as_chunks::<LINE>());
    for (a, b) in whole.iter().zip(other) {
        for l in 0..LINE {
            sums[l] += a[l] * b[l];
        }
    }
    let rest: f64 = rest.iter().zip(other_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    (sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() + rest) as f32
}

struct FinalSlopes<'a> {
    scores: &'a mut [Line],
    slopes: &'a mut [Line],
    rows: &'a PanelRows,
    tile: TileContext<'a>,
    kind: SweepKind,
    of: PanelFactors,
}

impl Work for FinalSlopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        final_slopes::<I>(self.scores, self.slopes, self.rows, &self.tile, self.kind, &self.of);
    }
}
