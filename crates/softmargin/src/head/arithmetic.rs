//! Sums and products of f32 rows, computed in f64, in loops that are compiled for each instruction set.
//!
//! No product of two f32 values overflows or vanishes in f64. Sums run in lanes: few additions, always in the same
//! order.

use crate::simd::{InstructionSet, Instructions, LINE, Work, run_on};

/// Computes `sum a_k b_k`.
pub(super) fn dot(set: InstructionSet, a: &[f32], b: &[f32]) -> f64 {
    run_on(set, Dot(a, b))
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Work for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<I: Instructions>(self) -> f64 {
        dot_in_lanes(self.0, self.1)
    }
}

/// Computes `sum a_k b_k` inside of work that is compiled for an instruction set.
#[inline(always)]
pub(super) fn dot_in_lanes(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0_f64; LINE];
    let ((whole, rest), (other, other_rest)) = (a.as_chunks::<LINE>(), b.as_chunks::<LINE>());
    for (a, b) in whole.iter().zip(other) {
        for l in 0..LINE {
            sums[l] += f64::from(a[l]) * f64::from(b[l]);
        }
    }
    let rest: f64 = rest.iter().zip(other_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Adds `a x + b y` to `sum`.
pub(super) fn add_two(set: InstructionSet, sum: &mut [f64], [a, b]: [f64; 2], [x, y]: [&[f32]; 2]) {
    run_on(set, AddTwo { sum, factors: [a, b], rows: [x, y] });
}

struct AddTwo<'a> {
    sum: &'a mut [f64],
    factors: [f64; 2],
    rows: [&'a [f32]; 2],
}

impl Work for AddTwo<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { sum, factors: [a, b], rows: [x, y] } = self;
        for ((sum, &x), &y) in sum.iter_mut().zip(x).zip(y) {
            *sum += a * f64::from(x) + b * f64::from(y);
        }
    }
}

/// Adds `a x + b y` to a sum in single precision, rounded once.
pub(super) fn add_two_short(set: InstructionSet, sum: &mut [f32], [a, b]: [f64; 2], [x, y]: [&[f32]; 2]) {
    run_on(set, AddTwoShort { sum, factors: [a, b], rows: [x, y] });
}

struct AddTwoShort<'a> {
    sum: &'a mut [f32],
    factors: [f64; 2],
    rows: [&'a [f32]; 2],
}

impl Work for AddTwoShort<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { sum, factors: [a, b], rows: [x, y] } = self;
        for ((sum, &x), &y) in sum.iter_mut().zip(x).zip(y) {
            *sum = (f64::from(*sum) + a * f64::from(x) + b * f64::from(y)) as f32;
        }
    }
}

/// The last step of the gradient of an embedding: `(sum - <sum, x> along x) factor + exact_sums + radial x`.
pub(super) struct FinishRow<'a> {
    pub(super) sum: &'a [f64],
    pub(super) x: &'a [f32],
    /// `1 / |x|^2` to subtract the part along the embedding, else 0.
    pub(super) along: f64,
    pub(super) factor: f64,
    pub(super) exact_sums: &'a [f64],
    pub(super) radial: f64,
    pub(super) out: &'a mut [f32],
}

impl Work for FinishRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { sum, x, along, factor, exact_sums, radial, out } = self;
        let mut products = [0.0_f64; LINE];
        for (sum, x) in sum.chunks(LINE).zip(x.chunks(LINE)) {
            for ((product, sum), &x) in products.iter_mut().zip(sum).zip(x) {
                *product += sum * f64::from(x);
            }
        }
        let along = along * products.iter().sum::<f64>();
        for (((out, sum), exact_sums), &x) in out.iter_mut().zip(sum).zip(exact_sums).zip(x) {
            let x = f64::from(x);
            *out = ((sum - along * x) * factor + exact_sums + radial * x) as f32;
        }
    }
}

/// Adds a row of a matrix in panels, times a factor.
pub(super) struct AddPanels<'a> {
    pub(super) sum: &'a mut [f64],
    pub(super) panels: &'a [crate::simd::Line],
    /// The number of rows of the matrix.
    pub(super) rows: usize,
    /// The row that is added.
    pub(super) row: usize,
    pub(super) factor: f64,
}

impl Work for AddPanels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { sum, panels, rows, row, factor } = self;
        for (panel, sum) in sum.chunks_mut(LINE).enumerate() {
            for (sum, &value) in sum.iter_mut().zip(&panels[panel * rows + row].0) {
                *sum += factor * f64::from(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Line;

    #[test]
    fn sums_are_those_of_plain_loops_on_every_instruction_set() {
        let a: Vec<f32> = (0..37).map(|k| k as f32 - 11.0).collect();
        let b: Vec<f32> = (0..37).map(|k| (k * k % 13) as f32).collect();
        let want: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a * b)).sum();
        let lines: Vec<Line> = (0..9).map(|k| Line(std::array::from_fn(|l| (k * 16 + l) as f32))).collect();
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
            assert_eq!(dot(set, &a, &b), want);
            let mut sum = vec![1.0; 37];
            add_two(set, &mut sum, [2.0, -1.0], [&a, &b]);
            assert_eq!(sum[20], 1.0 + 2.0 * 9.0 - f64::from(b[20]));
            let mut short = vec![1.0_f32; 37];
            add_two_short(set, &mut short, [2.0, -1.0], [&a, &b]);
            assert_eq!(short.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), sum);
            // Row 1 of a matrix of three rows and 37 columns, in three panels.
            let mut of_panels = vec![0.0; 37];
            run_on(set, AddPanels { sum: &mut of_panels, panels: &lines, rows: 3, row: 1, factor: 0.5 });
            assert_eq!((of_panels[0], of_panels[17], of_panels[36]), (8.0, 0.5 * 65.0, 0.5 * 116.0));
            let mut out = vec![0.0_f32; 37];
            let (exact_sums, square) = (vec![0.25; 37], dot(set, &a, &a));
            let work = FinishRow {
                sum: &sum,
                x: &a,
                along: 1.0 / square,
                factor: 2.0,
                exact_sums: &exact_sums,
                radial: 3.0,
                out: &mut out,
            };
            run_on(set, work);
            let along = sum.iter().zip(&a).map(|(s, &x)| s * f64::from(x)).sum::<f64>() / square;
            let want = (sum[5] - along * f64::from(a[5])) * 2.0 + 0.25 + 3.0 * f64::from(a[5]);
            assert!((f64::from(out[5]) - want).abs() < 1e-5 * want.abs());
        }
    }
}
