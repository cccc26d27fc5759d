//! Convolution with 3 x 3 kernels, padded by one, of images with the channels innermost.
//!
//! ```text
//! y[r, c, o]  = sum_{k, l, i} x[s r + k - 1, s c + l - 1, i] w[o, i, k, l]      k, l = 0, 1, 2; stride s
//! dx[r, c, i] = sum_{k, l, o} dy[(r + 1 - k) / s, (c + 1 - l) / s, o] w[o, i, k, l]
//! dw[o, i, k, l] = sum_{images, r, c} x[s r + k - 1, s c + l - 1, i] dy[r, c, o]
//! ```
//!
//! Values outside the image are 0, and so are the terms of `dx` with fractional indices. Images get a frame of zeros
//! first, so that the loops need no bounds. `dx` is then a convolution too: of `dy`, spread to the positions of `x`,
//! with the kernel rotated by 180 degrees. For one `k`, the values under the three `l` of a kernel are adjacent: a
//! `run` of 3 x inputs.
//!
//! Each output value is one sum in a fixed order, so the result does not depend on the distribution over threads.

use super::lanes::{LANES, Lane, multiply_add};
use rayon::prelude::*;
use softmargin::simd::Instructions;

/// Sides and channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Grid {
    pub(super) fn pixels(self) -> usize {
        self.height * self.width
    }

    pub(super) fn values(self) -> usize {
        self.pixels() * self.channels
    }

    /// Returns the grid with a frame of one pixel.
    pub(super) fn framed(self) -> Self {
        Self { height: self.height + 2, width: self.width + 2, ..self }
    }
}

/// Copies an image into an existing frame of zeros, with a distance of `step` between its pixels.
#[inline(always)]
pub(super) fn spread(image: &[f32], grid: Grid, step: usize, framed: Grid, out: &mut [f32]) {
    let Grid { width, channels, .. } = grid;
    let pitch = framed.width * channels;
    for (row, values) in image.chunks_exact(width * channels).enumerate() {
        let out = &mut out[(1 + step * row) * pitch + channels..][..((width - 1) * step + 1) * channels];
        if step == 1 {
            out.copy_from_slice(values);
            continue;
        }
        for (pixel, out) in values.chunks_exact(channels).zip(out.chunks_mut(step * channels)) {
            out[..channels].copy_from_slice(pixel);
        }
    }
}

/// A vector of a kernel, aligned so that none crosses a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Weights(Lane);

/// A kernel in the order of use: blocks of some vectors of outputs; within a block `k`, `l`, input, output.
#[derive(Debug)]
pub(super) struct Kernel {
    weights: Vec<Weights>,
    /// Vectors of outputs, block by block.
    blocks: Vec<usize>,
    inputs: usize,
    outputs: usize,
}

impl Kernel {
    /// Packs a kernel (outputs, inputs, 3, 3); `widest` is the most vectors that a block may have.
    pub(super) fn new(weight: &[f32], [inputs, outputs]: [usize; 2], widest: usize) -> Self {
        Self::pack([inputs, outputs], widest, |output, input, place| weight[(output * inputs + input) * 9 + place])
    }

    /// Packs the kernel of the gradient with respect to the input, from the same (outputs, inputs, 3, 3).
    pub(super) fn turned(weight: &[f32], [inputs, outputs]: [usize; 2], widest: usize) -> Self {
        Self::pack([outputs, inputs], widest, |input, output, place| weight[(output * inputs + input) * 9 + 8 - place])
    }

    fn pack([inputs, outputs]: [usize; 2], widest: usize, at: impl Fn(usize, usize, usize) -> f32 + Sync) -> Self {
        let blocks = blocks(outputs.div_ceil(LANES), widest);
        let mut weights = vec![Weights([0.0; LANES]); outputs.div_ceil(LANES) * 9 * inputs];
        let (mut first, mut rest) = (0, &mut weights[..]);
        for &vectors in &blocks {
            let (block, others) = rest.split_at_mut(9 * inputs * vectors);
            block.par_chunks_mut(inputs * vectors).enumerate().for_each(|(place, weights)| {
                for (at_place, weights) in weights.iter_mut().enumerate() {
                    let (input, output) = (at_place / vectors, first + at_place % vectors * LANES);
                    for (output, weight) in (output..outputs).zip(&mut weights.0) {
                        *weight = at(output, input, place);
                    }
                }
            });
            (first, rest) = (first + vectors * LANES, others);
        }
        Self { weights, blocks, inputs, outputs }
    }
}

/// Splits a number of vectors into blocks of 4, 2 and 1.
fn blocks(mut vectors: usize, widest: usize) -> Vec<usize> {
    let mut blocks = Vec::new();
    for width in [4, 2, 1].into_iter().filter(|&width| width <= widest) {
        blocks.extend(std::iter::repeat_n(width, vectors / width));
        vectors %= width;
    }
    blocks
}

/// Returns, for each output pixel of some framed images, the index of the first value under the kernel.
pub(super) fn starts(images: usize, framed: Grid, stride: usize, out: Grid) -> Vec<usize> {
    let pixels = |image| (0..out.height).flat_map(move |row| (0..out.width).map(move |column| (image, row, column)));
    let place =
        |(image, row, column)| image * framed.values() + (row * framed.width + column) * stride * framed.channels;
    (0..images).flat_map(pixels).map(place).collect()
}

/// Framed images to convolve.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) framed: &'a [f32],
    pub(super) grid: Grid,
    pub(super) starts: &'a [usize],
}

/// Writes the convolution, or adds it if `ADD`.
#[inline(always)]
pub(super) fn convolve<I: Instructions, const ADD: bool>(input: Input<'_>, kernel: &Kernel, out: &mut [f32]) {
    let mut first = 0;
    let mut weights = &kernel.weights[..];
    for &vectors in &kernel.blocks {
        let (block, rest) = weights.split_at(9 * kernel.inputs * vectors);
        let place = Place { first: first * LANES, outputs: kernel.outputs, run: 3 * kernel.inputs };
        match vectors {
            4 => sweep::<I, ADD, 6, 4>(input, block, place, out),
            2 => sweep::<I, ADD, 8, 2>(input, block, place, out),
            _ => sweep::<I, ADD, 6, 1>(input, block, place, out),
        }
        (first, weights) = (first + vectors, rest);
    }
}

/// The outputs that a block computes, and the number of all outputs.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    outputs: usize,
    run: usize,
}

/// Computes `P` pixels at a time, `V` vectors of outputs each, so that all of their sums stay in registers.
#[inline(always)]
fn sweep<I: Instructions, const ADD: bool, const P: usize, const V: usize>(
    input: Input<'_>,
    block: &[Weights],
    Place { first, outputs, run }: Place,
    out: &mut [f32],
) {
    let width = (V * LANES).min(outputs - first);
    let pitch = input.grid.width * input.grid.channels;
    for (starts, out) in input.starts.chunks(P).zip(out.chunks_mut(P * outputs)) {
        // At the end there may be fewer than `P` pixels; the last one is then computed more than once.
        let places = std::array::from_fn(|pixel| starts[pixel.min(starts.len() - 1)]);
        let mut sums = [[[0.0; LANES]; V]; P];
        tile::<I, P, V>(input.framed, places, [pitch, run], block, &mut sums);
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(outputs)) {
            let out = &mut out[first..first + width];
            for (value, sum) in out.iter_mut().zip(sums.as_flattened()) {
                *value = if ADD { *value + *sum } else { *sum };
            }
        }
    }
}

#[inline(always)]
fn tile<I: Instructions, const P: usize, const V: usize>(
    framed: &[f32],
    starts: [usize; P],
    [pitch, run]: [usize; 2],
    block: &[Weights],
    out: &mut [[Lane; V]; P],
) {
    // Copies, here and of the weights, so that the compiler can use registers.
    let mut sums = *out;
    for (row, weights) in block.chunks_exact(run * V).enumerate() {
        let mut runs: [&[f32]; P] = [&[]; P];
        for pixel in 0..P {
            runs[pixel] = &framed[starts[pixel] + row * pitch..][..run];
        }
        let (weights, _) = weights.as_chunks::<V>();
        let weights = &weights[..run];
        for place in 0..run {
            let weights = weights[place];
            for pixel in 0..P {
                let value = runs[pixel][place];
                for vector in 0..V {
                    add_product::<I>(value, &weights[vector].0, &mut sums[pixel][vector]);
                }
            }
        }
    }
    *out = sums;
}

#[inline(always)]
fn add_product<I: Instructions>(value: f32, weights: &Lane, sums: &mut Lane) {
    for lane in 0..LANES {
        sums[lane] = multiply_add::<I>(value, weights[lane], sums[lane]);
    }
}

/// The terms of the gradient with respect to the kernel: framed inputs and the gradients of the outputs, of all images.
#[derive(Clone, Copy)]
pub(super) struct Correlation<'a> {
    pub(super) framed: &'a [f32],
    pub(super) grid: Grid,
    pub(super) stride: usize,
    pub(super) slopes: &'a [f32],
    pub(super) out: Grid,
    /// The number of images that are processed together.
    pub(super) group: usize,
    pub(super) widest: usize,
}

/// Columns of the gradient with respect to the kernel that one task computes; a column is a position of a run.
pub(super) const COLUMNS: usize = 24;

/// Adds the gradient with respect to the kernel, for the columns of row `row` from `first` on, to (columns, outputs).
#[inline(always)]
pub(super) fn correlate<I: Instructions>(sums: Correlation<'_>, row: usize, first: usize, gradient: &mut [f32]) {
    let outputs = sums.out.channels;
    let columns = gradient.len() / outputs;
    let blocks = blocks(outputs / LANES, sums.widest);
    let groups = sums.framed.chunks(sums.group * sums.grid.values());
    for (framed, slopes) in groups.zip(sums.slopes.chunks(sums.group * sums.out.values())) {
        let group = Correlation { framed, slopes, ..sums };
        let mut column = 0;
        while column < columns {
            // A run is a multiple of three.
            let wide = columns - column >= 6;
            let mut output = 0;
            for &vectors in &blocks {
                let at = At { place: row * sums.grid.width * sums.grid.channels + first + column, column, output };
                match (wide, vectors) {
                    (true, 4) => outer::<I, 6, 4>(group, at, gradient),
                    (true, 2) => outer::<I, 6, 2>(group, at, gradient),
                    (true, _) => outer::<I, 6, 1>(group, at, gradient),
                    (false, 4) => outer::<I, 3, 4>(group, at, gradient),
                    (false, 2) => outer::<I, 3, 2>(group, at, gradient),
                    (false, _) => outer::<I, 3, 1>(group, at, gradient),
                }
                output += vectors * LANES;
            }
            column += if wide { 6 } else { 3 };
        }
    }
}

/// The position of a tile of the gradient with respect to the kernel, and of its inputs in a framed image.
#[derive(Clone, Copy)]
struct At {
    place: usize,
    column: usize,
    output: usize,
}

/// Adds `P` columns and `V` vectors of outputs, over all pixels of the group.
#[inline(always)]
fn outer<I: Instructions, const P: usize, const V: usize>(group: Correlation<'_>, at: At, gradient: &mut [f32]) {
    let outputs = group.out.channels;
    let mut tile = [[[0.0; LANES]; V]; P];
    for (column, tile) in tile.iter_mut().enumerate() {
        let from = &gradient[(at.column + column) * outputs + at.output..][..V * LANES];
        tile.as_flattened_mut().copy_from_slice(from);
    }
    let (pitch, step) = (group.grid.width * group.grid.channels * group.stride, group.grid.channels * group.stride);
    let images = group.framed.chunks_exact(group.grid.values()).zip(group.slopes.chunks_exact(group.out.values()));
    for (framed, slopes) in images {
        // Copies, as above.
        let mut sums = tile;
        for (row, slopes) in slopes.chunks_exact(group.out.width * outputs).enumerate() {
            let values = &framed[row * pitch + at.place..];
            for (pixel, slopes) in slopes.chunks_exact(outputs).enumerate() {
                let slopes = slopes[at.output..].as_chunks::<LANES>().0;
                let (Some(slopes), Some(values)) =
                    (slopes.first_chunk::<V>(), values[pixel * step..].first_chunk::<P>())
                else {
                    continue;
                };
                let (slopes, values) = (*slopes, *values);
                for column in 0..P {
                    for vector in 0..V {
                        add_product::<I>(values[column], &slopes[vector], &mut sums[column][vector]);
                    }
                }
            }
        }
        tile = sums;
    }
    for (column, tile) in tile.iter().enumerate() {
        let into = &mut gradient[(at.column + column) * outputs + at.output..][..V * LANES];
        into.copy_from_slice(tile.as_flattened());
    }
}
