//! The memory layout of all matrices of a head: panels of sixteen columns.
//!
//! In a matrix of R rows, line `p R + r` holds the columns `16 p` to `16 p + 15` of row `r`; entries beyond the last
//! column are 0. A product reads its right factor line by line and its left factor from neighboring lines, and its
//! result has the layout of a factor of the next product.

use crate::simd::{Instructions, LINE, Line, Work, pair};
use std::borrow::Cow;

/// A matrix in panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels<'a> {
    pub(super) lines: &'a [Line],
    pub(super) rows: usize,
}

impl<'a> Panels<'a> {
    pub(super) fn new(lines: &'a [Line], rows: usize) -> Self {
        Self { lines, rows }
    }

    /// Returns the lines of one panel.
    #[inline(always)]
    pub(super) fn panel(self, panel: usize) -> &'a [Line] {
        &self.lines[panel * self.rows..][..self.rows]
    }
}

/// Returns the number of panels of a matrix with `columns` columns.
pub(super) fn panels_of(columns: usize) -> usize {
    columns.div_ceil(LINE)
}

/// Writes a row, times a factor, into the panels of a matrix. Each product is rounded once.
pub(super) struct WriteRow<'a> {
    pub(super) values: &'a [f32],
    pub(super) factor: f64,
    pub(super) row: usize,
    /// The number of rows of the matrix.
    pub(super) rows: usize,
    pub(super) panels: &'a mut [Line],
}

impl Work for WriteRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        const TAME: std::ops::RangeInclusive<f64> = 1e-15..=1e15;
        let Self { values, factor, row, rows, panels } = self;
        if factor == 1.0 {
            put(values, row, rows, panels, |value| value);
        } else if I::FUSED && TAME.contains(&factor) {
            // The factor as a sum of two f32, so that the product is rounded only once.
            let first = factor as f32;
            let rest = (factor - f64::from(first)) as f32;
            put(values, row, rows, panels, |value| value.mul_add(first, value * rest));
        } else {
            put(values, row, rows, panels, |value| (f64::from(value) * factor) as f32);
        }
    }
}

#[inline(always)]
fn put(values: &[f32], row: usize, rows: usize, panels: &mut [Line], one: impl Fn(f32) -> f32) {
    let (whole, rest) = values.as_chunks::<LINE>();
    for (panel, chunk) in whole.iter().enumerate() {
        panels[panel * rows + row] = Line(chunk.map(&one));
    }
    if !rest.is_empty() {
        let mut last = [0.0; LINE];
        for (entry, &value) in last.iter_mut().zip(rest) {
            *entry = one(value);
        }
        panels[whole.len() * rows + row] = Line(last);
    }
}

/// Reads the first `values.len()` columns of a row of a matrix in panels.
#[inline(always)]
pub(super) fn read_row(panels: &[Line], row: usize, rows: usize, values: &mut [f32]) {
    for (panel, chunk) in values.chunks_mut(LINE).enumerate() {
        chunk.copy_from_slice(&panels[panel * rows + row].0[..chunk.len()]);
    }
}

/// Writes the transpose of up to sixteen rows, each times its factor, as the columns of one panel.
pub(super) fn write_columns(rows: &[Cow<'_, [f32]>], factors: &[f64], panel: &mut [Line]) {
    for (column, (values, factor)) in rows.iter().zip(factors).enumerate() {
        for (line, &value) in panel.iter_mut().zip(values.iter()) {
            line.0[column] = (f64::from(value) * factor) as f32;
        }
    }
}

/// Converts neighboring rows of a matrix to words of bf16: row `k` of the result has the rows `2 k` and `2 k + 1`.
pub(super) fn pair_rows(from: Panels<'_>, pairs: usize, to: &mut [Line]) {
    for (panel, out) in to.chunks_exact_mut(pairs.max(1)).enumerate() {
        let lines = from.panel(panel);
        for (k, out) in out.iter_mut().enumerate() {
            let zero = Line::default();
            let [even, odd] = [2 * k, 2 * k + 1].map(|row| lines.get(row).unwrap_or(&zero));
            *out = Line(std::array::from_fn(|l| pair(even.0[l], odd.0[l])));
        }
    }
}

/// Converts neighboring columns of a matrix to words of bf16: column `k` of the result has the columns `2 k` and
/// `2 k + 1`.
pub(super) fn pair_columns(from: Panels<'_>, to: &mut [Line]) {
    let rows = from.rows;
    let count = from.lines.len() / rows.max(1);
    for (half, out) in to.chunks_exact_mut(rows.max(1)).enumerate() {
        let zero = Line::default();
        for (row, out) in out.iter_mut().enumerate() {
            let first = &from.lines[2 * half * rows + row];
            let second = if 2 * half + 1 < count { &from.lines[(2 * half + 1) * rows + row] } else { &zero };
            *out = Line(std::array::from_fn(|k| {
                let (line, k) = if k < LINE / 2 { (first, k) } else { (second, k - LINE / 2) };
                pair(line.0[2 * k], line.0[2 * k + 1])
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;
    use crate::simd::{from_bf16, run_on};

    #[test]
    fn rows_come_back_and_the_rest_is_zero() {
        let values: Vec<f32> = (1..=19).map(|v| v as f32).collect();
        let mut panels = vec![Line::default(); 2 * 3];
        run_on(InstructionSet::best(), WriteRow { values: &values, factor: 2.0, row: 1, rows: 3, panels: &mut panels });
        assert_eq!((panels[1].0[15], panels[4].0[2], panels[4].0[3]), (32.0, 38.0, 0.0));
        let mut back = vec![0.0; 19];
        read_row(&panels, 1, 3, &mut back);
        assert_eq!(back, values.iter().map(|v| v * 2.0).collect::<Vec<_>>());
    }

    #[test]
    fn pairs_are_neighbors() {
        let lines: Vec<Line> = (0..2 * 3).map(|k| Line(std::array::from_fn(|l| (k * 20 + l) as f32))).collect();
        let from = Panels::new(&lines, 3);
        let halves = |word: f32| {
            let bits = word.to_bits();
            (from_bf16((bits & 0xffff) as u16), from_bf16((bits >> 16) as u16))
        };
        let mut rows = vec![Line::default(); 2 * 2];
        pair_rows(from, 2, &mut rows);
        assert_eq!((halves(rows[0].0[5]), halves(rows[1].0[5])), ((5.0, 25.0), (45.0, 0.0)));
        let mut columns = vec![Line::default(); 3];
        pair_columns(from, &mut columns);
        assert_eq!((halves(columns[1].0[0]), halves(columns[1].0[9])), ((20.0, 21.0), (82.0, 83.0)));
    }
}
