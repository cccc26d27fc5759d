//! One layer of the network on plain memory, images with the channels innermost.
//!
//! ```text
//! out = relu(pool(normalize(convolve(x, w)) + x))      pool and the sum with x if the layer has them
//! ```
//!
//! Forward stores the framed input and the output of the convolution; backward recomputes the rest, which costs less
//! than storing it. Groups of images are distributed over the threads. Sums over images are in their order, so the
//! results are bitwise identical for any number of threads.

use super::batch_normalization::{Affine, Moments, SlopeSums, Slopes, Statistics};
use super::convolution::{COLUMNS, Correlation, Grid, Input, Kernel, convolve, correlate, spread, starts};
use super::lanes::{LANES, Lane, widest};
use super::memory::Buffer;
use super::{batch_normalization, pooling};
use pooling::PreActivation;
use rayon::prelude::*;
use softmargin::InstructionSet;
use softmargin::simd::{Instructions, Work, run_on};

/// The least number of pixels that are processed together: enough that the sums of a kernel's gradient are rarely
/// loaded and stored, few enough for the first-level caches.
const GROUP_PIXELS: usize = 128;

/// The shape and the options of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) images: usize,
    /// The grid of the input.
    pub(super) input: Grid,
    /// Output channels: a multiple of [`LANES`].
    pub(super) channels: usize,
    pub(super) stride: usize,
    pub(super) pool: bool,
    pub(super) skip: bool,
    pub(super) instructions: InstructionSet,
}

impl Shape {
    /// Returns the grid of the output of the convolution.
    pub(super) fn convolved(&self) -> Grid {
        let [height, width] = [self.input.height, self.input.width].map(|side| side.div_ceil(self.stride));
        Grid { height, width, channels: self.channels }
    }

    /// Returns the grid of the output.
    pub(super) fn output(&self) -> Grid {
        let grid = self.convolved();
        if self.pool { Grid { height: grid.height / 2, width: grid.width / 2, ..grid } } else { grid }
    }

    /// Returns whether the channels are a multiple of [`LANES`] and the input is not empty.
    pub(super) fn is_whole(&self) -> bool {
        self.channels.is_multiple_of(LANES) && self.channels * self.images * self.input.values() > 0
    }

    fn framed(&self) -> Grid {
        self.input.framed()
    }

    fn vectors(&self) -> usize {
        self.channels / LANES
    }

    /// Returns the number of images that are processed together.
    fn group(&self) -> usize {
        GROUP_PIXELS.div_ceil(self.convolved().pixels().max(1)).min(self.images.max(1))
    }

    fn kernel_shape(&self) -> [usize; 2] {
        [self.input.channels, self.channels]
    }

    fn widest(&self) -> usize {
        widest(self.instructions)
    }
}

/// The parameters of a layer.
#[derive(Clone, Copy)]
pub(super) struct Parameters<'a> {
    /// (output channels, input channels, 3, 3)
    pub(super) weight: &'a [f32],
    pub(super) gamma: &'a [f32],
    pub(super) beta: &'a [f32],
    pub(super) epsilon: f64,
}

/// The values of forward that backward needs.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) framed: Buffer,
    pub(super) convolved: Buffer,
    pub(super) affine: Affine,
}

/// The result of forward with the statistics of the batch.
pub(super) struct Trained {
    pub(super) out: Vec<f32>,
    pub(super) statistics: Statistics,
    pub(super) kept: Kept,
}

/// Computes forward with the statistics of the batch.
pub(super) fn train(shape: &Shape, x: &[f32], parameters: Parameters<'_>) -> Trained {
    let Convolved { framed, convolved, moments } = convolved(shape, x, parameters.weight);
    let statistics = Statistics::join(&moments, shape.convolved().pixels(), shape.vectors());
    let affine = statistics.affine(parameters.gamma, parameters.beta, parameters.epsilon);
    let kept = Kept { framed, convolved, affine };
    Trained { out: activated(shape, &kept), statistics, kept }
}

/// The first half of forward.
pub(super) struct Convolved {
    pub(super) framed: Buffer,
    pub(super) convolved: Buffer,
    pub(super) moments: Vec<Moments>,
}

/// Convolves all images and computes the moments of each.
pub(super) fn convolved(shape: &Shape, x: &[f32], weight: &[f32]) -> Convolved {
    let kernel = Kernel::new(weight, shape.kernel_shape(), shape.widest());
    let (grid, group) = (shape.convolved(), shape.group());
    let starts = starts(group, shape.framed(), shape.stride, grid);
    let mut framed = Buffer::new(shape.images * shape.framed().values());
    let mut convolved = Buffer::new(shape.images * grid.values());
    let moments = chunks_mut(&mut framed, group * shape.framed().values())
        .zip(chunks_mut(&mut convolved, group * grid.values()))
        .zip(chunks(x, group * shape.input.values()))
        .flat_map_iter(|((framed, out), x)| {
            run_on(shape.instructions, Convolve { shape, kernel: &kernel, starts: &starts, x, framed, out })
        })
        .collect();
    Convolved { framed, convolved, moments }
}

/// Computes the second half of forward: normalization, skip connection, maximum, ReLU.
pub(super) fn activated(shape: &Shape, kept: &Kept) -> Vec<f32> {
    let (grid, group, affine) = (shape.convolved(), shape.group(), &kept.affine);
    let mut out = vec![0.0; shape.images * shape.output().values()];
    chunks_mut(&mut out, group * shape.output().values())
        .zip(chunks(&kept.convolved, group * grid.values()))
        .zip(chunks(&kept.framed, group * shape.framed().values()))
        .for_each(|((out, convolved), framed)| {
            run_on(shape.instructions, Activate { shape, affine, convolved, framed, out });
        });
    out
}

/// Computes forward with given statistics.
pub(super) fn infer(shape: &Shape, x: &[f32], parameters: Parameters<'_>, statistics: &Statistics) -> Vec<f32> {
    let kernel = Kernel::new(parameters.weight, shape.kernel_shape(), shape.widest());
    let (grid, group) = (shape.convolved(), shape.group());
    let starts = starts(group, shape.framed(), shape.stride, grid);
    let affine = statistics.affine(parameters.gamma, parameters.beta, parameters.epsilon);
    let mut result = vec![0.0; shape.images * shape.output().values()];
    let scratch = || [shape.framed(), grid].map(|grid| Buffer::new(group * grid.values()));
    chunks_mut(&mut result, group * shape.output().values())
        .zip(chunks(x, group * shape.input.values()))
        .for_each_init(scratch, |[framed, out], (result, x)| {
            let images = x.len() / shape.input.values();
            let (framed, out) = (&mut framed[..images * shape.framed().values()], &mut out[..images * grid.values()]);
            let infer = Infer {
                convolve: Convolve { shape, kernel: &kernel, starts: &starts, x, framed, out },
                affine: &affine,
                result,
            };
            run_on(shape.instructions, infer);
        });
    result
}

/// The gradients of a layer.
pub(super) struct Gradients {
    /// With respect to the input, if requested.
    pub(super) input: Option<Vec<f32>>,
    /// (output channels, input channels, 3, 3)
    pub(super) weight: Vec<f32>,
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
}

/// Computes backward: all gradients, from the gradient `upstream` with respect to the output.
pub(super) fn backward(shape: &Shape, kept: &Kept, weight: &[f32], upstream: &[f32], wants_input: bool) -> Gradients {
    let (mut slope, slopes) = slopes(shape, kept, upstream);
    let input = input_gradient(shape, kept, weight, (&slopes, &mut slope), wants_input);
    let weight = weight_gradient(shape, &kept.framed, &slope);
    Gradients { input, weight, gamma: slopes.gamma, beta: slopes.beta }
}

/// Computes `dz`, and the gradients of the normalization.
pub(super) fn slopes(shape: &Shape, kept: &Kept, upstream: &[f32]) -> (Buffer, Slopes) {
    let Kept { framed, convolved, affine } = kept;
    let (grid, group) = (shape.convolved(), shape.group());
    let mut slope = Buffer::new(convolved.len());
    let sums: Vec<SlopeSums> = chunks_mut(&mut slope, group * grid.values())
        .zip(chunks(convolved, group * grid.values()))
        .zip(chunks(framed, group * shape.framed().values()))
        .zip(chunks(upstream, group * shape.output().values()))
        .flat_map_iter(|(((slope, convolved), framed), upstream)| {
            run_on(shape.instructions, Slope { shape, affine, convolved, framed, upstream, slope })
        })
        .collect();
    (slope, Slopes::join(&sums, affine, shape.images * grid.pixels()))
}

/// Turns `dz` into `dy`, in place, and that into the gradient with respect to the input, if requested.
pub(super) fn input_gradient(
    shape: &Shape,
    kept: &Kept,
    weight: &[f32],
    (slopes, slope): (&Slopes, &mut [f32]),
    wanted: bool,
) -> Option<Vec<f32>> {
    let (grid, group, affine) = (shape.convolved(), shape.group(), &kept.affine);
    let groups = chunks_mut(slope, group * grid.values()).zip(chunks(&kept.convolved, group * grid.values()));
    if !wanted {
        groups.for_each(|(slope, convolved)| run_on(shape.instructions, Center { affine, slopes, convolved, slope }));
        return None;
    }
    let kernel = Kernel::turned(weight, shape.kernel_shape(), shape.widest());
    let spread = Grid { channels: shape.channels, ..shape.framed() };
    let starts = starts(group, spread, 1, shape.input);
    let mut gradient = vec![0.0; shape.images * shape.input.values()];
    groups.zip(chunks_mut(&mut gradient, group * shape.input.values())).for_each_init(
        || vec![0.0; group * spread.values()],
        |framed, ((slope, convolved), out)| {
            let center = Center { affine, slopes, convolved, slope };
            let images = out.len() / shape.input.values();
            let framed = &mut framed[..images * spread.values()];
            run_on(shape.instructions, Return { shape, kernel: &kernel, starts: &starts, center, framed, out });
        },
    );
    Some(gradient)
}

/// Computes the gradient with respect to the kernel, from `dy`.
pub(super) fn weight_gradient(shape: &Shape, framed: &[f32], slopes: &[f32]) -> Vec<f32> {
    let [inputs, outputs] = shape.kernel_shape();
    let run = 3 * inputs;
    let mut columns = vec![0.0; 3 * run * outputs];
    let (grid, stride, out, group, widest) =
        (shape.framed(), shape.stride, shape.convolved(), shape.group(), shape.widest());
    let sums = Correlation { framed, grid, stride, slopes, out, group, widest };
    let rows = columns.par_chunks_mut(run * outputs).enumerate();
    rows.flat_map(|(row, gradient)| {
        let parts = gradient.par_chunks_mut(COLUMNS * outputs).enumerate();
        parts.map(move |(part, gradient)| Correlate { sums, row, first: part * COLUMNS, gradient })
    })
    .for_each(|work| run_on(shape.instructions, work));
    let mut weight = vec![0.0; columns.len()];
    weight.par_chunks_mut(9 * inputs).enumerate().for_each(|(output, weight)| {
        for (place, weight) in weight.iter_mut().enumerate() {
            let (input, place) = (place / 9, place % 9);
            *weight = columns[(place * inputs + input) * outputs + output];
        }
    });
    weight
}

fn chunks<T: Sync>(values: &[T], size: usize) -> impl IndexedParallelIterator<Item = &[T]> {
    values.par_chunks(size.max(1))
}

fn chunks_mut<T: Send>(values: &mut [T], size: usize) -> impl IndexedParallelIterator<Item = &mut [T]> {
    values.par_chunks_mut(size.max(1))
}

#[inline(always)]
fn as_lanes(values: &[f32]) -> &[Lane] {
    values.as_chunks().0
}

#[inline(always)]
fn as_lanes_mut(values: &mut [f32]) -> &mut [Lane] {
    values.as_chunks_mut().0
}

/// Frames and convolves some images and computes the moments of each.
struct Convolve<'a> {
    shape: &'a Shape,
    kernel: &'a Kernel,
    starts: &'a [usize],
    x: &'a [f32],
    framed: &'a mut [f32],
    out: &'a mut [f32],
}

impl Convolve<'_> {
    #[inline(always)]
    fn convolve<I: Instructions>(&mut self) {
        let (input, grid) = (self.shape.input, self.shape.framed());
        for (x, framed) in self.x.chunks_exact(input.values()).zip(self.framed.chunks_exact_mut(grid.values())) {
            framed.fill(0.0);
            spread(x, input, 1, grid, framed);
        }
        let starts = &self.starts[..self.out.len() / self.shape.channels];
        convolve::<I, false>(Input { framed: self.framed, grid, starts }, self.kernel, self.out);
    }
}

impl Work for Convolve<'_> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn run<I: Instructions>(mut self) -> Vec<Moments> {
        self.convolve::<I>();
        let grid = self.shape.convolved();
        let mut moments = Vec::new();
        for y in self.out.chunks_exact(grid.values()) {
            moments.push(batch_normalization::moments::<I>(as_lanes(y), grid.width, self.shape.vectors()));
        }
        moments
    }
}

/// The second half of forward for some images.
struct Activate<'a> {
    shape: &'a Shape,
    affine: &'a Affine,
    convolved: &'a [f32],
    framed: &'a [f32],
    out: &'a mut [f32],
}

impl Work for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let (grid, output) = (self.shape.convolved(), self.shape.output());
        let framed = self.framed.chunks_exact(self.shape.framed().values());
        let images = self.convolved.chunks_exact(grid.values()).zip(framed);
        for ((y, framed), out) in images.zip(self.out.chunks_exact_mut(output.values())) {
            let source = source(self.shape, self.affine, y, framed);
            pooling::activate::<I>(source, self.shape.pool, output.width, as_lanes_mut(out));
        }
    }
}

#[inline(always)]
fn source<'a>(shape: &Shape, affine: &'a Affine, y: &'a [f32], framed: &'a [f32]) -> PreActivation<'a> {
    let skip = shape.skip.then(|| as_lanes(framed));
    PreActivation { y: as_lanes(y), grid: shape.convolved(), affine, skip }
}

/// The complete forward pass for some images.
struct Infer<'a> {
    convolve: Convolve<'a>,
    affine: &'a Affine,
    result: &'a mut [f32],
}

impl Work for Infer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(mut self) {
        self.convolve.convolve::<I>();
        let Convolve { shape, framed, out, .. } = self.convolve;
        Activate { shape, affine: self.affine, convolved: out, framed, out: self.result }.run::<I>();
    }
}

/// The gradient of some images back to the output of the normalization.
struct Slope<'a> {
    shape: &'a Shape,
    affine: &'a Affine,
    convolved: &'a [f32],
    framed: &'a [f32],
    upstream: &'a [f32],
    slope: &'a mut [f32],
}

impl Work for Slope<'_> {
    type Output = Vec<SlopeSums>;

    #[inline(always)]
    fn run<I: Instructions>(self) -> Vec<SlopeSums> {
        let (grid, output) = (self.shape.convolved(), self.shape.output());
        let framed = self.framed.chunks_exact(self.shape.framed().values());
        let images = self.convolved.chunks_exact(grid.values()).zip(framed);
        let slopes = self.upstream.chunks_exact(output.values()).zip(self.slope.chunks_exact_mut(grid.values()));
        let mut sums = Vec::new();
        for ((y, framed), (upstream, slope)) in images.zip(slopes) {
            let source = source(self.shape, self.affine, y, framed);
            // Pixels outside every window.
            slope.fill(0.0);
            let (upstream, slope) = (as_lanes(upstream), as_lanes_mut(slope));
            sums.push(pooling::slopes::<I>(source, self.shape.pool, upstream, output.width, slope));
        }
        sums
    }
}

/// The gradient of some images back through the normalization.
struct Center<'a> {
    affine: &'a Affine,
    slopes: &'a Slopes,
    convolved: &'a [f32],
    slope: &'a mut [f32],
}

impl Work for Center<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        self.slopes.apply::<I>(self.affine, as_lanes(self.convolved), as_lanes_mut(self.slope));
    }
}

/// The gradient of some images back to the input. The frame of `framed` is zero.
struct Return<'a> {
    shape: &'a Shape,
    kernel: &'a Kernel,
    starts: &'a [usize],
    center: Center<'a>,
    framed: &'a mut [f32],
    out: &'a mut [f32],
}

impl Work for Return<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let Self { shape, kernel, starts, center: Center { affine, slopes, convolved, slope }, framed, out } = self;
        if shape.skip {
            out.copy_from_slice(slope);
        }
        Center { affine, slopes, convolved, slope: &mut *slope }.run::<I>();
        let (from, grid) = (shape.convolved(), Grid { channels: shape.channels, ..shape.framed() });
        for (slope, framed) in slope.chunks_exact(from.values()).zip(framed.chunks_exact_mut(grid.values())) {
            spread(slope, from, shape.stride, grid, framed);
        }
        let input = Input { framed, grid, starts: &starts[..out.len() / shape.input.channels] };
        if shape.skip {
            convolve::<I, true>(input, kernel, out);
        } else {
            convolve::<I, false>(input, kernel, out);
        }
    }
}

/// A part of the gradient with respect to the kernel.
struct Correlate<'a> {
    sums: Correlation<'a>,
    row: usize,
    first: usize,
    gradient: &'a mut [f32],
}

impl Work for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        correlate::<I>(self.sums, self.row, self.first, self.gradient);
    }
}
