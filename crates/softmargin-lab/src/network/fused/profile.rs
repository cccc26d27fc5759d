//! Timing of the parts of a layer.

use super::batch_normalization::Statistics;
use super::convolution::Grid;
use super::lanes::LANES;
use super::layer::{Convolved, Kept, Shape, activated, convolved, input_gradient, slopes, weight_gradient};
use crate::config::ConvolutionalPlan;
use softmargin::InstructionSet;
use std::time::Instant;

/// The parts of a layer's forward and backward, in their order.
pub const PARTS: [&str; 5] = [
    "convolution, moments",
    "normalization, maximum, ReLU",
    "their gradient",
    "gradient with respect to the input",
    "gradient with respect to the kernel",
];

/// Measures milliseconds of each of the [`PARTS`] on the CPU for `images` images, all layers of `plan` together: the
/// least of some rounds.
///
/// Layers whose channels are not a multiple of 16 are not fused, and are left out.
#[must_use]
pub fn profile(plan: &ConvolutionalPlan, images: usize) -> [f64; 5] {
    let [mut channels, height, width] = plan.image;
    let mut sides = [height, width];
    let mut total = [0.0; 5];
    for (number, convolution) in plan.convolutions.iter().enumerate() {
        let [height, width] = sides;
        let shape = Shape {
            images,
            input: Grid { height, width, channels },
            channels: convolution.channels,
            stride: convolution.stride,
            pool: convolution.pool,
            skip: convolution.skip,
            instructions: InstructionSet::best(),
        };
        if shape.is_whole() {
            let rounds: Vec<[f64; 5]> = (0..ROUNDS).map(|_| round(&shape, number > 0)).collect();
            for (part, total) in total.iter_mut().enumerate() {
                *total += 1e3 * rounds.iter().map(|round| round[part]).fold(f64::INFINITY, f64::min);
            }
        }
        sides = convolution.after_pool(convolution.before_pool(sides));
        channels = convolution.channels;
    }
    total
}

const ROUNDS: usize = 15;

/// Measures the seconds of each part of one forward and backward.
fn round(shape: &Shape, wants_input: bool) -> [f64; 5] {
    let numbers = |count: usize| -> Vec<f32> { (0..count).map(|at| (at * 7 % 11) as f32 / 11.0 - 0.4).collect() };
    let weight = numbers(shape.input.channels * shape.channels * 9);
    let x = numbers(shape.images * shape.input.values());
    let upstream = numbers(shape.images * shape.output().values());
    let (gamma, beta) = (vec![1.0; shape.channels], vec![0.0; shape.channels]);
    let mut times = [0.0; 5];
    let Convolved { framed, convolved, moments } = timed(&mut times[0], || convolved(shape, &x, &weight));
    let out = timed(&mut times[1], || {
        let statistics = Statistics::join(&moments, shape.convolved().pixels(), gamma.len() / LANES);
        let kept = Kept { framed, convolved, affine: statistics.affine(&gamma, &beta, 1e-5) };
        (activated(shape, &kept), kept)
    });
    let (_, kept) = out;
    let (mut slope, slopes) = timed(&mut times[2], || slopes(shape, &kept, &upstream));
    timed(&mut times[3], || input_gradient(shape, &kept, &weight, (&slopes, &mut slope), wants_input));
    timed(&mut times[4], || weight_gradient(shape, &kept.framed, &slope));
    times
}

fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *seconds = start.elapsed().as_secs_f64();
    result
}
