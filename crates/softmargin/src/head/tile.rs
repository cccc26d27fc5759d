//! One tile of prototypes against one block of rows: scores, and what becomes of the negatives' ones, sixteen rows at a
//! time.
//!
//! Panels are class by class, so a line has the scores of sixteen rows and one prototype. Everything that belongs to a
//! row (its reference, where its negatives bend, its sums) is a line too, and no sum goes across a line.

#![expect(clippy::needless_range_loop, reason = "the lanes of several lines at once")]

use super::rows::{HeadRows, HeadTarget};
use crate::axes::gate::Gate;
use crate::number::Real;
use crate::number::sealed::Functions;
use crate::rows::SweepKind;
use crate::simd::{ExpSums, GateSums, Instructions, LINE, Line, NegativeTransform};
use crate::simd::{curricular, hinge, misclassified, present, soft_hinge};

/// Classes that a sum of single precision runs over before it is widened.
const GROUP: usize = 32;

/// A negative this much above the reference of its row, scaled, makes it the new reference. Far from what overflows,
/// and what lies as far below keeps its digits.
const HEADROOM: f32 = 20.0;

/// What sixteen rows bring to every tile.
#[derive(Clone, Debug)]
pub(super) struct PanelRows {
    scale: f32,
    /// What a gate is applied to is `scale ((z - reference) + shift)`.
    reference: Line,
    shift: Line,
    bend: Bending,
}

/// How the negatives of sixteen rows are bent.
#[derive(Clone, Copy, Debug)]
enum Bending {
    None,
    Misclassified { above: Line, factor: f32 },
    Curricular { above: Line, mean: f32 },
    DividedAngle { by: f32 },
}

impl PanelRows {
    /// Of the rows from `first` on. A row that does not count, and one that is not there, has negatives like any other.
    pub(super) fn of(rows: &HeadRows, kind: SweepKind, first: usize) -> Self {
        let at = |l: usize| rows.targets.get(first + l).and_then(Option::as_ref);
        let line = |of: &dyn Fn(&HeadTarget) -> f32| Line(std::array::from_fn(|l| at(l).map_or(0.0, of)));
        let pairs = matches!(kind, SweepKind::Gated { against_zero: false, .. });
        let above = |target: &HeadTarget| match target.target.negatives {
            Some(NegativeTransform::Misclassified { above, .. } | NegativeTransform::Curricular { above, .. }) => above,
            Some(NegativeTransform::DividedAngle { .. }) | None => f32::INFINITY,
        };
        let bend = match rows.targets.iter().flatten().find_map(|target| target.target.negatives) {
            None => Bending::None,
            Some(NegativeTransform::Misclassified { factor, .. }) => {
                Bending::Misclassified { above: line(&above), factor }
            }
            Some(NegativeTransform::Curricular { mean, .. }) => Bending::Curricular { above: line(&above), mean },
            Some(NegativeTransform::DividedAngle { by }) => Bending::DividedAngle { by },
        };
        Self {
            scale: f32::round_from(rows.scale),
            reference: line(&|target| if pairs { f32::round_from(target.exact.score) } else { 0.0 }),
            shift: line(&|target| if pairs { f32::round_from(-target.target.modified.shift) } else { 0.0 }),
            bend,
        }
    }
}

/// What the tiles so far have shown of sixteen rows.
#[derive(Clone, Debug)]
pub(super) struct PanelSums {
    /// Above 0 where a score was NaN or plus infinity.
    pub(super) odd: Line,
    /// The largest negative as it is, and the first position that has it.
    pub(super) best: Line,
    pub(super) best_position: [u32; LINE],
    /// The largest after bending, where that is looked for.
    pub(super) largest: Line,
    pub(super) largest_position: [u32; LINE],
    /// What exponentials are relative to; the least number while there is none.
    pub(super) reference: Line,
    pub(super) exponentials: [ExpSums; LINE],
    pub(super) gated: [GateSums; LINE],
    /// Of negatives above minus infinity: `sum (z - reference)`, and how many.
    pub(super) above_reference: [f64; LINE],
    pub(super) present: [u32; LINE],
    /// For the statistics: exponentials of the negatives as they are, relative to `best`.
    pub(super) plain: [ExpSums; LINE],
}

impl PanelSums {
    pub(super) fn new() -> Self {
        Self {
            odd: Line::default(),
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

/// What a tile is, beside its scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileOf<'a> {
    /// The position of its first prototype.
    pub(super) first: usize,
    pub(super) sub_centers: usize,
    /// Whether scores are cosines.
    pub(super) bounded: bool,
    /// One number a prototype of the tile.
    pub(super) bias: Option<&'a [f32]>,
    /// The targets in this tile, of this panel: lane, and the first line of the class.
    pub(super) targets: &'a [(usize, usize)],
}

/// Scores as they are compared: bias, the bounds of a cosine, the best prototype of each class (the others out), and
/// the targets taken out.
#[inline(always)]
pub(super) fn finish_scores(scores: &mut [Line], tile: &TileOf<'_>, odd: &mut Line) {
    if let Some(bias) = tile.bias {
        for (line, bias) in scores.iter_mut().zip(bias) {
            for z in &mut line.0 {
                *z += bias;
            }
        }
    }
    let mut found = odd.0;
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
    odd.0 = found;
    if tile.sub_centers > 1 {
        scores.chunks_mut(tile.sub_centers).for_each(keep_best);
    }
    for &(lane, line) in tile.targets {
        for line in &mut scores[line..line + tile.sub_centers] {
            line.0[lane] = f32::NEG_INFINITY;
        }
    }
}

/// Leaves the best prototype of a class in each lane, the first on ties, and takes the others out.
#[inline(always)]
fn keep_best(class: &mut [Line]) {
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

/// Looks for the largest score of each lane and the first position that has it.
#[inline(always)]
fn look_for_largest(scores: &[Line], first: usize, best: &mut Line, position: &mut [u32; LINE]) {
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

/// Exponentials of the negatives as they are, for the statistics of rows.
#[inline(always)]
fn add_plain<I: Instructions>(scores: &mut [Line], scale: f32, before: &Line, sums: &mut PanelSums) {
    for l in 0..LINE {
        let fall = f64::from(scale) * (f64::from(before.0[l]) - f64::from(sums.best.0[l]));
        sums.plain[l] = sums.plain[l].relative_to(fall);
    }
    let reference = Line(sums.best.0.map(|best| if best > f32::NEG_INFINITY { best } else { 0.0 }));
    add_exponentials::<I, false>(scores, scale, &reference, &mut sums.plain);
}

/// Adds exponentials relative to a reference; puts them in the place of the scores where `WRITE`.
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

/// `e^d` and `d = scale (z - reference)`.
#[inline(always)]
fn exponential<I: Instructions>(z: f32, reference: f32, scale: f32) -> (f32, f32) {
    let d = (z - reference) * scale;
    // A score of minus infinity has exponential 0, which must stay 0 when weighted.
    let d = if d > -1e4 { d } else { -1e4 };
    (if I::FUSED { d.exp_below_80::<true>() } else { d.exp_below_80::<false>() }, d)
}

/// What a first sweep does with the scores of a tile: looks at them, and puts what the gradient is made of in their
/// place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) kind: SweepKind,
    /// Whether label smoothing asks for the sum of all scores.
    pub(super) smooths: bool,
    pub(super) statistics: bool,
}

/// Sweeps over a tile for the first time. Rows whose reference has changed are given to `rebase` with what everything
/// before is to be multiplied by. `slopes` is room for as many lines as `scores`.
#[inline(always)]
pub(super) fn look<I: Instructions>(
    scores: &mut [Line],
    slopes: &mut [Line],
    rows: &PanelRows,
    tile: &TileOf<'_>,
    look: Look,
    sums: &mut PanelSums,
    rebase: &mut dyn FnMut(usize, f32),
) {
    finish_scores(scores, tile, &mut sums.odd);
    let before = sums.best;
    look_for_largest(scores, tile.first, &mut sums.best, &mut sums.best_position);
    if look.statistics {
        add_plain::<I>(scores, rows.scale, &before, sums);
    }
    let bent = bend::<I>(scores, slopes, rows.bend);
    match look.kind {
        SweepKind::Exponentials => {
            move_reference(scores, rows.scale, bent, sums, rebase);
            if look.smooths {
                add_present(scores, sums);
            }
            add_exponentials::<I, true>(scores, rows.scale, &sums.reference, &mut sums.exponentials);
        }
        SweepKind::Gated { gate, .. } => gate_lines::<I>(scores, rows, gate, &mut sums.gated),
        SweepKind::Largest => {
            look_for_largest(scores, tile.first, &mut sums.largest, &mut sums.largest_position);
        }
    }
    if bent && look.kind != SweepKind::Largest {
        multiply(scores, slopes);
    }
}

/// Bends the negatives, and writes their slopes; whether there is anything to bend.
#[inline(always)]
fn bend<I: Instructions>(scores: &mut [Line], slopes: &mut [Line], bending: Bending) -> bool {
    match bending {
        Bending::None => return false,
        Bending::Misclassified { above, factor } => {
            bend_lines(scores, slopes, |l, z| misclassified(z, above.0[l], factor));
        }
        Bending::Curricular { above, mean } => bend_lines(scores, slopes, |l, z| curricular(z, above.0[l], mean)),
        Bending::DividedAngle { by } => bend_lines(scores, slopes, |_, z| {
            if I::FUSED { z.cosine_of_divided_angle::<true>(by) } else { z.cosine_of_divided_angle::<false>(by) }
        }),
    }
    true
}

#[inline(always)]
fn bend_lines(scores: &mut [Line], slopes: &mut [Line], one: impl Fn(usize, f32) -> (f32, f32)) {
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

/// Raises the reference of lanes where a negative is far above it.
#[inline(always)]
fn move_reference(scores: &[Line], scale: f32, bent: bool, sums: &mut PanelSums, rebase: &mut dyn FnMut(usize, f32)) {
    // Plain scores have been looked at; bent ones are others.
    let mut most = sums.best;
    if bent {
        most = Line([f32::NEG_INFINITY; LINE]);
        look_for_largest(scores, 0, &mut most, &mut [0; LINE]);
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
                // A gate closed by a score of minus infinity adds nothing.
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

/// What turns the scores of sixteen rows into their final slopes, once all sums are known.
#[derive(Clone, Debug)]
pub(super) struct PanelSlopes {
    /// What exponentials are relative to.
    pub(super) reference: Line,
    /// What exponentials, or the slopes of a gate, are multiplied by.
    pub(super) factor: Line,
    /// What every negative that takes part is given off: label smoothing.
    pub(super) share: Line,
}

/// Puts the final slopes in the place of the scores of a tile.
#[inline(always)]
pub(super) fn slopes_of<I: Instructions>(
    scores: &mut [Line],
    slopes: &mut [Line],
    rows: &PanelRows,
    tile: &TileOf<'_>,
    kind: SweepKind,
    of: &PanelSlopes,
) {
    finish_scores(scores, tile, &mut Line::default());
    let bent = bend::<I>(scores, slopes, rows.bend);
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
    if bent {
        multiply(scores, slopes);
    }
}
