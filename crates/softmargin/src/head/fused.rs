//! The fused computation of a head: two sweeps over the classes, in `f32`.

use super::arithmetic::{AddPanels, FinishRow};
use super::barrier::{Barrier, BatchContext};
use super::batch::HeadBatch;
use super::chunk::Chunk;
use super::first_sweep::{FirstSweep, Store, stored_lines};
use super::memory::{Buffer, Memory};
use super::options::{HeadOptions, Mode, Precision};
use super::result::{Distribution, HeadValue, LearnedGradients, RowStatistics};
use super::rows::{HeadRows, ScoreOperands, divisor, inverse};
use super::sampling::Positions;
use super::second_sweep::{GradientDestination, SecondSweep, SecondSweepInputs, StoredSlopes};
use super::sweep::{Block, Prototypes, Sweep, has_products};
use super::tile::FirstSweepWork;
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

/// The number of multiply-adds from which threads pay off.
const WORTH_THREADS: usize = 1 << 21;

/// Returns true if threads pay off for a batch.
fn is_worth_threads(rows: usize, prototypes: usize, width: usize) -> bool {
    rows.saturating_mul(prototypes).saturating_mul(width.max(1)) >= WORTH_THREADS
}

/// Runs a computation inside the thread pool if threads pay off. Its parallel parts then start without waking threads.
pub(super) fn among_threads<R: Send>([rows, prototypes, width]: [usize; 3], compute: impl FnOnce() -> R + Send) -> R {
    if is_worth_threads(rows, prototypes, width) { rayon::scope(|_| compute()) } else { compute() }
}

/// A call to a head that takes the fused path.
pub(super) struct FusedCall<'a> {
    pub(super) loss: &'a Loss,
    pub(super) options: &'a HeadOptions,
    pub(super) memory: &'a Memory,
    pub(super) batch: HeadBatch<'a, f32>,
    pub(super) bias: Option<ArrayView1<'a, f32>>,
    pub(super) learned: Learned,
    pub(super) reduction: Reduction,
    /// The tile size that a test has set.
    pub(super) tile: Option<usize>,
}

/// A call whose first sweep is done. All inputs have been checked, so the rest cannot fail.
pub(super) struct FirstSweepDone<'a> {
    call: FusedCall<'a>,
    sweep: Sweep<'a>,
    rows: HeadRows,
    blocks: Vec<Block<'a>>,
    shards: Vec<Shard>,
    first: Vec<FirstSweep<'a>>,
    mode: Mode,
    store: Buffer<'a>,
    barrier: Barrier,
    /// Under [`Mode::RowChunked`], the gradients with respect to prototypes and bias, summed over the rows.
    raw: Option<(Buffer<'a>, Vec<f64>)>,
    value: HeadValue<f32>,
    totals: RowTotals,
    /// (N, D): the part of the gradient with respect to the embeddings that was computed in f64.
    exact_sums: Array2<f64>,
}

/// Returns true if a loss smooths labels. Final slopes then need the number of negatives, which only a whole sweep
/// finds.
fn smooths(loss: &Loss) -> bool {
    loss.spec().comparison.label_smoothing() > 0.0
}

/// Returns the mode for some rows and prototypes, with [`Mode::Auto`] resolved, or an error if it needs too much
/// memory.
fn resolve(options: &HeadOptions, loss: &Loss, rows: usize, prototypes: usize, width: usize) -> Result<Mode> {
    let stores_nothing = smooths(loss) || !has_products(SweepKind::of(loss.spec().comparison));
    let half = options.precision == Precision::Bf16;
    let bytes = |half| (stored_lines(prototypes, rows, half) * size_of::<Line>()) as u64;
    let fits = |half| bytes(half) <= options.memory.saturating_sub(HeadOptions::LEAST_MEMORY);
    let many_rows = rows >= tiling::MANY_ROWS && prototypes * width <= tiling::FEW_VALUES;
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
    let advice = "allow more, or use the mode recompute, which stores no scores";
    Err(Error::new(ErrorKind::Spec, "memory", expected, options.memory.to_string(), advice))
}

impl<'a> FusedCall<'a> {
    /// Runs the first sweep. `None` if a score is not finite: the unfused path then computes the limits or the error.
    pub(super) fn begin(self, weight: ArrayView2<'_, f32>, gradients: bool) -> Result<Option<FirstSweepDone<'a>>> {
        let Self { loss, options, memory, batch, bias, learned, reduction, tile } = self;
        let weight = weight.reborrow();
        let spec = loss.spec();
        let positions = Positions::new(batch.sampled, loss.num_classes(), spec.sub_centers);
        let operands = ScoreOperands {
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
            work: FirstSweepWork { kind, smooths: smooths(loss), statistics: options.statistics },
            transforms_negatives: spec.negatives != Negatives::Plain,
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
        let shared = BatchContext {
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
        let mut exact_sums = Array2::zeros(if gradients { (count, width) } else { (0, 0) });
        if gradients {
            let mut by_row = vec![Vec::new(); count];
            barrier.exact_gradients.iter().for_each(|exact_gradient| by_row[exact_gradient.row].push(*exact_gradient));
            let gradients = exact_sums.axis_iter_mut(Axis(0)).into_par_iter().zip(by_row).with_min_len(16);
            gradients.enumerate().for_each(|(row, (gradient, exact_gradients))| {
                let gradient = gradient.into_slice().expect("a fresh array is contiguous");
                exact_gradients
                    .iter()
                    .for_each(|exact_gradient| exact_gradient.add_to_embedding(&operands, rows.norms[row], gradient));
            });
        }
        Ok(Some(FirstSweepDone {
            call: self,
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
            exact_sums,
        }))
    }
}

/// Returns the number of lines of the store of all shards.
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

/// Returns every shard with its part of the store.
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

/// Computes all tasks, on all threads if `parallel`, and returns the results in order.
fn each<T: Send, R: Send>(parallel: bool, tasks: Vec<T>, compute: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if parallel {
        tasks.into_par_iter().with_max_len(1).map(compute).collect()
    } else {
        tasks.into_iter().map(compute).collect()
    }
}

/// Returns the value and the statistics of the batch.
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

impl<'a> FirstSweepDone<'a> {
    pub(super) fn value(self) -> HeadValue<f32> {
        self.value
    }

    /// Returns the start of the chunk of each shard among all prototypes, and the end of the last.
    pub(super) fn starts(&self, prototypes: usize) -> Vec<usize> {
        let firsts = self.shards.iter().skip(1).map(|shard| self.sweep.positions.prototype(shard.positions.start));
        let mut starts: Vec<usize> = std::iter::once(0).chain(firsts).collect();
        starts.push(prototypes);
        starts
    }

    /// Runs the second sweep. Every chunk receives the weight's gradient of its shard, and the gradient with respect to
    /// the embeddings is written to `embeddings`.
    pub(super) fn finish(
        self,
        chunks: Vec<Chunk<'_>>,
        mut embeddings: ArrayViewMut2<'_, f32>,
    ) -> (HeadValue<f32>, LearnedGradients<f32>) {
        let batch = self.call.batch;
        let stored = matches!(self.mode, Mode::Store | Mode::StoreHalf);
        let recomputes = !stored && self.raw.is_none() && has_products(self.sweep.work.kind);
        let plain: Vec<Buffer<'_>> = self
            .blocks
            .iter()
            .filter(|_| recomputes)
            .map(|block| self.sweep.weighted_rows(&self.rows, batch.embeddings, block, &|_| 1.0))
            .collect();
        let second = SecondSweepInputs {
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
            let stored = match self.mode {
                Mode::Store if has_products(self.sweep.work.kind) => StoredSlopes::Whole(first, own),
                Mode::StoreHalf if has_products(self.sweep.work.kind) => StoredSlopes::Half(first, own),
                _ => StoredSlopes::Nothing,
            };
            tasks.push((shard, stored, chunk));
        }
        let (count, width) = batch.embeddings.dim();
        let parallel = is_worth_threads(count, self.sweep.positions.count(), width);
        let seconds = each(parallel, tasks, |(shard, stored, mut chunk)| match &self.raw {
            Some((raw, bias)) => self.sweep.finish_gathered(shard, &second, raw, bias.clone(), &mut chunk),
            None => self.sweep.second(shard, &second, stored, GradientDestination::Finish(&mut chunk)),
        });
        let bias = self.bias_gradient(&seconds);
        self.finish_embeddings(&seconds, &mut embeddings);
        let (scale, radius) = (f32::round_from(self.totals.scale), f32::round_from(self.totals.radius));
        (self.value, LearnedGradients { bias, scale, radius })
    }

    /// Returns the gradient with respect to the bias of every prototype; empty without a bias.
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

    /// Adds up the gradients of each embedding over the shards, in order.
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

    /// Returns the factor of the stored slopes of a row, given the last reference of a shard.
    fn factor_of(&self, row: usize, reference: &Line, lane: usize) -> f64 {
        let slope = self.barrier.slope(row);
        if slope == 0.0 || self.sweep.work.kind != SweepKind::Exponentials {
            return slope;
        }
        slope * (self.rows.scale * (f64::from(reference.0[lane]) - self.barrier.found(row).reference)).exp()
    }

    /// Computes the gradient of an embedding from the sum over its negatives.
    fn finish_row(&self, row: usize, sum: &[f64], out: &mut ArrayViewMut1<'_, f32>) {
        let (x, of_x) = (contiguous(self.call.batch.embeddings.row(row)), inverse(self.rows.norms[row]));
        let unit = divisor(self.rows.norms[row]);
        let by_norm =
            self.totals.embedding_norms.as_ref().map_or(0.0, |by_norm| f64::from(f32::round_from(by_norm[row])));
        let (along, factor) =
            if self.sweep.geometry.normalizes_embeddings() { (unit * unit, of_x) } else { (0.0, 1.0) };
        let exact_sums = self.exact_sums.row(row).to_slice().expect("a fresh array is contiguous");
        let finish = |out: &mut [f32]| {
            run_on(self.sweep.set, FinishRow { sum, x: &x, along, factor, exact_sums, radial: by_norm * of_x, out });
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
