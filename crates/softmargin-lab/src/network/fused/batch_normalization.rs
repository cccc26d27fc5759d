//! Batch normalization (Ioffe and Szegedy 2015), for each channel over all images and pixels, M values.
//!
//! ```text
//! mean = sum y / M,  variance = sum (y - mean)^2 / M,  n = (y - mean) / sqrt(variance + epsilon),  z = gamma n + beta
//! dbeta = sum dz,  dgamma = sum dz n,  dy = gamma / sqrt(variance + epsilon) (dz - dbeta / M - n dgamma / M)
//! ```
//!
//! The variance is the biased one: divided by M, not M - 1. Sums over a row of pixels are in f32, then in f64. The
//! squares of an image are taken around the mean of the image, and the images are combined in their order (Chan, Golub
//! and LeVeque 1983), so that a large mean costs no precision.

use super::lanes::{LANES, Lane, multiply_add};
use softmargin::simd::Instructions;

/// A vector of sums.
pub(super) type Sums = [f64; LANES];

/// For one image: the sum of the values and the sum of their squares around the mean, for each vector of channels.
pub(super) type Moments = Vec<[Sums; 2]>;

/// Computes the moments of an image whose rows have `width` pixels of `vectors` vectors.
#[inline(always)]
pub(super) fn moments<I: Instructions>(image: &[Lane], width: usize, vectors: usize) -> Moments {
    let pixels = (image.len() / vectors) as f64;
    let mut moments = Vec::with_capacity(vectors);
    // No closures: the compiler may not inline them into a function that is compiled for an instruction set.
    for vector in 0..vectors {
        let sums = row_sums::<I, false>(image, [width, vectors, vector], &[0.0; LANES]);
        let mut mean = [0.0; LANES];
        for lane in 0..LANES {
            mean[lane] = (sums[lane] / pixels) as f32;
        }
        moments.push([sums, row_sums::<I, true>(image, [width, vectors, vector], &mean)]);
    }
    moments
}

/// Adds up a vector of channels, row by row: the values, or their squares around the mean.
#[inline(always)]
fn row_sums<I: Instructions, const SQUARES: bool>(
    image: &[Lane],
    [width, vectors, vector]: [usize; 3],
    mean: &Lane,
) -> Sums {
    let (mut total, mean) = ([0.0; LANES], *mean);
    for row in image.chunks_exact(width * vectors) {
        let mut sum = [0.0; LANES];
        for pixel in row.chunks_exact(vectors) {
            let value = pixel[vector];
            for lane in 0..LANES {
                let d = value[lane] - mean[lane];
                sum[lane] = if SQUARES { multiply_add::<I>(d, d, sum[lane]) } else { sum[lane] + value[lane] };
            }
        }
        accumulate(&mut total, &sum);
    }
    total
}

/// Adds a row's sums to those of an image.
#[inline(always)]
pub(super) fn accumulate(total: &mut Sums, row: &Lane) {
    for lane in 0..LANES {
        total[lane] += f64::from(row[lane]);
    }
}

/// Mean and variance of each channel.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

impl Statistics {
    /// Combines the moments of all images, each with `pixels` pixels.
    pub(super) fn join(images: &[Moments], pixels: usize, vectors: usize) -> Self {
        let (each, all) = (pixels as f64, (pixels * images.len()) as f64);
        let mut joined = Self { mean: Vec::new(), variance: Vec::new() };
        for (vector, lane) in (0..vectors).flat_map(|vector| (0..LANES).map(move |lane| (vector, lane))) {
            let sum: f64 = images.iter().map(|image| image[vector][0][lane]).sum();
            let mean = sum / all;
            let square = |image: &Moments| {
                // The squares were taken around the mean in f32.
                let own = image[vector][0][lane] / each;
                let around = own - f64::from(own as f32);
                image[vector][1][lane] + each * ((own - mean).powi(2) - around.powi(2))
            };
            let squares: f64 = images.iter().map(square).sum();
            joined.mean.push(mean as f32);
            let variance = squares / all;
            // Not the maximum with 0: that would hide NaN.
            joined.variance.push(if variance < 0.0 { 0.0 } else { variance as f32 });
        }
        joined
    }

    /// Computes scale and shift of `z = scale y + shift`, and the factor `1 / sqrt(variance + epsilon)`.
    pub(super) fn affine(&self, gamma: &[f32], beta: &[f32], epsilon: f64) -> Affine {
        let factor: Vec<f32> = self.variance.iter().map(|&v| (1.0 / (f64::from(v) + epsilon).sqrt()) as f32).collect();
        let scale: Vec<f32> = gamma.iter().zip(&factor).map(|(gamma, factor)| gamma * factor).collect();
        let terms = beta.iter().zip(&self.mean).zip(&scale);
        let shift: Vec<f32> = terms.map(|((beta, mean), scale)| beta - mean * scale).collect();
        Affine { scale: lanes(&scale), shift: lanes(&shift), mean: lanes(&self.mean), factor: lanes(&factor) }
    }
}

/// Normalization as one product and one sum.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) scale: Vec<Lane>,
    pub(super) shift: Vec<Lane>,
    pub(super) mean: Vec<Lane>,
    pub(super) factor: Vec<Lane>,
}

/// Groups channels into vectors; their number is a multiple of `LANES`.
pub(super) fn lanes(channels: &[f32]) -> Vec<Lane> {
    channels.as_chunks::<LANES>().0.to_vec()
}

/// For one image: `sum dz` and `sum dz (y - mean)`, for each vector of channels.
pub(super) type SlopeSums = Vec<[Sums; 2]>;

/// The gradients with respect to gamma and beta, and the terms that the gradient with respect to the input subtracts.
#[derive(Clone, Debug)]
pub(super) struct Slopes {
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    constant: Vec<Lane>,
    slant: Vec<Lane>,
}

impl Slopes {
    /// Combines the sums of all images, in their order; `count` is M.
    pub(super) fn join(images: &[SlopeSums], affine: &Affine, count: usize) -> Self {
        let mut slopes = Self { gamma: Vec::new(), beta: Vec::new(), constant: Vec::new(), slant: Vec::new() };
        for vector in 0..affine.scale.len() {
            let (mut constant, mut slant) = ([0.0; LANES], [0.0; LANES]);
            for lane in 0..LANES {
                let total = |which: usize| images.iter().map(|image| image[vector][which][lane]).sum::<f64>();
                let (factor, scale) = (f64::from(affine.factor[vector][lane]), f64::from(affine.scale[vector][lane]));
                let (beta, gamma) = (total(0), total(1) * factor);
                slopes.beta.push(beta as f32);
                slopes.gamma.push(gamma as f32);
                constant[lane] = (scale * beta / count as f64) as f32;
                slant[lane] = (scale * factor * gamma / count as f64) as f32;
            }
            slopes.constant.push(constant);
            slopes.slant.push(slant);
        }
        slopes
    }

    /// Turns `dz` into `dy`, in place.
    #[inline(always)]
    pub(super) fn apply<I: Instructions>(&self, affine: &Affine, y: &[Lane], slope: &mut [Lane]) {
        let vectors = affine.scale.len();
        for (y, slope) in y.chunks_exact(vectors).zip(slope.chunks_exact_mut(vectors)) {
            for vector in 0..vectors {
                let (scale, mean) = (affine.scale[vector], affine.mean[vector]);
                let (constant, slant, y) = (self.constant[vector], self.slant[vector], y[vector]);
                let mut result = slope[vector];
                for lane in 0..LANES {
                    let taken = multiply_add::<I>(slant[lane], y[lane] - mean[lane], constant[lane]);
                    result[lane] = multiply_add::<I>(scale[lane], result[lane], -taken);
                }
                slope[vector] = result;
            }
        }
    }
}
