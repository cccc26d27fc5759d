//! What the two sweeps over the classes share: the batch in panels, and the work on one tile of prototypes.

#![expect(clippy::needless_range_loop, reason = "the lanes of several lines at once")]

use super::arithmetic::{add_two, add_two_short, dot};
use super::memory::{Buffer, Memory};
use super::options::Precision;
use super::panels::{Panels, PutRow, pair_columns, pair_rows, panels_of, put_columns};
use super::product::{Product, Start};
use super::rows::{HeadRows, Operands, divisor, inverse};
use super::sampling::Positions;
use super::tile::{Look, PanelRows, TileOf};
use crate::axes::geometry::Geometry;
use crate::buffer::contiguous;
use crate::rows::SweepKind;
use crate::simd::{InstructionSet, Instructions, LINE, Line, Work, prefetch, run_on};
use ndarray::{ArrayView1, ArrayView2, Axis};
use std::ops::Range;

/// What no tile and no row changes.
pub(super) struct Sweep<'a> {
    pub(super) set: InstructionSet,
    pub(super) precision: Precision,
    pub(super) geometry: Geometry,
    pub(super) sub_centers: usize,
    pub(super) look: Look,
    /// Whether negatives are bent.
    pub(super) bends: bool,
    pub(super) positions: Positions<'a>,
    pub(super) bias: Option<ArrayView1<'a, f32>>,
    /// D
    pub(super) width: usize,
    pub(super) memory: &'a Memory,
}

/// Some rows of the weight matrix.
#[derive(Clone, Copy)]
pub(super) struct Prototypes<'a> {
    pub(super) rows: ArrayView2<'a, f32>,
    /// The number of the first of them.
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

/// A block of rows, ready for the products with any tile.
pub(super) struct Block<'a> {
    pub(super) rows: Range<usize>,
    /// `x^` or `x` transposed: a row a number of the embeddings, or a pair of them, and a column a row of the batch.
    columns: Buffer<'a>,
    words: usize,
    /// What each panel of sixteen rows brings to every tile.
    pub(super) panels: Vec<PanelRows>,
    /// The targets of its rows: first position of the class, and row in the block; by position.
    targets: Vec<(usize, usize)>,
}

impl Block<'_> {
    /// Rows with those that fill the last panel.
    pub(super) fn padded(&self) -> usize {
        self.rows.len().next_multiple_of(LINE)
    }

    /// The targets in a tile by panel: lane, and first line of the class.
    pub(super) fn targets_in(&self, tile: &Range<usize>, by_panel: &mut Vec<Vec<(usize, usize)>>) {
        by_panel.resize(self.panels.len(), Vec::new());
        by_panel.iter_mut().for_each(Vec::clear);
        let first = self.targets.partition_point(|(position, _)| *position < tile.start);
        for &(position, row) in self.targets[first..].iter().take_while(|(position, _)| *position < tile.end) {
            by_panel[row / LINE].push((row % LINE, position - tile.start));
        }
    }
}

/// What embeddings are multiplied by before products: their inverse norm under the cosine.
pub(super) fn factor_of_row(geometry: Geometry, norm: f64) -> f64 {
    if geometry.normalizes_embeddings() { divisor(norm) } else { 1.0 }
}

impl<'a> Sweep<'a> {
    pub(super) fn pairs(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// Panels of the embeddings.
    pub(super) fn width_panels(&self) -> usize {
        panels_of(self.width)
    }

    /// Columns of words, in whole panels, of a matrix that is a left factor and has so many columns.
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
            put_columns(&of_panel, &factors, lines);
        }
        let columns = if self.pairs() {
            let mut paired = self.memory.take(padded / LINE * words);
            pair_rows(Panels::new(&columns, numbers), words, &mut paired);
            paired
        } else {
            columns
        };
        let of_panel = |panel: usize| PanelRows::of(rows, self.look.kind, range.start + panel * LINE);
        let in_range = rows.targets[range.clone()].iter().enumerate();
        let mut targets: Vec<(usize, usize)> =
            in_range.filter_map(|(row, target)| target.as_ref().map(|target| (target.first, row))).collect();
        targets.sort_unstable();
        Block { panels: (0..padded / LINE).map(of_panel).collect(), rows: range, columns, words, targets }
    }

    /// Rows of a block in panels, each times a number (and the inverse norm of its embedding, under the cosine): the
    /// right factor of the gradient by prototypes.
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
            // Beyond single precision its largest number, as in the plain code: infinity would make NaN of a slope of
            // 0.
            let most = f64::from(f32::MAX);
            let factor = (factor(number) * factor_of_row(self.geometry, rows.norms[number])).clamp(-most, most);
            let values = &contiguous(embeddings.row(number));
            run_on(self.set, PutRow { values, factor, row, rows: numbers, panels: &mut panels });
        }
        if !self.pairs() {
            return panels;
        }
        let mut paired = self.memory.take(self.width_panels() * numbers / 2);
        pair_rows(Panels::new(&panels, numbers), numbers / 2, &mut paired);
        paired
    }

    /// Room for a tile of at most so many prototypes against blocks of at most so many rows.
    pub(super) fn room(&self, tile: usize, rows: usize) -> Room<'a> {
        let rows = rows.next_multiple_of(LINE);
        let pairs = self.pairs();
        let words = |lines: usize| if pairs { lines } else { 0 };
        Room {
            prototypes: self.memory.take(self.width_panels() * tile),
            by_column: self.memory.take(words(self.word_panels(self.width) * tile)),
            by_row: self.memory.take(words(self.width_panels() * tile.div_ceil(2))),
            slopes: self.memory.take(if self.bends { panels_of(rows) * tile } else { 0 }),
            paired: self
                .memory
                .take(words((panels_of(rows) * tile.div_ceil(2)).max(panels_of(rows).div_ceil(2) * tile))),
            inverse: vec![1.0; tile],
            bias: vec![0.0; tile],
            sound: true,
            count: 0,
        }
    }

    /// Puts the prototypes of a tile into the room: unit vectors where the geometry says so.
    pub(super) fn enter(&self, room: &mut Room<'_>, weight: Prototypes<'_>, tile: &Range<usize>) {
        let count = tile.len();
        room.count = count;
        for (row, position) in tile.clone().enumerate() {
            let prototype = self.positions.prototype(position);
            let values = contiguous(weight.row(prototype));
            if position + 1 < tile.end
                && let Some(next) = weight.row(self.positions.prototype(position + 1)).to_slice()
            {
                prefetch(next);
            }
            let length = if self.geometry.normalizes_weights() { dot(self.set, &values, &values).sqrt() } else { 1.0 };
            room.inverse[row] = inverse(length);
            room.sound &= length.is_finite();
            let factor = divisor(length);
            run_on(self.set, PutRow { values: &values, factor, row, rows: count, panels: &mut room.prototypes });
            if let Some(bias) = self.bias {
                room.bias[row] = bias[prototype];
            }
        }
        if !self.geometry.normalizes_weights() {
            room.sound &= run_on(self.set, AreModest(&room.prototypes[..self.width_panels() * count]));
        }
        if self.pairs() {
            let prototypes = Panels::new(&room.prototypes[..self.width_panels() * count], count);
            pair_columns(prototypes, &mut room.by_column[..self.word_panels(self.width) * count]);
            let half = count.div_ceil(2);
            pair_rows(prototypes, half, &mut room.by_row[..self.width_panels() * half]);
        }
    }

    /// The scores of the tile in the room against a block, before anything is done to them.
    pub(super) fn product_of(&self, room: &Room<'_>, block: &Block<'_>, scores: &mut [Line]) {
        let a = if self.pairs() { &room.by_column[..] } else { &room.prototypes[..] };
        let a = Panels::new(&a[..self.word_panels(self.width) * room.count], room.count);
        let b = Panels::new(&block.columns, block.words);
        run_on(self.set, Product { a, b, c: scores, start: Start::Zero, pairs: self.pairs() });
    }

    /// What a tile is to one panel of a block.
    pub(super) fn tile_of<'b>(
        &self,
        tile: &Range<usize>,
        bias: &'b [f32],
        targets: &'b [(usize, usize)],
    ) -> TileOf<'b> {
        TileOf {
            first: tile.start,
            sub_centers: self.sub_centers,
            bounded: self.geometry.is_bounded(),
            bias: self.bias.is_some().then_some(bias),
            targets,
        }
    }
}

/// What one thread works with.
pub(super) struct Room<'a> {
    /// The prototypes of the tile.
    pub(super) prototypes: Buffer<'a>,
    /// The same as words of bf16: neighboring columns, and neighboring rows.
    by_column: Buffer<'a>,
    pub(super) by_row: Buffer<'a>,
    /// Of bent negatives.
    pub(super) slopes: Buffer<'a>,
    /// Slopes as words of bf16.
    pub(super) paired: Buffer<'a>,
    /// `1 / |w|`, or 1 where prototypes keep their norm.
    pub(super) inverse: Vec<f64>,
    pub(super) bias: Vec<f32>,
    /// Whether all prototypes so far were finite.
    pub(super) sound: bool,
    /// Prototypes of the tile.
    pub(super) count: usize,
}

/// The part of a panel of the room for slopes of bent negatives; none where nothing is bent.
pub(super) fn slopes_of_panel(slopes: &mut [Line], panel: usize, count: usize) -> &mut [Line] {
    if slopes.is_empty() { &mut [] } else { &mut slopes[panel * count..][..count] }
}

/// Entries of prototypes that keep their norm, from here on left to the plain code: sums of exponentials up to `e^20`
/// times such numbers could overflow.
const LARGE: f32 = 1e20;

/// Whether all numbers are finite, and none is large.
struct AreModest<'a>(&'a [Line]);

impl Work for AreModest<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<I: Instructions>(self) -> bool {
        let mut odd = [0.0_f32; LINE];
        for line in self.0 {
            for l in 0..LINE {
                odd[l] = if line.0[l].abs() < LARGE { odd[l] } else { 1.0 };
            }
        }
        odd.iter().all(|odd| *odd == 0.0)
    }
}

/// A score and what is pulled along it, in f64: the target of a row, or its one negative that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pull {
    pub(super) position: usize,
    pub(super) row: usize,
    /// The slope by the score.
    pub(super) slope: f64,
    pub(super) score: f64,
    pub(super) weight_norm: f64,
    /// The slope by the norm of the prototype, beside that through the score.
    pub(super) by_weight_norm: f64,
}

impl Pull {
    /// Adds `slope dz/dx` to the gradient of the row.
    pub(super) fn add_to_embedding(&self, operands: &Operands<'_>, norm: f64, gradient: &mut [f64]) {
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

    /// Adds `slope dz/dw`, and what goes along the prototype, to the gradient of the prototype.
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

/// Whether products of negatives' slopes are needed at all.
pub(super) fn has_products(kind: SweepKind) -> bool {
    kind != SweepKind::Largest
}
