//! The common parts of the two sweeps over the classes: the batch in panels, and the products with one tile of
//! prototypes.

#![expect(clippy::needless_range_loop, reason = "the lanes of several lines at once")]

use super::arithmetic::{add_two, add_two_short, dot};
use super::memory::{Buffer, Memory};
use super::options::Precision;
use super::panels::{Panels, WriteRow, pair_columns, pair_rows, panels_of, write_columns};
use super::product::{Product, Start};
use super::rows::{HeadRows, ScoreOperands, divisor, inverse};
use super::sampling::Positions;
use super::tile::{FirstSweepWork, PanelRows, TileContext};
use crate::axes::geometry::Geometry;
use crate::buffer::contiguous;
use crate::rows::SweepKind;
use crate::simd::{InstructionSet, Instructions, LINE, Line, Work, prefetch, run_on};
use ndarray::{ArrayView1, ArrayView2, Axis};
use std::ops::Range;

/// The inputs of a sweep that are the same for all tiles and rows.
pub(super) struct Sweep<'a> {
    pub(super) set: InstructionSet,
    pub(super) precision: Precision,
    pub(super) geometry: Geometry,
    pub(super) sub_centers: usize,
    pub(super) work: FirstSweepWork,
    /// True if negatives are transformed.
    pub(super) transforms_negatives: bool,
    pub(super) positions: Positions<'a>,
    pub(super) bias: Option<ArrayView1<'a, f32>>,
    /// The embedding dimension D.
    pub(super) width: usize,
    pub(super) memory: &'a Memory,
}

/// Consecutive rows of the weight matrix.
#[derive(Clone, Copy)]
pub(super) struct Prototypes<'a> {
    pub(super) rows: ArrayView2<'a, f32>,
    /// The index of the first of them.
    pub(super) first: usize,
}

impl<'a> Prototypes<'a> {
    pub(super) fn row(&self, prototype: usize) -> ArrayView1<'a, f32> {
        self.rows.index_axis_move(Axis(0), prototype - self.first)
    }

    pub(super) fn reborrow<'b>(&self) -> Prototypes<'b>
    where
        'a: 'b,
    {
        Prototypes { rows: self.rows.reborrow(), first: self.first }
    }
}

/// A block of rows, prepared for the products with all tiles.
pub(super) struct Block<'a> {
    pub(super) rows: Range<usize>,
    /// `x^` or `x` transposed: one row per embedding dimension (or pair of dimensions), one column per row of the
    /// batch.
    columns: Buffer<'a>,
    words: usize,
    /// The constants of each panel of sixteen rows.
    pub(super) panels: Vec<PanelRows>,
    /// The targets of its rows: first position of the class, and row in the block, sorted by position.
    targets: Vec<(usize, usize)>,
}

impl Block<'_> {
    /// Returns the number of rows, padded to whole panels.
    pub(super) fn padded(&self) -> usize {
        self.rows.len().next_multiple_of(LINE)
    }

    /// Collects the targets in a tile by panel: lane, and first line of the class.
    pub(super) fn targets_in(&self, tile: &Range<usize>, by_panel: &mut Vec<Vec<(usize, usize)>>) {
        by_panel.resize(self.panels.len(), Vec::new());
        by_panel.iter_mut().for_each(Vec::clear);
        let first = self.targets.partition_point(|(position, _)| *position < tile.start);
        for &(position, row) in self.targets[first..].iter().take_while(|(position, _)| *position < tile.end) {
            by_panel[row / LINE].push((row % LINE, position - tile.start));
        }
    }
}

/// Returns the factor of an embedding in the products: its inverse norm under the cosine, else 1.
pub(super) fn factor_of_row(geometry: Geometry, norm: f64) -> f64 {
    if geometry.normalizes_embeddings() { divisor(norm) } else { 1.0 }
}

impl<'a> Sweep<'a> {
    pub(super) fn pairs(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// Returns the number of panels of a matrix of D columns.
    pub(super) fn width_panels(&self) -> usize {
        panels_of(self.width)
    }

    /// Returns the number of panels of words of a left factor with `columns` columns.
    pub(super) fn word_panels(&self, columns: usize) -> usize {
        if self.pairs() { panels_of(columns).div_ceil(2) } else { panels_of(columns) }
    }

    pub(super) fn block(&self, rows: &HeadRows, embeddings: ArrayView2<'_, f32>, range: Range<usize>) -> Block<'a> {
        let padded = range.len().next_multiple_of(LINE);
        let words = self.word_panels(self.width) * LINE;
        let numbers = if self.pairs() { 2 * words } else { words };
        let mut columns = self.memory.take_zeros(padded / LINE * numbers);
        for (panel, lines) in columns.chunks_exact_mut(numbers.max(1)).enumerate() {
            let first = range.start + panel * LINE;
            let of_panel = first..range.end.min(first + LINE);
            let factors: Vec<f64> = of_panel.clone().map(|row| factor_of_row(self.geometry, rows.norms[row])).collect();
            let of_panel: Vec<_> = of_panel.map(|row| contiguous(embeddings.index_axis_move(Axis(0), row))).collect();
            write_columns(&of_panel, &factors, lines);
        }
        let columns = if self.pairs() {
            let mut paired = self.memory.take(padded / LINE * words);
            pair_rows(Panels::new(&columns, numbers), words, &mut paired);
            paired
        } else {
            columns
        };
        let of_panel = |panel: usize| PanelRows::of(rows, self.work.kind, range.start + panel * LINE);
        let in_range = rows.targets[range.clone()].iter().enumerate();
        let mut targets: Vec<(usize, usize)> =
            in_range.filter_map(|(row, target)| target.as_ref().map(|target| (target.first, row))).collect();
        targets.sort_unstable();
        Block { panels: (0..padded / LINE).map(of_panel).collect(), rows: range, columns, words, targets }
    }

    /// Returns the embeddings of a block in panels, each times its factor (and its inverse norm, under the cosine): the
    /// right factor of the gradient with respect to the prototypes.
    pub(super) fn weighted_rows(
        &self,
        rows: &HeadRows,
        embeddings: ArrayView2<'_, f32>,
        block: &Block<'_>,
        factor: &dyn Fn(usize) -> f64,
    ) -> Buffer<'a> {
        let numbers = self.word_panels(block.rows.len()) * LINE * if self.pairs() { 2 } else { 1 };
        let mut panels = self.memory.take(self.width_panels() * numbers);
        for (row, number) in (0..numbers).zip(block.rows.start..) {
            if number >= block.rows.end {
                for panel in 0..self.width_panels() {
                    panels[panel * numbers + row] = Line::default();
                }
                continue;
            }
            // Clamped to finite values, as in the unfused path, since infinity times a slope of 0 is NaN.
            let most = f64::from(f32::MAX);
            let factor = (factor(number) * factor_of_row(self.geometry, rows.norms[number])).clamp(-most, most);
            let values = &contiguous(embeddings.row(number));
            run_on(self.set, WriteRow { values, factor, row, rows: numbers, panels: &mut panels });
        }
        if !self.pairs() {
            return panels;
        }
        let mut paired = self.memory.take(self.width_panels() * numbers / 2);
        pair_rows(Panels::new(&panels, numbers), numbers / 2, &mut paired);
        paired
    }

    /// Allocates scratch space for tiles of up to `tile` prototypes and blocks of up to `rows` rows.
    pub(super) fn scratch(&self, tile: usize, rows: usize) -> Scratch<'a> {
        let rows = rows.next_multiple_of(LINE);
        let pairs = self.pairs();
        let words = |lines: usize| if pairs { lines } else { 0 };
        Scratch {
            prototypes: self.memory.take(self.width_panels() * tile),
            by_column: self.memory.take(words(self.word_panels(self.width) * tile)),
            by_row: self.memory.take(words(self.width_panels() * tile.div_ceil(2))),
            slopes: self.memory.take(if self.transforms_negatives { panels_of(rows) * tile } else { 0 }),
            paired: self
                .memory
                .take(words((panels_of(rows) * tile.div_ceil(2)).max(panels_of(rows).div_ceil(2) * tile))),
            inverse: vec![1.0; tile],
            bias: vec![0.0; tile],
            all_finite: true,
            count: 0,
        }
    }

    /// Loads the prototypes of a tile into the scratch space, normalized if the geometry normalizes them.
    pub(super) fn load_tile(&self, scratch: &mut Scratch<'_>, weight: Prototypes<'_>, tile: &Range<usize>) {
        let count = tile.len();
        scratch.count = count;
        for (row, position) in tile.clone().enumerate() {
            let prototype = self.positions.prototype(position);
            let values = contiguous(weight.row(prototype));
            if position + 1 < tile.end
                && let Some(next) = weight.row(self.positions.prototype(position + 1)).to_slice()
            {
                prefetch(next);
            }
            let length = if self.geometry.normalizes_weights() { dot(self.set, &values, &values).sqrt() } else { 1.0 };
            scratch.inverse[row] = inverse(length);
            scratch.all_finite &= length.is_finite();
            let factor = divisor(length);
            run_on(self.set, WriteRow { values: &values, factor, row, rows: count, panels: &mut scratch.prototypes });
            if let Some(bias) = self.bias {
                scratch.bias[row] = bias[prototype];
            }
        }
        if !self.geometry.normalizes_weights() {
            scratch.all_finite &= run_on(self.set, AreBelowLimit(&scratch.prototypes[..self.width_panels() * count]));
        }
        if self.pairs() {
            let prototypes = Panels::new(&scratch.prototypes[..self.width_panels() * count], count);
            pair_columns(prototypes, &mut scratch.by_column[..self.word_panels(self.width) * count]);
            let half = count.div_ceil(2);
            pair_rows(prototypes, half, &mut scratch.by_row[..self.width_panels() * half]);
        }
    }

    /// Computes the products of the loaded tile and a block: scores without bias and clamping.
    pub(super) fn product_of(&self, scratch: &Scratch<'_>, block: &Block<'_>, scores: &mut [Line]) {
        let a = if self.pairs() { &scratch.by_column[..] } else { &scratch.prototypes[..] };
        let a = Panels::new(&a[..self.word_panels(self.width) * scratch.count], scratch.count);
        let b = Panels::new(&block.columns, block.words);
        run_on(self.set, Product { a, b, c: scores, start: Start::Zero, pairs: self.pairs() });
    }

    /// Returns the context of a tile for one panel of a block.
    pub(super) fn tile_of<'b>(
        &self,
        tile: &Range<usize>,
        bias: &'b [f32],
        targets: &'b [(usize, usize)],
    ) -> TileContext<'b> {
        TileContext {
            first: tile.start,
            sub_centers: self.sub_centers,
            bounded: self.geometry.is_bounded(),
            bias: self.bias.is_some().then_some(bias),
            targets,
        }
    }
}

/// The scratch space of one thread.
pub(super) struct Scratch<'a> {
    /// The prototypes of the tile.
    pub(super) prototypes: Buffer<'a>,
    /// The prototypes as words of two neighboring columns of bf16.
    by_column: Buffer<'a>,
    /// The prototypes as words of two neighboring rows of bf16.
    pub(super) by_row: Buffer<'a>,
    /// The derivatives of transformed negatives.
    pub(super) slopes: Buffer<'a>,
    /// Slopes as words of bf16.
    pub(super) paired: Buffer<'a>,
    /// `1 / |w|`, or 1 if prototypes are not normalized.
    pub(super) inverse: Vec<f64>,
    pub(super) bias: Vec<f32>,
    /// True if all prototypes so far were finite and none was too large.
    pub(super) all_finite: bool,
    /// The number of prototypes of the tile.
    pub(super) count: usize,
}

/// Returns the part of a panel of the derivatives of transformed negatives; empty without a transform.
pub(super) fn slopes_of_panel(slopes: &mut [Line], panel: usize, count: usize) -> &mut [Line] {
    if slopes.is_empty() { &mut [] } else { &mut slopes[panel * count..][..count] }
}

/// The bound of the entries of prototypes that are not normalized. Larger ones take the unfused path, since sums of
/// exponentials up to `e^20` times such entries could overflow.
const LARGE: f32 = 1e20;

/// The check that all entries are finite and below [`LARGE`] in absolute value.
struct AreBelowLimit<'a>(&'a [Line]);

impl Work for AreBelowLimit<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<I: Instructions>(self) -> bool {
        let mut invalid = [0.0_f32; LINE];
        for line in self.0 {
            for l in 0..LINE {
                invalid[l] = if line.0[l].abs() < LARGE { invalid[l] } else { 1.0 };
            }
        }
        invalid.iter().all(|invalid| *invalid == 0.0)
    }
}

/// The gradient of one score, computed in f64 outside the products: that of a row's target, or of its hardest negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExactGradient {
    pub(super) position: usize,
    pub(super) row: usize,
    /// The derivative of the loss with respect to the score.
    pub(super) slope: f64,
    pub(super) score: f64,
    pub(super) weight_norm: f64,
    /// The derivative with respect to the norm of the prototype, with the score held fixed.
    pub(super) by_weight_norm: f64,
}

impl ExactGradient {
    /// Adds `slope dz/dx` to the gradient of the row.
    pub(super) fn add_to_embedding(&self, operands: &ScoreOperands<'_>, norm: f64, gradient: &mut [f64]) {
        let w = contiguous(operands.weight.row(operands.positions.prototype(self.position)));
        let x = contiguous(operands.embeddings.row(self.row));
        let of_w = if operands.geometry.normalizes_weights() { divisor(self.weight_norm) } else { 1.0 };
        let (of_x, along) = if operands.geometry.normalizes_embeddings() {
            (inverse(norm), self.score * divisor(norm))
        } else {
            (1.0, 0.0)
        };
        let slope = self.slope * of_x;
        add_two(operands.set, gradient, [slope * of_w, -slope * along], [&w, &x]);
    }

    /// Adds `slope dz/dw`, and the radial part through the norm, to the gradient of the prototype.
    pub(super) fn add_to_prototype(
        &self,
        sweep: &Sweep<'_>,
        x: ArrayView1<'_, f32>,
        norm: f64,
        w: &[f32],
        gradient: &mut [f32],
    ) {
        let of_x = factor_of_row(sweep.geometry, norm);
        let (of_w, along) = if sweep.geometry.normalizes_weights() {
            (inverse(self.weight_norm), self.score * divisor(self.weight_norm))
        } else {
            (1.0, 0.0)
        };
        let radial = self.by_weight_norm * inverse(self.weight_norm);
        let slope = self.slope * of_w;
        add_two_short(sweep.set, gradient, [slope * of_x, radial - slope * along], [&contiguous(x), w]);
    }
}

/// Returns true if the gradient needs products with the slopes of all negatives.
pub(super) fn has_products(kind: SweepKind) -> bool {
    kind != SweepKind::Largest
}
