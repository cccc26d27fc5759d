//! The end of a layer: skip connection, 2 x 2 maximum, ReLU.
//!
//! ```text
//! z[r, c] = scale y[r, c] + shift (+ x[r, c])
//! out[r, c] = max(0, max_{k, l = 0, 1} z[2 r + k, 2 c + l])     or max(0, z[r, c]) without a maximum
//! dz[r, c] = d out where z[r, c] is the first largest of its window and above 0, else 0
//! ```
//!
//! Sides round down: an odd last row or column is left out. If a value is NaN, so is the maximum.

use super::batch_normalization::{Affine, Sums, accumulate};
use super::convolution::Grid;
use super::lanes::{LANES, Lane, multiply_add};
use softmargin::simd::Instructions;

/// The parts of `z` of one image.
#[derive(Clone, Copy)]
pub(super) struct PreActivation<'a> {
    pub(super) y: &'a [Lane],
    pub(super) grid: Grid,
    pub(super) affine: &'a Affine,
    /// The framed input, if it is added.
    pub(super) skip: Option<&'a [Lane]>,
}

impl PreActivation<'_> {
    #[inline(always)]
    fn vectors(&self) -> usize {
        self.affine.scale.len()
    }

    /// Computes the vector of `z` at a row and a column.
    #[inline(always)]
    fn at<I: Instructions>(&self, row: usize, column: usize, vector: usize) -> Lane {
        let y = self.y[(row * self.grid.width + column) * self.vectors() + vector];
        let (scale, shift) = (self.affine.scale[vector], self.affine.shift[vector]);
        let mut z = [0.0; LANES];
        for lane in 0..LANES {
            z[lane] = multiply_add::<I>(scale[lane], y[lane], shift[lane]);
        }
        if let Some(skip) = self.skip {
            let x = skip[((row + 1) * (self.grid.width + 2) + column + 1) * self.vectors() + vector];
            for lane in 0..LANES {
                z[lane] += x[lane];
            }
        }
        z
    }
}

/// Computes the elementwise largest of four vectors.
#[inline(always)]
fn largest(window: &[Lane; 4]) -> Lane {
    let mut best = window[0];
    for z in window {
        let z = *z;
        for lane in 0..LANES {
            best[lane] = if z[lane] > best[lane] || z[lane].is_nan() { z[lane] } else { best[lane] };
        }
    }
    best
}

const WINDOW: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

#[inline(always)]
fn window<I: Instructions>(source: &PreActivation<'_>, row: usize, column: usize, vector: usize) -> [Lane; 4] {
    let mut window = [[0.0; LANES]; 4];
    for place in 0..4 {
        let [down, right] = WINDOW[place];
        window[place] = source.at::<I>(2 * row + down, 2 * column + right, vector);
    }
    window
}

/// Computes the output of one image, whose rows have `width` pixels.
#[inline(always)]
pub(super) fn activate<I: Instructions>(source: PreActivation<'_>, pool: bool, width: usize, out: &mut [Lane]) {
    let vectors = source.vectors();
    for (row, out) in out.chunks_exact_mut(width * vectors).enumerate() {
        for (column, out) in out.chunks_exact_mut(vectors).enumerate() {
            for (vector, out) in out.iter_mut().enumerate() {
                let z = if pool {
                    largest(&window::<I>(&source, row, column, vector))
                } else {
                    source.at::<I>(row, column, vector)
                };
                let mut positive = z;
                for lane in 0..LANES {
                    positive[lane] = if z[lane] <= 0.0 { 0.0 } else { z[lane] };
                }
                *out = positive;
            }
        }
    }
}

/// Writes `dz` of one image over zeros, and adds `dz` and `dz (y - mean)` to the sums of each channel.
#[inline(always)]
pub(super) fn slopes<I: Instructions>(
    source: PreActivation<'_>,
    pool: bool,
    upstream: &[Lane],
    width: usize,
    dz: &mut [Lane],
) -> Vec<[Sums; 2]> {
    let vectors = source.vectors();
    let mut sums = vec![[[0.0; LANES]; 2]; vectors];
    for (vector, sums) in sums.iter_mut().enumerate() {
        for (row, upstream) in upstream.chunks_exact(width * vectors).enumerate() {
            let mut of_row = [[0.0; LANES]; 2];
            for (column, upstream) in upstream.chunks_exact(vectors).enumerate() {
                let upstream = upstream[vector];
                if pool {
                    let window = window::<I>(&source, row, column, vector);
                    let best = largest(&window);
                    let mut left = passed(&best, upstream);
                    for under in 0..4 {
                        let [down, right] = WINDOW[under];
                        let slope = take(&mut left, &window[under], &best);
                        let place = ((2 * row + down) * source.grid.width + 2 * column + right) * vectors + vector;
                        dz[place] = slope;
                        add::<I>(&mut of_row, slope, &source, place, vector);
                    }
                } else {
                    let slope = passed(&source.at::<I>(row, column, vector), upstream);
                    let place = (row * source.grid.width + column) * vectors + vector;
                    dz[place] = slope;
                    add::<I>(&mut of_row, slope, &source, place, vector);
                }
            }
            accumulate(&mut sums[0], &of_row[0]);
            accumulate(&mut sums[1], &of_row[1]);
        }
    }
    sums
}

/// Computes the gradient of a ReLU.
#[inline(always)]
fn passed(z: &Lane, upstream: Lane) -> Lane {
    let (z, mut passed) = (*z, upstream);
    for lane in 0..LANES {
        passed[lane] = if z[lane] <= 0.0 { 0.0 } else { passed[lane] };
    }
    passed
}

/// Assigns the gradient to the first largest `z` of the window.
#[inline(always)]
fn take(left: &mut Lane, z: &Lane, best: &Lane) -> Lane {
    let (mut taken, mut rest, z, best) = (*left, *left, *z, *best);
    for lane in 0..LANES {
        taken[lane] = if z[lane] == best[lane] { taken[lane] } else { 0.0 };
    }
    for lane in 0..LANES {
        rest[lane] = if z[lane] == best[lane] { 0.0 } else { rest[lane] };
    }
    *left = rest;
    taken
}

#[inline(always)]
fn add<I: Instructions>(sums: &mut [Lane; 2], slope: Lane, source: &PreActivation<'_>, place: usize, vector: usize) {
    let (y, mean, slope, mut new) = (source.y[place], source.affine.mean[vector], slope, *sums);
    for lane in 0..LANES {
        new[0][lane] += slope[lane];
        new[1][lane] = multiply_add::<I>(slope[lane], y[lane] - mean[lane], new[1][lane]);
    }
    *sums = new;
}
