//! The step between the sweeps: from the accumulators of all shards to the loss and the factors of every row.

use super::first_sweep::FirstSweep;
use super::rows::{HeadRows, ScoreOperands};
use super::sweep::{Block, ExactGradient};
use super::tile::PanelSums;
use crate::axes::negatives::Negatives;
use crate::loss::Loss;
use crate::number::Real;
use crate::rows::comparison::{Outcome, outcome as outcome_of};
use crate::rows::{Accumulators, Exponentials, Present, RowOutcome, SweepKind};
use crate::simd::{ExpSums, GateSums, LINE, Sweeps};
use crate::smooth::softplus;

/// The accumulators of a row over all shards.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowAccumulators {
    /// The reference of the exponentials.
    pub(super) reference: f64,
    exponentials: ExpSums,
    gated: GateSums,
    present: Present,
    best: f32,
    best_position: u32,
    largest: f32,
    largest_position: u32,
    /// Exponentials of the negatives without transform, relative to `best`.
    plain: ExpSums,
}

impl RowAccumulators {
    /// Adds up the accumulators of one row over the shards, in order. `None` if a score is NaN or plus infinity.
    fn of<'a>(scale: f64, shards: impl Iterator<Item = &'a PanelSums> + Clone, lane: usize) -> Option<Self> {
        let mut found = Self {
            reference: f64::from(f32::MIN),
            exponentials: ExpSums::default(),
            gated: GateSums::default(),
            present: Present::default(),
            best: f32::NEG_INFINITY,
            best_position: 0,
            largest: f32::NEG_INFINITY,
            largest_position: 0,
            plain: ExpSums::default(),
        };
        for sums in shards.clone() {
            if sums.invalid.0[lane] > 0.0 {
                return None;
            }
            found.reference = found.reference.max(f64::from(sums.reference.0[lane]));
            if sums.best.0[lane] > found.best {
                (found.best, found.best_position) = (sums.best.0[lane], sums.best_position[lane]);
            }
            if sums.largest.0[lane] > found.largest {
                (found.largest, found.largest_position) = (sums.largest.0[lane], sums.largest_position[lane]);
            }
        }
        for sums in shards {
            let own = f64::from(sums.reference.0[lane]);
            let moved = sums.exponentials[lane].relative_to(scale * (own - found.reference));
            found.exponentials = found.exponentials.and(moved);
            found.gated = found.gated.and(sums.gated[lane]);
            let count = sums.present[lane] as usize;
            found.present.above_reference += sums.above_reference[lane] + count as f64 * (own - found.reference);
            found.present.count += count;
            let rise = f64::from(sums.best.0[lane]) - f64::from(found.best);
            if sums.best.0[lane] > f32::NEG_INFINITY {
                found.plain = found.plain.and(sums.plain[lane].relative_to(scale * rise));
            }
        }
        Some(found)
    }

    fn has_negatives(&self) -> bool {
        self.best > f32::NEG_INFINITY
    }
}

/// The statistics of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowSummary {
    pub(super) top_position: Option<usize>,
    pub(super) log_sum_exp: f64,
    pub(super) entropy: f64,
}

/// The results of the first sweep for consecutive rows: losses, and the factors of their derivatives.
pub(super) struct Barrier {
    /// The index of the first row.
    first: usize,
    pub(super) outcomes: Vec<RowOutcome>,
    found: Vec<RowAccumulators>,
    slopes: Vec<f64>,
    shares: Vec<f64>,
    /// Sorted by position, then by row.
    pub(super) exact_gradients: Vec<ExactGradient>,
    pub(super) summaries: Vec<RowSummary>,
}

/// The common inputs of all rows of a batch.
pub(super) struct BatchContext<'a> {
    pub(super) loss: &'a Loss,
    pub(super) rows: &'a HeadRows,
    pub(super) operands: ScoreOperands<'a>,
    pub(super) kind: SweepKind,
    /// The factor of the loss of every row, without its weight.
    pub(super) factor: f64,
    /// The number of prototypes that take part.
    pub(super) positions: usize,
    pub(super) statistics: bool,
}

impl Barrier {
    /// Computes the results of the rows of some blocks from the first sweep of all shards. `None` if a score is NaN or
    /// plus infinity.
    pub(super) fn reach(shared: &BatchContext<'_>, blocks: &[Block<'_>], shards: &[FirstSweep<'_>]) -> Option<Self> {
        if !shards.iter().all(|shard| shard.all_finite) {
            return None;
        }
        let mut barrier = Self::before(blocks.first().map_or(0, |block| block.rows.start));
        for (number, block) in blocks.iter().enumerate() {
            for (index, row) in block.rows.clone().enumerate() {
                let sums = shards.iter().map(|shard| &shard.found[number].panels[index / LINE]);
                let found = RowAccumulators::of(shared.rows.scale, sums, index % LINE)?;
                barrier.add(shared, row, found);
            }
        }
        barrier.exact_gradients.sort_by_key(|exact_gradient| (exact_gradient.position, exact_gradient.row));
        Some(barrier)
    }

    fn before(first: usize) -> Self {
        Self {
            first,
            outcomes: Vec::new(),
            found: Vec::new(),
            slopes: Vec::new(),
            shares: Vec::new(),
            exact_gradients: Vec::new(),
            summaries: Vec::new(),
        }
    }

    /// Concatenates the results of consecutive rows.
    pub(super) fn joined(parts: impl Iterator<Item = Self>) -> Self {
        let mut all = Self::before(0);
        for part in parts {
            all.outcomes.extend(part.outcomes);
            all.found.extend(part.found);
            all.slopes.extend(part.slopes);
            all.shares.extend(part.shares);
            all.exact_gradients.extend(part.exact_gradients);
            all.summaries.extend(part.summaries);
        }
        all.exact_gradients.sort_by_key(|exact_gradient| (exact_gradient.position, exact_gradient.row));
        all
    }

    pub(super) fn found(&self, row: usize) -> &RowAccumulators {
        &self.found[row - self.first]
    }

    /// Returns the factor of the slopes of the negatives of a row.
    pub(super) fn slope(&self, row: usize) -> f64 {
        self.slopes[row - self.first]
    }

    /// Returns the value that label smoothing subtracts from each of these slopes.
    pub(super) fn share(&self, row: usize) -> f64 {
        self.shares[row - self.first]
    }

    fn add(&mut self, shared: &BatchContext<'_>, row: usize, found: RowAccumulators) {
        let BatchContext { loss, rows, .. } = shared;
        self.found.push(found);
        let target = rows.targets[row].as_ref();
        self.summaries.push(summary(shared, row, &found));
        let Some(target) = target else {
            self.outcomes.push(RowOutcome::default());
            self.slopes.push(0.0);
            self.shares.push(0.0);
            return;
        };
        let classes = shared.positions / loss.spec().sub_centers;
        let is_alone = !found.has_negatives() && !matches!(shared.kind, SweepKind::Gated { against_zero: true, .. });
        let aim = target.target.aim(rows.scale);
        let mut negative = None;
        let outcome = if classes == 1 || is_alone {
            Outcome::default()
        } else {
            let accumulators = match shared.kind {
                SweepKind::Exponentials => Accumulators::Exponentials(Exponentials {
                    reference: found.reference,
                    sums: found.exponentials,
                    present: found.present,
                }),
                SweepKind::Gated { .. } => Accumulators::Gated(found.gated),
                SweepKind::Largest => {
                    let (score, exact, slope) = strongest(shared, row, &found);
                    negative = Some((exact, slope));
                    Accumulators::Largest(score)
                }
            };
            outcome_of(loss.spec().comparison, &aim, &accumulators)
        };
        // Rows without a target have returned above: the factor is NaN if no row is valid under a mean.
        let factor = shared.factor * rows.plan.row_weight(row) * rows.scale;
        let correct = top(shared, row, &found) == Some(target.exact.position);
        let row_outcome = rows.plan.outcome_of(&outcome.row, &target.target, correct);
        let by_norms = shared.factor * rows.plan.row_weight(row) * row_outcome.norm_slope();
        self.exact_gradients.push(ExactGradient {
            position: target.exact.position,
            row,
            slope: factor * outcome.row.target_slope * target.target.modified.slope,
            score: target.exact.score,
            weight_norm: target.exact.weight_norm,
            by_weight_norm: if loss.needs_weight_norms() { by_norms * rows.norms[row] } else { 0.0 },
        });
        if let Some((exact, slope)) = negative {
            self.exact_gradients.push(ExactGradient {
                position: exact.position,
                row,
                slope: factor * outcome.slope * slope,
                score: exact.score,
                weight_norm: exact.weight_norm,
                by_weight_norm: 0.0,
            });
        }
        self.outcomes.push(row_outcome);
        self.slopes.push(factor * outcome.slope);
        self.shares.push(factor * outcome.share);
    }
}

/// Computes the strongest negative of a row: its transformed score, its exact score, and the derivative of the
/// transform.
fn strongest(shared: &BatchContext<'_>, row: usize, found: &RowAccumulators) -> (f64, super::rows::ExactScore, f64) {
    let exact = shared.operands.exact(row, shared.rows.norms[row], found.largest_position as usize);
    let transform = shared.rows.targets[row].as_ref().and_then(|target| target.target.negatives);
    let (Some(transform), false) = (transform, shared.loss.spec().negatives == Negatives::Plain) else {
        return (exact.score, exact, 1.0);
    };
    let (mut value, mut slope) = ([0.0_f32], [0.0_f32]);
    let sweeps = Sweeps::<f32>::of(shared.loss.instruction_set());
    (sweeps.transform)(&[f32::round_from(exact.score)], transform, &mut value, &mut slope);
    (f64::from(value[0]), exact, f64::from(slope[0]))
}

/// Returns the position of the largest score of a row, the target included; the lowest on ties.
fn top(shared: &BatchContext<'_>, row: usize, found: &RowAccumulators) -> Option<usize> {
    let negative = found.has_negatives().then_some((found.best, found.best_position as usize));
    let target = shared.rows.targets[row].as_ref().map(|t| (f32::round_from(t.exact.score), t.exact.position));
    match (negative, target) {
        (Some((best, at)), Some((own, position))) if best > own || (best == own && at < position) => Some(at),
        (_, Some((_, position))) => Some(position),
        (negative, None) => negative.map(|(_, at)| at),
    }
}

/// Computes log-sum-exp and entropy of all scaled scores, without margin and transform.
fn summary(shared: &BatchContext<'_>, row: usize, found: &RowAccumulators) -> RowSummary {
    let top_position = top(shared, row, found);
    if !shared.statistics {
        return RowSummary { top_position, log_sum_exp: f64::NAN, entropy: f64::NAN };
    }
    let scale = shared.rows.scale;
    let (best, sums) = (f64::from(found.best), found.plain);
    let negatives = if found.has_negatives() { scale * best + sums.exp.ln() } else { f64::NEG_INFINITY };
    // The mean of the negatives' scaled scores under their softmax.
    let mean = if found.has_negatives() { scale * best + sums.weighted / sums.exp } else { 0.0 };
    let Some(target) = shared.rows.targets[row].as_ref() else {
        return RowSummary { top_position, log_sum_exp: negatives, entropy: negatives - mean };
    };
    let own = scale * target.exact.score;
    if !found.has_negatives() {
        return RowSummary { top_position, log_sum_exp: own, entropy: 0.0 };
    }
    let gap = negatives - own;
    let (of_negatives, of_own) = (crate::smooth::sigmoid(gap), crate::smooth::sigmoid(-gap));
    // H = p_y (-ln p_y) + (1 - p_y) (-ln(1 - p_y) + H of the negatives)
    let entropy = of_own * softplus(gap) + of_negatives * (softplus(-gap) + (negatives - mean));
    RowSummary { top_position, log_sum_exp: own + softplus(gap), entropy }
}
