//! The work on one tile of prototypes and one block of rows: scores, accumulators and slopes, sixteen rows at a time.
//!
//! A line has the scores of sixteen rows and one prototype. The properties of rows (reference, threshold of the
//! transform, sums) are lines too, and no sum runs across a line.

#![expect(clippy::needless_range_loop, reason = "the lanes of several lines at once")]

use super::rows::{HeadRows, HeadTarget};
use crate::axes::gate::Gate;
use crate::number::Real;
use crate::number::sealed::Functions;
use crate::rows::SweepKind;
use crate::simd::{ExpSums, GateSums, Instructions, LINE, Line, NegativeTransform};
use crate::simd::{curricular, hinge, misclassified, present, soft_hinge};

/// The number of classes that a sum in f32 runs over before it is added to the sum in f64.
const GROUP: usize = 32;

/// The scaled distance above the reference of its row from which a negative becomes the new reference. It is small
/// enough that neither exponentials overflow nor those of negatives equally far below lose digits.
const HEADROOM: f32 = 20.0;

/// The constants of sixteen rows in all tiles.
#[derive(Clone, Debug)]
pub(super) struct PanelRows {
    scale: f32,
    /// The argument of a gate is `scale ((z - reference) + shift)`.
    reference: Line,
    shift: Line,
    transform: PanelTransform,
}

/// The transform of the negatives of sixteen rows.
#[derive(Clone, Copy, Debug)]
enum PanelTransform {
    None,
    Misclassified { above: Line, factor: f32 },
    Curricular { above: Line, mean: f32 },
    DividedAngle { by: f32 },
}

impl PanelRows {
    /// Collects the constants of the sixteen rows from `first`. Ignored and padding rows get constants too, since their
    /// lanes are computed like all others.
    pub(super) fn of(rows: &HeadRows, kind: SweepKind, first: usize) -> Self {
        let at = |l: usize| rows.targets.get(first + l).and_then(Option::as_ref);
        let line = |of: &dyn Fn(&HeadTarget) -> f32| Line(std::array::from_fn(|l| at(l).map_or(0.0, of)));
        let pairs = matches!(kind, SweepKind::Gated { against_zero: false, .. });
        let above = |target: &HeadTarget| match target.target.negatives {
            Some(NegativeTransform::Misclassified { above, .. } | NegativeTransform::Curricular { above, .. }) => above,
            Some(NegativeTransform::DividedAngle { .. }) | None => f32::INFINITY,
        };
        let transform = match rows.targets.iter().flatten().find_map(|target| target.target.negatives) {
            None => PanelTransform::None,
            Some(NegativeTransform::Misclassified { factor, .. }) => {
                PanelTransform::Misclassified { above: line(&above), factor }
            }
            Some(NegativeTransform::Curricular { mean, .. }) => {
                PanelTransform::Curricular { above: line(&above), mean }
            }
            Some(NegativeTransform::DividedAngle { by }) => PanelTransform::DividedAngle { by },
        };
        Self {
            scale: f32::round_from(rows.scale),
            reference: line(&|target| if pairs { f32::round_from(target.exact.score) } else { 0.0 }),
            shift: line(&|target| if pairs { f32::round_from(-target.target.modified.shift) } else { 0.0 }),
            transform,
        }
    }
}

/// The accumulators of sixteen rows over the tiles so far.
#[derive(Clone, Debug)]
pub(super) struct PanelSums {
    /// Above 0 if a score was NaN or plus infinity.
    pub(super) invalid: Line,
    /// The largest negative without transform.
    pub(super) best: Line,
    /// The first position of `best`.
    pub(super) best_position: [u32; LINE],
    /// The largest transformed negative, for [`SweepKind::Largest`].
    pub(super) largest: Line,
    /// The first position of `largest`.
    pub(super) largest_position: [u32; LINE],
    /// The reference of the exponentials; `f32::MIN` before the first negative.
    pub(super) reference: Line,
    pub(super) exponentials: [ExpSums; LINE],
    pub(super) gated: [GateSums; LINE],
    /// `sum (z - reference)` over the negatives above minus infinity.
    pub(super) above_reference: [f64; LINE],
    /// The number of these negatives.
    pub(super) present: [u32; LINE],
    /// For the statistics: exponentials of the negatives without transform, relative to `best`.
    pub(super) plain: [ExpSums; LINE],
}

impl PanelSums {
    pub(super) fn new() -> Self {
        Self {
            invalid: Line::default(),
            best: Line([f32::NEG_INFINITY; LINE]),
            best_position: [0; LINE],
            largest: Line([f32::NEG_INFINITY; LINE]),
            largest_position: [0; LINE],
            reference: Line([f32::MIN; LINE]),
            exponentials: [ExpSums::default(); LINE],
            gated: [GateSums::default(); LINE],
            above_reference: [0.0; LINE],
            present: [0; LINE],
            plain: [ExpSums::default(); LINE],
        }
    }
}

/// The properties of a tile other than its scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileContext<'a> {
    /// The position of its first prototype.
    pub(super) first: usize,
    pub(super) sub_centers: usize,
    /// True if scores are cosines.
    pub(super) bounded: bool,
    /// One value per prototype of the tile.
    pub(super) bias: Option<&'a [f32]>,
    /// The targets in this tile, of this panel: lane, and the first line of the class.
    pub(super) targets: &'a [(usize, usize)],
}

/// Finishes the scores of a tile: adds the bias, clamps cosines, and masks the targets and, with sub-centers, all but
/// the largest score of each class.
#[inline(always)]
pub(super) fn finish_scores(scores: &mut [Line], tile: &TileContext<'_>, invalid: &mut Line) {
    if let Some(bias) = tile.bias {
        for (line, bias) in scores.iter_mut().zip(bias) {
            for z in &mut line.0 {
                *z += bias;
            }
        }
    }
    let mut found = invalid.0;
    for line in scores.iter_mut() {
        for l in 0..LINE {
            let z = line.0[l];
            found[l] = if z < f32::INFINITY { found[l] } else { 1.0 };
            if tile.bounded {
                let z = if z > 1.0 { 1.0 } else { z };
                line.0[l] = if z < -1.0 { -1.0 } else { z };
            }
        }
    }
    invalid.0 = found;
    if tile.sub_centers > 1 {
        scores.chunks_mut(tile.sub_centers).for_each(mask_all_but_largest);
    }
    for &(lane, line) in tile.targets {
        for line in &mut scores[line..line + tile.sub_centers] {
            line.0[lane] = f32::NEG_INFINITY;
        }
    }
}

/// Masks all scores of a class but the largest in each lane, the first on ties.
#[inline(always)]
fn mask_all_but_largest(class: &mut [Line]) {
    let mut best = [f32::NEG_INFINITY; LINE];
    for line in class.iter() {
        for l in 0..LINE {
            best[l] = if line.0[l] > best[l] { line.0[l] } else { best[l] };
        }
    }
    for line in class {
        for l in 0..LINE {
            let wins = line.0[l] == best[l];
            line.0[l] = if wins { line.0[l] } else { f32::NEG_INFINITY };
            best[l] = if wins { f32::INFINITY } else { best[l] };
        }
    }
}

/// Updates the largest score of each lane and its first position.
#[inline(always)]
fn update_largest(scores: &[Line], first: usize, best: &mut Line, position: &mut [u32; LINE]) {
    let (mut most, mut at) = (best.0, *position);
    for (p, line) in (first as u32..).zip(scores) {
        for l in 0..LINE {
            let more = line.0[l] > most[l];
            most[l] = if more { line.0[l] } else { most[l] };
            at[l] = if more { p } else { at[l] };
        }
    }
    (best.0, *position) = (most, at);
}

/// Adds the exponentials of the negatives without transform, for the statistics of rows.
#[inline(always)]
fn add_plain<I: Instructions>(scores: &mut [Line], scale: f32, before: &Line, sums: &mut PanelSums) {
    for l in 0..LINE {
        let fall = f64::from(scale) * (f64::from(before.0[l]) - f64::from(sums.best.0[l]));
        sums.plain[l] = sums.plain[l].relative_to(fall);
    }
    let reference = Line(sums.best.0.map(|best| if best > f32::NEG_INFINITY { best } else { 0.0 }));
    add_exponentials::<I, false>(scores, scale, &reference, &mut sums.plain);
}

/// Adds exponentials relative to a reference. If `WRITE`, they replace the scores.
#[inline(always)]
fn add_exponentials<I: Instructions, const WRITE: bool>(
    scores: &mut [Line],
    scale: f32,
    reference: &Line,
    sums: &mut [ExpSums; LINE],
) {
    for lines in scores.chunks_mut(GROUP) {
        let (mut exp, mut weighted) = ([0.0_f32; LINE], [0.0_f32; LINE]);
        for line in lines {
            for l in 0..LINE {
                let (e, d) = exponential::<I>(line.0[l], reference.0[l], scale);
                if WRITE {
                    line.0[l] = e;
                }
                exp[l] += e;
                weighted[l] += e * d;
            }
        }
        for l in 0..LINE {
            sums[l].exp += f64::from(exp[l]);
            sums[l].weighted += f64::from(weighted[l]);
        }
    }
}

/// Computes `e^d` and `d = scale (z - reference)`.
#[inline(always)]
fn exponential<I: Instructions>(z: f32, reference: f32, scale: f32) -> (f32, f32) {
    let d = (z - reference) * scale;
    // A score of minus infinity has exponential 0, which must stay 0 when weighted.
    let d = if d > -1e4 { d } else { -1e4 };
    (if I::FUSED { d.exp_below_80::<true>() } else { d.exp_below_80::<false>() }, d)
}

/// The work of the first sweep on the scores of a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstSweepWork {
    pub(super) kind: SweepKind,
    /// True if label smoothing needs the sum of all scores.
    pub(super) smooths: bool,
    pub(super) statistics: bool,
}

/// Runs the first sweep on a tile: accumulates the scores, and replaces them by exponentials or slopes. For each row
/// whose reference changes, calls `rebase` with the factor of all earlier sums. `slopes` is scratch space of as many
/// lines as `scores`, if negatives are transformed.
#[inline(always)]
pub(super) fn sweep_tile<I: Instructions>(
    scores: &mut [Line],
    slopes: &mut [Line],
    rows: &PanelRows,
    tile: &TileContext<'_>,
    work: FirstSweepWork,
    sums: &mut PanelSums,
    rebase: &mut dyn FnMut(usize, f32),
) {
    finish_scores(scores, tile, &mut sums.invalid);
    let before = sums.best;
    update_largest(scores, tile.first, &mut sums.best, &mut sums.best_position);
    if work.statistics {
        add_plain::<I>(scores, rows.scale, &before, sums);
    }
    let transformed = transform_negatives::<I>(scores, slopes, rows.transform);
    match work.kind {
        SweepKind::Exponentials => {
            move_reference(scores, rows.scale, transformed, sums, rebase);
            if work.smooths {
                add_present(scores, sums);
            }
            add_exponentials::<I, true>(scores, rows.scale, &sums.reference, &mut sums.exponentials);
        }
        SweepKind::Gated { gate, .. } => gate_lines::<I>(scores, rows, gate, &mut sums.gated),
        SweepKind::Largest => {
            update_largest(scores, tile.first, &mut sums.largest, &mut sums.largest_position);
        }
    }
    if transformed && work.kind != SweepKind::Largest {
        multiply(scores, slopes);
    }
}

/// Transforms the negatives and writes their derivatives. Returns false if there is no transform.
#[inline(always)]
fn transform_negatives<I: Instructions>(scores: &mut [Line], slopes: &mut [Line], transform: PanelTransform) -> bool {
    match transform {
        PanelTransform::None => return false,
        PanelTransform::Misclassified { above, factor } => {
            transform_lines(scores, slopes, |l, z| misclassified(z, above.0[l], factor));
        }
        PanelTransform::Curricular { above, mean } => {
            transform_lines(scores, slopes, |l, z| curricular(z, above.0[l], mean))
        }
        PanelTransform::DividedAngle { by } => transform_lines(scores, slopes, |_, z| {
            if I::FUSED { z.cosine_of_divided_angle::<true>(by) } else { z.cosine_of_divided_angle::<false>(by) }
        }),
    }
    true
}

#[inline(always)]
fn transform_lines(scores: &mut [Line], slopes: &mut [Line], one: impl Fn(usize, f32) -> (f32, f32)) {
    for (line, slopes) in scores.iter_mut().zip(slopes) {
        for l in 0..LINE {
            let z = line.0[l];
            let (value, slope) = one(l, z);
            let present = z > f32::NEG_INFINITY;
            line.0[l] = if present { value } else { z };
            slopes.0[l] = if present { slope } else { 1.0 };
        }
    }
}

#[inline(always)]
fn multiply(lines: &mut [Line], factors: &[Line]) {
    for (line, factors) in lines.iter_mut().zip(factors) {
        for l in 0..LINE {
            line.0[l] *= factors.0[l];
        }
    }
}

/// Raises the reference of lanes in which a negative is far above it.
#[inline(always)]
fn move_reference(
    scores: &[Line],
    scale: f32,
    transformed: bool,
    sums: &mut PanelSums,
    rebase: &mut dyn FnMut(usize, f32),
) {
    // `best` is the largest score without transform; transformed scores have another maximum.
    let mut most = sums.best;
    if transformed {
        most = Line([f32::NEG_INFINITY; LINE]);
        update_largest(scores, 0, &mut most, &mut [0; LINE]);
    }
    for l in 0..LINE {
        let old = sums.reference.0[l];
        let rise = f64::from(scale) * (f64::from(most.0[l]) - f64::from(old));
        if most.0[l] == f32::NEG_INFINITY || rise <= f64::from(HEADROOM) {
            continue;
        }
        sums.exponentials[l] = sums.exponentials[l].relative_to(-rise);
        sums.above_reference[l] -= f64::from(sums.present[l]) * (f64::from(most.0[l]) - f64::from(old));
        sums.reference.0[l] = most.0[l];
        rebase(l, f32::round_from((-rise).exp()));
    }
}

#[inline(always)]
fn add_present(scores: &[Line], sums: &mut PanelSums) {
    for lines in scores.chunks(GROUP) {
        let (mut above, mut count) = ([0.0_f32; LINE], [0_u32; LINE]);
        for line in lines {
            for l in 0..LINE {
                let present = line.0[l] > f32::NEG_INFINITY;
                above[l] += if present { line.0[l] - sums.reference.0[l] } else { 0.0 };
                count[l] += u32::from(present);
            }
        }
        for l in 0..LINE {
            sums.above_reference[l] += f64::from(above[l]);
            sums.present[l] += count[l];
        }
    }
}

#[inline(always)]
fn gate_lines<I: Instructions>(scores: &mut [Line], rows: &PanelRows, gate: Gate, sums: &mut [GateSums; LINE]) {
    match gate {
        Gate::Relu => gate_with(scores, rows, sums, hinge),
        Gate::Identity => gate_with(scores, rows, sums, present),
        Gate::Softplus => gate_with(scores, rows, sums, |x| {
            if I::FUSED { soft_hinge::<f32, true>(x) } else { soft_hinge::<f32, false>(x) }
        }),
    }
}

#[inline(always)]
fn gate_with(scores: &mut [Line], rows: &PanelRows, sums: &mut [GateSums; LINE], gate: impl Fn(f32) -> (f32, f32)) {
    for lines in scores.chunks_mut(GROUP) {
        let [mut value, mut slope, mut weighted] = [[0.0_f32; LINE]; 3];
        for line in lines {
            for l in 0..LINE {
                let x = ((line.0[l] - rows.reference.0[l]) + rows.shift.0[l]) * rows.scale;
                let (v, g) = gate(x);
                line.0[l] = g;
                value[l] += v;
                slope[l] += g;
                // g x would be NaN for a score of minus infinity, whose derivative is 0.
                weighted[l] += if g == 0.0 { 0.0 } else { g * x };
            }
        }
        for l in 0..LINE {
            sums[l].value += f64::from(value[l]);
            sums[l].derivative += f64::from(slope[l]);
            sums[l].weighted += f64::from(weighted[l]);
        }
    }
}

/// The factors that convert the scores of sixteen rows to their final slopes, once all sums are known.
#[derive(Clone, Debug)]
pub(super) struct PanelFactors {
    /// The reference of the exponentials.
    pub(super) reference: Line,
    /// The factor of the exponentials, or of the derivatives of a gate.
    pub(super) factor: Line,
    /// The value that label smoothing subtracts from the derivative of every negative that is not masked.
    pub(super) share: Line,
}

/// Replaces the scores of a tile by their final slopes.
#[inline(always)]
pub(super) fn final_slopes<I: Instructions>(
    scores: &mut [Line],
    slopes: &mut [Line],
    rows: &PanelRows,
    tile: &TileContext<'_>,
    kind: SweepKind,
    of: &PanelFactors,
) {
    finish_scores(scores, tile, &mut Line::default());
    let transformed = transform_negatives::<I>(scores, slopes, rows.transform);
    match kind {
        SweepKind::Exponentials => {
            for line in scores.iter_mut() {
                for l in 0..LINE {
                    let z = line.0[l];
                    let (e, _) = exponential::<I>(z, of.reference.0[l], rows.scale);
                    let share = if z > f32::NEG_INFINITY { of.share.0[l] } else { 0.0 };
                    line.0[l] = e * of.factor.0[l] - share;
                }
            }
        }
        SweepKind::Gated { gate, .. } => {
            gate_lines::<I>(scores, rows, gate, &mut [GateSums::default(); LINE]);
            for line in scores.iter_mut() {
                for l in 0..LINE {
                    line.0[l] *= of.factor.0[l];
                }
            }
        }
        SweepKind::Largest => scores.fill(Line::default()),
    }
    if transformed {
        multiply(scores, slopes);
    }
}
