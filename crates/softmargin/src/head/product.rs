//! The two matrix products of a head, on panels, in blocks whose sums stay in registers.
//!
//! ```text
//! product               c (+)= a b        a (R, K), b (K, S)
//! transposed product    c  += a^T b       a (K, R), b (K, S)
//! ```
//!
//! A sum runs over at most [`CHAIN`] terms, in ascending order, before it is added to `c`. The order does not depend on
//! the blocks, so results are bitwise identical for any division into blocks. With `PAIRS`, every word is two bf16
//! values.

use super::panels::Panels;
use crate::simd::{Instructions, LINE, Line, Vector, Work};

/// The number of words that a sum adds up before it is added to `c`: few enough for small rounding errors, and so that
/// sixteen columns fit into the first-level cache.
const CHAIN: usize = 256;

/// Computes `sum + a b`, for words of f32 or of pairs of bf16.
#[inline(always)]
fn multiply_add<V: Vector, const PAIRS: bool>(a: V, b: V, sum: V) -> V {
    if PAIRS { V::multiply_add_pairs(a, b, sum) } else { V::multiply_add(a, b, sum) }
}

/// The initial value of `c` in a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// 0: the content of `c` is overwritten.
    Zero,
    /// The content of `c`, to which the product is added.
    Sum,
}

/// `c (+)= a b`; `b` has sixteen rows for each panel of `a`, and `c` as many rows as `a`.
pub(super) struct Product<'a> {
    pub(super) a: Panels<'a>,
    pub(super) b: Panels<'a>,
    pub(super) c: &'a mut [Line],
    pub(super) start: Start,
    /// True if words are two bf16 values.
    pub(super) pairs: bool,
}

impl Work for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { a, b, c, start, pairs } = self;
        if pairs { product::<I, true>(a, b, c, start) } else { product::<I, false>(a, b, c, start) }
    }
}

/// `c += a^T b`; `c` has as many rows as `a` has columns, sixteen for each of its panels.
pub(super) struct TransposedProduct<'a> {
    pub(super) a: Panels<'a>,
    pub(super) b: Panels<'a>,
    pub(super) c: &'a mut [Line],
    /// True if words are two bf16 values.
    pub(super) pairs: bool,
}

impl Work for TransposedProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { a, b, c, pairs } = self;
        if pairs { transposed_product::<I, true>(a, b, c) } else { transposed_product::<I, false>(a, b, c) }
    }
}

#[inline(always)]
fn product<I: Instructions, const PAIRS: bool>(a: Panels<'_>, b: Panels<'_>, c: &mut [Line], start: Start) {
    if a.rows == 0 || c.is_empty() {
        return;
    }
    match I::SUMS {
        24 => by_chains::<I, PAIRS, 12, 2>(a, b, c, start),
        6 => by_chains::<I, PAIRS, 6, 1>(a, b, c, start),
        _ => by_chains::<I, PAIRS, 2, 1>(a, b, c, start),
    }
}

#[inline(always)]
fn by_chains<I: Instructions, const PAIRS: bool, const M: usize, const P: usize>(
    a: Panels<'_>,
    b: Panels<'_>,
    c: &mut [Line],
    start: Start,
) {
    let (inner, outer) = (b.rows / LINE, c.len() / a.rows);
    if inner == 0 && start == Start::Zero {
        c.fill(Line::default());
    }
    for first in (0..inner).step_by(CHAIN / LINE) {
        let chain = [first, inner.min(first + CHAIN / LINE)];
        let start = if first == 0 { start } else { Start::Sum };
        let mut panel = 0;
        while panel + P <= outer {
            by_rows::<I, PAIRS, M, P>(a, b, c, panel, chain, start);
            panel += P;
        }
        while panel < outer {
            by_rows::<I, PAIRS, M, 1>(a, b, c, panel, chain, start);
            panel += 1;
        }
    }
}

#[inline(always)]
fn by_rows<I: Instructions, const PAIRS: bool, const M: usize, const P: usize>(
    a: Panels<'_>,
    b: Panels<'_>,
    c: &mut [Line],
    panel: usize,
    chain: [usize; 2],
    start: Start,
) {
    let mut row = 0;
    while row + M <= a.rows {
        block::<I, PAIRS, M, P>(a, b, c, [row, panel], chain, start);
        row += M;
    }
    while row + 4 <= a.rows {
        block::<I, PAIRS, 4, P>(a, b, c, [row, panel], chain, start);
        row += 4;
    }
    while row < a.rows {
        block::<I, PAIRS, 1, P>(a, b, c, [row, panel], chain, start);
        row += 1;
    }
}

/// Computes M rows of P panels of `c`.
#[inline(always)]
fn block<I: Instructions, const PAIRS: bool, const M: usize, const P: usize>(
    a: Panels<'_>,
    b: Panels<'_>,
    c: &mut [Line],
    [row, panel]: [usize; 2],
    [first, end]: [usize; 2],
    start: Start,
) {
    let mut sums = [[I::Vector::zero(); P]; M];
    for k in first..end {
        let left: &[Line; M] = a.lines[k * a.rows + row..].first_chunk().expect("rows of a panel");
        let right: [&[Line; LINE]; P] = std::array::from_fn(|p| {
            b.lines[(panel + p) * b.rows + k * LINE..]
                .first_chunk()
                .expect("sixteen rows for a panel of the left factor")
        });
        for word in 0..LINE {
            let right: [I::Vector; P] = std::array::from_fn(|p| I::Vector::load(&right[p][word]));
            for (sums, left) in sums.iter_mut().zip(left) {
                let left = I::Vector::splat(left.0[word]);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = multiply_add::<_, PAIRS>(left, right, *sum);
                }
            }
        }
    }
    for p in 0..P {
        let out: &mut [Line; M] =
            c[(panel + p) * a.rows + row..].first_chunk_mut().expect("as many rows as the left factor");
        for (out, sums) in out.iter_mut().zip(&sums) {
            let sum = if start == Start::Sum { sums[p].add(I::Vector::load(out)) } else { sums[p] };
            sum.store(out);
        }
    }
}

#[inline(always)]
fn transposed_product<I: Instructions, const PAIRS: bool>(a: Panels<'_>, b: Panels<'_>, c: &mut [Line]) {
    if a.rows == 0 || a.lines.is_empty() {
        return;
    }
    let rows = a.lines.len() / a.rows * LINE;
    let outer = c.len() / rows;
    for first in (0..a.rows).step_by(CHAIN) {
        let chain = [first, a.rows.min(first + CHAIN)];
        let mut panel = 0;
        if I::SUMS == 24 {
            while panel + 3 <= outer {
                by_columns::<I, PAIRS, 3>(a, b, c, panel, chain);
                panel += 3;
            }
        }
        while panel < outer {
            by_columns::<I, PAIRS, 1>(a, b, c, panel, chain);
            panel += 1;
        }
    }
}

#[inline(always)]
fn by_columns<I: Instructions, const PAIRS: bool, const P: usize>(
    a: Panels<'_>,
    b: Panels<'_>,
    c: &mut [Line],
    panel: usize,
    [first, end]: [usize; 2],
) {
    let right: [&[Line]; P] = std::array::from_fn(|p| &b.panel(panel + p)[first..end]);
    for of_a in 0..a.lines.len() / a.rows {
        let left = &a.panel(of_a)[first..end];
        match I::SUMS {
            24 => {
                transposed_block::<I, PAIRS, 0, 8, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 8, 8, P>(a, left, right, c, [of_a, panel]);
            }
            6 => {
                transposed_block::<I, PAIRS, 0, 6, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 6, 6, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 12, 4, P>(a, left, right, c, [of_a, panel]);
            }
            _ => {
                transposed_block::<I, PAIRS, 0, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 2, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 4, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 6, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 8, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 10, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 12, 2, P>(a, left, right, c, [of_a, panel]);
                transposed_block::<I, PAIRS, 14, 2, P>(a, left, right, c, [of_a, panel]);
            }
        }
    }
}

/// Computes the rows of P panels of `c` for the M columns from FIRST of a panel of `a`.
#[inline(always)]
fn transposed_block<I: Instructions, const PAIRS: bool, const FIRST: usize, const M: usize, const P: usize>(
    a: Panels<'_>,
    left: &[Line],
    right: [&[Line]; P],
    c: &mut [Line],
    [of_a, panel]: [usize; 2],
) {
    let mut sums = [[I::Vector::zero(); P]; M];
    let right = right.map(|lines| &lines[..left.len()]);
    for (k, left) in left.iter().enumerate() {
        let right: [I::Vector; P] = std::array::from_fn(|p| I::Vector::load(&right[p][k]));
        for (sums, left) in sums.iter_mut().zip(&left.0[FIRST..FIRST + M]) {
            let left = I::Vector::splat(*left);
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = multiply_add::<_, PAIRS>(left, right, *sum);
            }
        }
    }
    let rows = a.lines.len() / a.rows * LINE;
    for p in 0..P {
        let out: &mut [Line; M] = c[(panel + p) * rows + of_a * LINE + FIRST..]
            .first_chunk_mut()
            .expect("sixteen rows for a panel of the left factor");
        for (out, sums) in out.iter_mut().zip(&sums) {
            sums[p].add(I::Vector::load(out)).store(out);
        }
    }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a skipped instruction set is named")]
mod tests {
    use super::super::panels::{WriteRow, pair_columns, pair_rows, panels_of};
    use super::*;
    use crate::InstructionSet;
    use crate::random::{Generator, Purpose};
    use crate::simd::{from_bf16, run_on, to_bf16};

    /// Returns a matrix of values from -1 to 1, exact in bf16.
    fn matrix(seed: u64, rows: usize, columns: usize) -> Vec<Vec<f32>> {
        let mut stream = Generator::new(seed, Purpose::Weights, 0);
        let mut number = || from_bf16(to_bf16(stream.between(-1.0, 1.0) as f32));
        (0..rows).map(|_| (0..columns).map(|_| number()).collect()).collect()
    }

    /// Returns a matrix in panels, with rows of zeros up to `padded`.
    fn in_panels(matrix: &[Vec<f32>], columns: usize, padded: usize) -> Vec<Line> {
        let mut lines = vec![Line::default(); panels_of(columns) * padded];
        for (row, values) in matrix.iter().enumerate() {
            run_on(InstructionSet::Portable, WriteRow { values, factor: 1.0, row, rows: padded, panels: &mut lines });
        }
        lines
    }

    /// Computes `sum_k a_k b_k` in f64, and the sum of the sizes of its terms.
    fn dot(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> (f64, f64) {
        a.zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| {
            let term = f64::from(a) * f64::from(b);
            (sum + term, size + term.abs())
        })
    }

    /// Checks a sum of `terms` terms: as many roundings of their sizes bound the error of any order of additions.
    fn check(set: InstructionSet, got: f32, (want, size): (f64, f64), terms: usize, start: f64) {
        let allowed = f64::from(f32::EPSILON / 2.0) * (terms as f64 + 2.0) * (size + start.abs());
        assert!((f64::from(got) - want - start).abs() <= allowed, "{set:?}: {got}, {} wanted", want + start);
    }

    /// Checks both products, in f32 and in bf16, of a (R, K) or (K, R) and b (K, S).
    fn products(set: InstructionSet, [rows, inner, columns]: [usize; 3]) {
        let (a, b) = (matrix(1, rows, inner), matrix(2, inner, columns));
        let padded = inner.next_multiple_of(2 * LINE);
        let (left, right) = (in_panels(&a, inner, rows), in_panels(&b, columns, padded));
        let mut paired_left = vec![Line::default(); panels_of(inner).div_ceil(2) * rows];
        pair_columns(Panels::new(&left, rows), &mut paired_left);
        let mut paired_right = vec![Line::default(); panels_of(columns) * padded / 2];
        pair_rows(Panels::new(&right, padded), padded / 2, &mut paired_right);
        // The left factor needs as many panels as the right factor has rows.
        let mut left = left;
        left.resize(padded / LINE * rows, Line::default());
        let ones = vec![Line([1.0; LINE]); panels_of(columns) * rows];
        let [mut zero, mut sum, mut pairs] = [ones.clone(), ones.clone(), ones];
        let (left, right) = (Panels::new(&left, rows), Panels::new(&right, padded));
        run_on(set, Product { a: left, b: right, c: &mut zero, start: Start::Zero, pairs: false });
        run_on(set, Product { a: left, b: right, c: &mut sum, start: Start::Sum, pairs: false });
        let (left, right) = (Panels::new(&paired_left, rows), Panels::new(&paired_right, padded / 2));
        run_on(set, Product { a: left, b: right, c: &mut pairs, start: Start::Zero, pairs: true });
        for (row, values) in a.iter().enumerate() {
            for column in 0..columns {
                let want = dot(values.iter().copied(), b.iter().map(|row| row[column]));
                let at = |c: &[Line]| c[column / LINE * rows + row].0[column % LINE];
                check(set, at(&zero), want, inner, 0.0);
                check(set, at(&sum), want, inner, 1.0);
                check(set, at(&pairs), want, inner, 0.0);
            }
        }

        let a = matrix(3, inner, rows);
        let (left, right) = (in_panels(&a, rows, inner), in_panels(&b, columns, inner));
        let padded_rows = panels_of(rows) * LINE;
        let mut sum = vec![Line([1.0; LINE]); panels_of(columns) * padded_rows];
        let mut pairs = sum.clone();
        let factors = [&left, &right].map(|lines| Panels::new(lines, inner));
        run_on(set, TransposedProduct { a: factors[0], b: factors[1], c: &mut sum, pairs: false });
        let half = inner.div_ceil(2);
        let [mut paired_left, mut paired_right] =
            [rows, columns].map(|columns| vec![Line::default(); panels_of(columns) * half]);
        if half > 0 {
            pair_rows(Panels::new(&left, inner), half, &mut paired_left);
            pair_rows(Panels::new(&right, inner), half, &mut paired_right);
        }
        let factors = [&paired_left, &paired_right].map(|lines| Panels::new(lines, half));
        run_on(set, TransposedProduct { a: factors[0], b: factors[1], c: &mut pairs, pairs: true });
        for row in 0..rows {
            for column in 0..columns {
                let want = dot(a.iter().map(|line| line[row]), b.iter().map(|line| line[column]));
                let at = |c: &[Line]| c[column / LINE * padded_rows + row].0[column % LINE];
                check(set, at(&sum), want, inner, 1.0);
                check(set, at(&pairs), want, inner, 1.0);
            }
        }
    }

    #[test]
    fn products_of_any_shape_on_every_instruction_set() {
        for set in InstructionSet::ALL {
            if !set.is_available() {
                println!("skipped: this machine has no {set:?}");
                continue;
            }
            for rows in [1, 2, 5, 6, 12, 16, 17, 31] {
                for columns in [1, 15, 16, 33, 48, 70] {
                    for inner in [0, 1, 2, 16, 17, 100] {
                        products(set, [rows, inner, columns]);
                    }
                }
            }
            products(set, [13, 700, 40]);
        }
    }
}
