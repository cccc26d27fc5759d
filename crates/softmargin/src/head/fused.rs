//! A head in two sweeps over the classes, in `f32`.

use super::arithmetic::{AddPanels, FinishRow};
use super::barrier::{Barrier, Shared};
use super::batch::HeadBatch;
use super::chunk::Chunk;
use super::first_sweep::{FirstSweep, Store, stored_lines};
use super::memory::{Buffer, Memory};
use super::options::{HeadOptions, Mode, Precision};
use super::result::{Distribution, HeadValue, LearnedGradients, RowStatistics};
use super::rows::{HeadRows, Operands, divisor, inverse};
use super::sampling::Positions;
use super::second_sweep::{Goal, Kept, Second, SecondSweep};
use super::sweep::{Block, Prototypes, Sweep, has_products};
use super::tile::Look;
use super::tiling::{self, Shard};
use crate::axes::negatives::Negatives;
use crate::buffer::contiguous;
use crate::error::{Error, ErrorKind, Result};
use crate::loss::Loss;
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::SweepKind;
use crate::rows::{Learned, RowTotals};
use crate::simd::{LINE, Line, run_on};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Products below which threads cost more than they bring.
const WORTH_THREADS: usize = 1 << 21;

/// Whether a batch is worth threads.
fn is_worth_threads(rows: usize, prototypes: usize, width: usize) -> bool {
    rows.saturating_mul(prototypes).saturating_mul(width.max(1)) >= WORTH_THREADS
}

/// Computes among the threads where that is worth it: all parts of a call then begin without waking anyone.
pub(super) fn among_threads<R: Send>([rows, prototypes, width]: [usize; 3], compute: impl FnOnce() -> R + Send) -> R {
    if is_worth_threads(rows, prototypes, width) { rayon::scope(|_| compute()) } else { compute() }
}

/// A head that is to be computed.
pub(super) struct Request<'a> {
    pub(super) loss: &'a Loss,
    pub(super) options: &'a HeadOptions,
    pub(super) memory: &'a Memory,
    pub(super) batch: HeadBatch<'a, f32>,
    pub(super) bias: Option<ArrayView1<'a, f32>>,
    pub(super) learned: Learned,
    pub(super) reduction: Reduction,
    /// The size of a tile, if a test wants another.
    pub(super) tile: Option<usize>,
}

/// A head whose first sweep is over: all that can be refused has been.
pub(super) struct Begun<'a> {
    request: Request<'a>,
    sweep: Sweep<'a>,
    rows: HeadRows,
    blocks: Vec<Block<'a>>,
    shards: Vec<Shard>,
    first: Vec<FirstSweep<'a>>,
    mode: Mode,
    store: Buffer<'a>,
    barrier: Barrier,
    /// What rows in chunks have given to the prototypes and their bias.
    raw: Option<(Buffer<'a>, Vec<f64>)>,
    value: HeadValue<f32>,
    totals: RowTotals,
    /// (N, D): what pulls give to the embeddings.
    pulled: Array2<f64>,
}

/// Whether a loss smooths labels: what that takes off every negative is known only when all sums are.
fn smooths(loss: &Loss) -> bool {
    loss.spec().comparison.cross_entropy_options().is_some_and(|(label_smoothing, _)| label_smoothing > 0.0)
}

/// What is kept between the sweeps of so many rows and prototypes.
fn resolve(options: &HeadOptions, loss: &Loss, rows: usize, prototypes: usize, width: usize) -> Result<Mode> {
    let stores_nothing = smooths(loss) || !has_products(SweepKind::of(loss.spec().comparison));
    let half = options.precision == Precision::Bf16;
    let bytes = |half| (stored_lines(prototypes, rows, half) * size_of::<Line>()) as u64;
    let fits = |half| bytes(half) <= options.memory.saturating_sub(HeadOptions::LEAST_MEMORY);
    let many_rows = rows >= tiling::MANY_ROWS && prototypes * width <= tiling::FEW_NUMBERS;
    let named = match options.mode {
        Mode::Auto if many_rows => return Ok(Mode::RowChunked),
        Mode::Auto | Mode::Store | Mode::StoreHalf if stores_nothing => return Ok(Mode::Recompute),
        Mode::Auto if half && fits(true) => return Ok(Mode::StoreHalf),
        Mode::Auto if !half && fits(false) => return Ok(Mode::Store),
        Mode::Auto => return Ok(Mode::Recompute),
        named => named,
    };
    let of_half = named == Mode::StoreHalf;
    if !matches!(named, Mode::Store | Mode::StoreHalf) || fits(of_half) {
        return Ok(named);
    }
    let needed = bytes(of_half) + HeadOptions::LEAST_MEMORY;
    let expected = format!("at least {needed} bytes for {named:?} of {rows} x {prototypes} scores");
    let advice = "allow more, or take the mode recompute, which keeps no scores";
    Err(Error::new(ErrorKind::Spec, "memory", expected, options.memory.to_string(), advice))
}

impl<'a> Request<'a> {
    /// The first sweep. `None` where a score is not finite: the plain code knows what to say or to do about it.
    pub(super) fn begin(self, weight: ArrayView2<'_, f32>, gradients: bool) -> Result<Option<Begun<'a>>> {
        let Self { loss, options, memory, batch, bias, learned, reduction, tile } = self;
        let weight = weight.reborrow();
        let spec = loss.spec();
        let positions = Positions::new(batch.sampled, loss.num_classes(), spec.sub_centers);
        let operands = Operands {
            set: loss.instruction_set(),
            geometry: spec.geometry,
            embeddings: batch.embeddings.reborrow(),
            weight,
            bias: bias.map(ArrayView1::reborrow),
            positions,
        };
        let Some(rows) = HeadRows::prepare(loss, &batch, learned, &operands)? else { return Ok(None) };
        let (count, width) = batch.embeddings.dim();
        let mode = if gradients { resolve(options, loss, count, positions.count(), width)? } else { Mode::Recompute };
        let kind = SweepKind::of(spec.comparison);
        let sweep = Sweep {
            set: loss.instruction_set(),
            precision: options.precision,
            geometry: spec.geometry,
            sub_centers: spec.sub_centers,
            look: Look { kind, smooths: smooths(loss), statistics: options.statistics },
            bends: spec.negatives != Negatives::Plain,
            positions,
            bias,
            width,
            memory,
        };
        let by_rows = mode == Mode::RowChunked;
        let blocks: Vec<Block<'a>> = tiling::blocks(count, by_rows)
            .into_iter()
            .map(|range| sweep.block(&rows, batch.embeddings, range))
            .collect();
        let shards = tiling::shards(positions.count(), spec.sub_centers, count, width, tile, by_rows);
        let mut store = memory.take(store_lines(mode, &shards, &blocks));
        let prototypes = Prototypes { rows: weight, first: 0 };
        let parallel = is_worth_threads(count, positions.count(), width);
        let shared = Shared {
            loss,
            rows: &rows,
            operands,
            kind,
            factor: reduction.factor(rows.plan.total_weight()),
            positions: positions.count(),
            statistics: options.statistics,
        };
        let (first, barrier, raw) = if let (true, [shard]) = (by_rows, &shards[..]) {
            let Some(all) = sweep.by_rows(&shared, batch.embeddings.reborrow(), shard, prototypes, &blocks, gradients)
            else {
                return Ok(None);
            };
            (vec![all.first], all.barrier, all.raw)
        } else {
            let first = each(parallel, tasks_of(mode, &shards, &blocks, &mut store), |(shard, store)| {
                sweep.first(shard, prototypes, &blocks, store)
            });
            let Some(barrier) = Barrier::reach(&shared, &blocks, &first) else { return Ok(None) };
            (first, barrier, None)
        };
        let totals = rows.plan.totals(&barrier.outcomes, reduction);
        let value = value_of(options, &totals, &rows, &barrier, positions);
        let mut pulled = Array2::zeros(if gradients { (count, width) } else { (0, 0) });
        if gradients {
            let mut by_row = vec![Vec::new(); count];
            barrier.pulls.iter().for_each(|pull| by_row[pull.row].push(*pull));
            let gradients = pulled.axis_iter_mut(Axis(0)).into_par_iter().zip(by_row).with_min_len(16);
            gradients.enumerate().for_each(|(row, (gradient, pulls))| {
                let gradient = gradient.into_slice().expect("a fresh array lies in order");
                pulls.iter().for_each(|pull| pull.add_to_embedding(&operands, rows.norms[row], gradient));
            });
        }
        Ok(Some(Begun {
            request: self,
            sweep,
            rows,
            blocks,
            shards,
            first,
            mode,
            store,
            barrier,
            raw,
            value,
            totals,
            pulled,
        }))
    }
}

/// Lines of the store of all shards.
fn store_lines(mode: Mode, shards: &[Shard], blocks: &[Block<'_>]) -> usize {
    shards.iter().map(|shard| store_lines_of(mode, shard, blocks)).sum()
}

fn store_lines_of(mode: Mode, shard: &Shard, blocks: &[Block<'_>]) -> usize {
    let of = |half| blocks.iter().map(|block| stored_lines(shard.positions.len(), block.padded(), half)).sum();
    match mode {
        Mode::Store => of(false),
        Mode::StoreHalf => of(true),
        _ => 0,
    }
}

/// Every shard with its part of the store.
fn tasks_of<'s>(
    mode: Mode,
    shards: &'s [Shard],
    blocks: &[Block<'_>],
    store: &'s mut [Line],
) -> Vec<(&'s Shard, Store<'s>)> {
    let mut rest = store;
    let of = |shard: &'s Shard| {
        let (own, after) = std::mem::take(&mut rest).split_at_mut(store_lines_of(mode, shard, blocks));
        rest = after;
        let store = match mode {
            Mode::Store => Store::Whole(own),
            Mode::StoreHalf => Store::Half(own),
            _ => Store::Nothing,
        };
        (shard, store)
    };
    shards.iter().map(of).collect()
}

/// What comes of every task, in order.
fn each<T: Send, R: Send>(parallel: bool, tasks: Vec<T>, compute: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if parallel {
        tasks.into_par_iter().with_max_len(1).map(compute).collect()
    } else {
        tasks.into_iter().map(compute).collect()
    }
}

/// The value of the batch.
fn value_of(
    options: &HeadOptions,
    totals: &RowTotals,
    rows: &HeadRows,
    barrier: &Barrier,
    positions: Positions<'_>,
) -> HeadValue<f32> {
    let class = |position: usize| i64::try_from(positions.class(position)).unwrap_or(-1);
    let column = |of: &dyn Fn(&super::barrier::RowSummary) -> f64| -> Array1<f32> {
        barrier.summaries.iter().map(|summary| f32::round_from(of(summary))).collect()
    };
    let statistics = RowStatistics {
        target_score: rows.target_scores().into_iter().map(f32::round_from).collect(),
        top: barrier.summaries.iter().map(|summary| summary.top_position.map_or(-1, class)).collect(),
        distribution: options.statistics.then(|| Distribution {
            log_sum_exp: column(&|summary| summary.log_sum_exp),
            entropy: column(&|summary| summary.entropy),
        }),
    };
    HeadValue::of(totals.value(), statistics)
}

impl<'a> Begun<'a> {
    pub(super) fn value(self) -> HeadValue<f32> {
        self.value
    }

    /// Where the chunks of the shards begin among all prototypes, and where the last ends.
    pub(super) fn starts(&self, prototypes: usize) -> Vec<usize> {
        let firsts = self.shards.iter().skip(1).map(|shard| self.sweep.positions.prototype(shard.positions.start));
        let mut starts: Vec<usize> = std::iter::once(0).chain(firsts).collect();
        starts.push(prototypes);
        starts
    }

    /// The second sweep: every chunk takes the rows of its shard, and the gradient by the embeddings is written. The
    /// weight's gradient is where the chunks have put it.
    pub(super) fn finish(
        self,
        chunks: Vec<Chunk<'_>>,
        mut embeddings: ArrayViewMut2<'_, f32>,
    ) -> (HeadValue<f32>, LearnedGradients<f32>) {
        let batch = self.request.batch;
        let stored = matches!(self.mode, Mode::Store | Mode::StoreHalf);
        let recomputes = !stored && self.raw.is_none() && has_products(self.sweep.look.kind);
        let plain: Vec<Buffer<'_>> = self
            .blocks
            .iter()
            .filter(|_| recomputes)
            .map(|block| self.sweep.weighted_rows(&self.rows, batch.embeddings, block, &|_| 1.0))
            .collect();
        let second = Second {
            rows: &self.rows,
            embeddings: batch.embeddings,
            blocks: &self.blocks,
            barrier: &self.barrier,
            plain: &plain,
        };
        let mut rest = &self.store[..];
        let mut tasks = Vec::new();
        for ((shard, first), chunk) in self.shards.iter().zip(&self.first).zip(chunks) {
            let (own, after) = rest.split_at(store_lines_of(self.mode, shard, &self.blocks));
            rest = after;
            let kept = match self.mode {
                Mode::Store if has_products(self.sweep.look.kind) => Kept::Whole(first, own),
                Mode::StoreHalf if has_products(self.sweep.look.kind) => Kept::Half(first, own),
                _ => Kept::Nothing,
            };
            tasks.push((shard, kept, chunk));
        }
        let (count, width) = batch.embeddings.dim();
        let parallel = is_worth_threads(count, self.sweep.positions.count(), width);
        let seconds = each(parallel, tasks, |(shard, kept, mut chunk)| match &self.raw {
            Some((raw, bias)) => self.sweep.finish_gathered(shard, &second, raw, bias.clone(), &mut chunk),
            None => self.sweep.second(shard, &second, kept, Goal::Finish(&mut chunk)),
        });
        let bias = self.bias_gradient(&seconds);
        self.finish_embeddings(&seconds, &mut embeddings);
        let (scale, radius) = (f32::round_from(self.totals.scale), f32::round_from(self.totals.radius));
        (self.value, LearnedGradients { bias, scale, radius })
    }

    /// By the bias of every prototype; empty without one.
    fn bias_gradient(&self, seconds: &[SecondSweep<'_>]) -> Array1<f32> {
        let Some(bias) = self.sweep.bias else { return Array1::zeros(0) };
        let mut gradient = Array1::zeros(bias.len());
        for (shard, second) in self.shards.iter().zip(seconds) {
            for (position, &slope) in shard.positions.clone().zip(&second.bias) {
                gradient[self.sweep.positions.prototype(position)] = f32::round_from(slope);
            }
        }
        gradient
    }

    /// Adds up what the shards give to each embedding, in their order.
    fn finish_embeddings(&self, seconds: &[SecondSweep<'_>], gradient: &mut ArrayViewMut2<'_, f32>) {
        let width = self.sweep.width;
        for (number, block) in self.blocks.iter().enumerate() {
            let padded = block.padded();
            let rows = gradient.axis_iter_mut(Axis(0)).skip(block.rows.start).take(block.rows.len());
            let work = |(index, mut out): (usize, ArrayViewMut1<'_, f32>)| {
                let row = block.rows.start + index;
                let mut sum = vec![0.0_f64; width];
                for (first, second) in self.first.iter().zip(seconds) {
                    let found = &first.found[number];
                    let (sums, factor) = match (&found.sums, second.sums.get(number)) {
                        (Some(sums), _) if found.is_final => (sums, 1.0),
                        (Some(sums), _) => {
                            (sums, self.factor_of(row, &found.panels[index / LINE].reference, index % LINE))
                        }
                        (None, Some(sums)) => (sums, 1.0),
                        (None, None) => continue,
                    };
                    run_on(self.sweep.set, AddPanels { sum: &mut sum, panels: sums, rows: padded, row: index, factor });
                }
                self.finish_row(row, &sum, &mut out);
            };
            let tasks: Vec<_> = rows.enumerate().collect();
            if tasks.len() * width * self.shards.len() < WORTH_THREADS / 64 {
                tasks.into_iter().for_each(work);
            } else {
                tasks.into_par_iter().for_each(work);
            }
        }
    }

    /// What the stored slopes of a row are multiplied by, relative to the last reference of a shard.
    fn factor_of(&self, row: usize, reference: &Line, lane: usize) -> f64 {
        let slope = self.barrier.slope(row);
        if slope == 0.0 || self.sweep.look.kind != SweepKind::Exponentials {
            return slope;
        }
        slope * (self.rows.scale * (f64::from(reference.0[lane]) - self.barrier.found(row).reference)).exp()
    }

    /// The gradient of an embedding from what its negatives sum up to.
    fn finish_row(&self, row: usize, sum: &[f64], out: &mut ArrayViewMut1<'_, f32>) {
        let (x, of_x) = (contiguous(self.request.batch.embeddings.row(row)), inverse(self.rows.norms[row]));
        let unit = divisor(self.rows.norms[row]);
        let by_norm =
            self.totals.embedding_norms.as_ref().map_or(0.0, |by_norm| f64::from(f32::round_from(by_norm[row])));
        let (along, factor) =
            if self.sweep.geometry.normalizes_embeddings() { (unit * unit, of_x) } else { (0.0, 1.0) };
        let pulled = self.pulled.row(row).to_slice().expect("a fresh array lies in order");
        let finish = |out: &mut [f32]| {
            run_on(self.sweep.set, FinishRow { sum, x: &x, along, factor, pulled, radial: by_norm * of_x, out });
        };
        if let Some(out) = out.as_slice_mut() {
            finish(out);
            return;
        }
        let mut copy = vec![0.0; out.len()];
        finish(&mut copy);
        out.assign(&ArrayView1::from(&copy));
    }
}
