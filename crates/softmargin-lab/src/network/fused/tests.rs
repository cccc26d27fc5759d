//! The layer compared with Burn's operations, with a plain loop in f64 and its finite differences, and with itself on
//! other numbers of threads and instruction sets.

use super::batch_normalization::Statistics;
use super::convolution::Grid;
use super::layer::{Gradients, Parameters, Shape, Trained, backward, infer, train};
use crate::config::Convolution;
use crate::network::convolutions::Layer;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use softmargin::InstructionSet;
use softmargin::random::{Generator, Purpose};

const EPSILON: f64 = 1e-5;

/// Images, height, width, channels in and out, stride, pool, skip.
type Case = (usize, [usize; 2], [usize; 2], usize, bool, bool);

const CASES: [Case; 14] = [
    (4, [8, 8], [1, 16], 1, true, false),
    (3, [28, 28], [1, 16], 1, true, false),
    (2, [7, 9], [3, 16], 1, false, false),
    (5, [7, 7], [16, 16], 1, false, true),
    (3, [7, 5], [32, 32], 1, true, true),
    (1, [9, 11], [16, 32], 1, true, false),
    (1, [5, 3], [5, 48], 2, false, false),
    (2, [13, 10], [16, 64], 2, true, false),
    (2, [16, 16], [1, 16], 2, true, false),
    (17, [4, 4], [64, 128], 1, false, false),
    (11, [3, 3], [128, 128], 1, false, true),
    (6, [1, 1], [16, 32], 1, false, false),
    (2, [1, 30], [2, 16], 1, false, false),
    (3, [2, 2], [7, 112], 2, false, false),
];

fn numbers(count: usize, number: u64) -> Vec<f32> {
    let mut stream = Generator::new(7, Purpose::Weights, number);
    (0..count).map(|_| stream.between(-1.0, 1.0) as f32).collect()
}

/// Gradients and inputs of a case: x, weight, gamma, beta and the gradient of the output.
fn problem(shape: &Shape) -> [Vec<f32>; 5] {
    let (inputs, outputs) = (shape.input.channels, shape.channels);
    let counts = [
        shape.images * shape.input.values(),
        inputs * outputs * 9,
        outputs,
        outputs,
        shape.images * shape.output().values(),
    ];
    let mut numbers: [Vec<f32>; 5] = std::array::from_fn(|part| numbers(counts[part], part as u64));
    numbers[2].iter_mut().for_each(|gamma| *gamma = 0.6 + 0.5 * *gamma);
    numbers
}

fn shape((images, [height, width], [inputs, channels], stride, pool, skip): Case) -> Shape {
    let input = Grid { height, width, channels: inputs };
    Shape { images, input, channels, stride, pool, skip, instructions: InstructionSet::best() }
}

fn compute(shape: &Shape) -> (Trained, Gradients) {
    let [x, weight, gamma, beta, upstream] = problem(shape);
    let parameters = Parameters { weight: &weight, gamma: &gamma, beta: &beta, epsilon: EPSILON };
    let trained = train(shape, &x, parameters);
    let gradients = backward(shape, &trained.kept, &weight, &upstream, true);
    (trained, gradients)
}

#[track_caller]
fn near(what: &str, got: &[f32], want: &[f32], relative: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(1e-3_f32, |size, value| size.max(value.abs()));
    for (place, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= relative * size, "{what} at {place}: {got}, expected {want}, of {size}");
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Returns the layer of a case with its parameters, and its input (images, channels, height, width).
fn module(shape: &Shape, device: &Device) -> (Layer, Tensor<4>) {
    let [x, weight, gamma, beta, _] = problem(shape);
    let Grid { height, width, channels } = shape.input;
    let convolution =
        Convolution { channels: shape.channels, stride: shape.stride, pool: shape.pool, skip: shape.skip };
    let mut layer = Layer::new(channels, &convolution, device);
    let parameter = |values: Vec<f32>| {
        Param::from_tensor(Tensor::<1>::from_data(TensorData::new(values, [shape.channels]), device))
    };
    let weight = Tensor::<4>::from_data(TensorData::new(weight, [shape.channels, channels, 3, 3]), device);
    layer.convolution.weight = Param::from_tensor(weight);
    layer.normalization.gamma = parameter(gamma);
    layer.normalization.beta = parameter(beta);
    let x = Tensor::<4>::from_data(TensorData::new(x, [shape.images, height, width, channels]), device);
    (layer, x.permute([0, 3, 1, 2]))
}

/// Output; gradients with respect to input, weight, gamma and beta; running mean and variance.
fn differentiate(shape: &Shape, forward: impl Fn(&Layer, Tensor<4>) -> Tensor<4>) -> [Vec<f32>; 7] {
    let device = Device::flex().autodiff();
    let (layer, x) = module(shape, &device);
    let x = Tensor::from_inner(x.inner()).require_grad();
    let out = forward(&layer, x.clone());
    let [count, channels, height, width] = out.dims();
    let [.., upstream] = problem(shape);
    let upstream = Tensor::<4>::from_data(TensorData::new(upstream, [count, height, width, channels]), &device);
    let gradients = (out.clone() * upstream.permute([0, 3, 1, 2])).sum().backward();
    let normalization = &layer.normalization;
    [
        values(out),
        values(x.grad(&gradients).unwrap()),
        values(layer.convolution.weight.grad(&gradients).unwrap()),
        values(normalization.gamma.grad(&gradients).unwrap()),
        values(normalization.beta.grad(&gradients).unwrap()),
        values(normalization.running_mean.value_sync()),
        values(normalization.running_var.value_sync()),
    ]
}

#[test]
fn the_same_as_burn_composes_it() {
    for case in CASES {
        let shape = shape(case);
        let flat = shape.images.is_multiple_of(2);
        let fused = differentiate(&shape, |layer, x| layer.forward(x, flat));
        let composed = differentiate(&shape, Layer::composed);
        let names = ["output", "input", "weight", "gamma", "beta", "mean", "variance"];
        for (name, (fused, composed)) in names.iter().zip(fused.iter().zip(&composed)) {
            // One value a channel has no variance: what is left is the rounding of a difference, times 300.
            let tolerance = if shape.images * shape.convolved().pixels() < 4 { 1e-2 } else { 1e-4 };
            near(&format!("{name} of {case:?}"), fused, composed, tolerance);
        }
    }
}

#[test]
fn inference_is_the_same_as_burn_composes_it() {
    for case in CASES {
        let (layer, x) = module(&shape(case), &Device::flex().autodiff());
        // Moves the running statistics away from where they begin.
        layer.forward(x.clone(), false);
        let (layer, x) = (layer.valid(), x.inner());
        let (fused, composed) = (values(layer.forward(x.clone(), false)), values(layer.composed(x)));
        near(&format!("{case:?}"), &fused, &composed, 1e-5);
    }
}

#[test]
fn other_channels_and_a_frozen_layer_are_composed() {
    let device = Device::flex().autodiff();
    let (mut layer, x) = module(&shape((3, [6, 6], [2, 16], 1, true, false)), &device);
    let before = values(layer.normalization.running_mean.value_sync());
    layer = layer.freeze();
    near("frozen", &values(layer.forward(x.clone(), false)), &values(layer.composed(x)), 0.0);
    assert_eq!(values(layer.normalization.running_mean.value_sync()), before);
    let convolution = Convolution { channels: 10, stride: 1, pool: false, skip: false };
    let layer = Layer::new(2, &convolution, &Device::flex());
    let x = Tensor::ones([1, 2, 4, 4], &Device::flex());
    near("10 channels", &values(layer.forward(x.clone(), false)), &values(layer.composed(x)), 0.0);
}

/// Computes the layer in f64, one value after the other; the mean over all outputs times `upstream`.
fn oracle(shape: &Shape, [x, weight, gamma, beta, upstream]: &[Vec<f64>; 5]) -> f64 {
    let (input, grid, output) = (shape.input, shape.convolved(), shape.output());
    let at = |image: usize, row: isize, column: isize, channel: usize| {
        let inside = row >= 0 && column >= 0 && row < input.height as isize && column < input.width as isize;
        let place = |row: usize, column: usize| {
            ((image * input.height + row) * input.width + column) * input.channels + channel
        };
        if inside { x[place(row as usize, column as usize)] } else { 0.0 }
    };
    let mut total = 0.0;
    for channel in 0..shape.channels {
        let mut y = Vec::new();
        for (image, row, column) in places(shape.images, grid) {
            let mut sum = 0.0;
            for (i, k, l) in places(input.channels, Grid { height: 3, width: 3, channels: 1 }) {
                let (row, column) = ((row * shape.stride + k) as isize - 1, (column * shape.stride + l) as isize - 1);
                sum += at(image, row, column, i) * weight[((channel * input.channels + i) * 3 + k) * 3 + l];
            }
            y.push(sum);
        }
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / y.len() as f64;
        let z = |image: usize, row: usize, column: usize| {
            let y = y[(image * grid.height + row) * grid.width + column];
            let skip = if shape.skip { at(image, row as isize, column as isize, channel) } else { 0.0 };
            gamma[channel] * (y - mean) / (variance + EPSILON).sqrt() + beta[channel] + skip
        };
        for (place, (image, row, column)) in places(shape.images, output).enumerate() {
            let side = if shape.pool { 2 } else { 1 };
            let under =
                (0..side).flat_map(|down| (0..side).map(move |right| (side * row + down, side * column + right)));
            let out = under.map(|(row, column)| z(image, row, column)).fold(0.0, f64::max);
            total += out * upstream[place * shape.channels + channel];
        }
    }
    total
}

fn places(images: usize, grid: Grid) -> impl Iterator<Item = (usize, usize, usize)> {
    let rows =
        move |image| (0..grid.height).flat_map(move |row| (0..grid.width).map(move |column| (image, row, column)));
    (0..images).flat_map(rows)
}

#[test]
fn gradients_are_the_differences_of_a_plain_loop() {
    let cases = [
        (3, [5, 6], [2, 16], 1, true, false),
        (2, [5, 4], [16, 16], 1, true, true),
        (2, [7, 5], [3, 16], 2, false, false),
        (4, [3, 3], [16, 16], 1, false, true),
    ];
    let mut compared = 0;
    for case in cases {
        let shape = shape(case);
        let (_, gradients) = compute(&shape);
        let gradients =
            [&gradients.input.unwrap(), &gradients.weight, &gradients.gamma, &gradients.beta].map(Vec::clone);
        let problem = problem(&shape).map(|part| part.into_iter().map(f64::from).collect::<Vec<_>>());
        for (part, gradient) in gradients.iter().enumerate() {
            for place in (0..gradient.len()).step_by(gradient.len().div_ceil(12)) {
                let difference = |step: f64| {
                    let moved = |by: f64| {
                        let mut moved = problem.clone();
                        moved[part][place] += by;
                        oracle(&shape, &moved)
                    };
                    (moved(step) - moved(-step)) / (2.0 * step)
                };
                let (far, close) = (difference(1e-5), difference(1e-6));
                // Between the two a maximum changes its place, or a ReLU opens: there is no derivative to compare with.
                if (far - close).abs() > 1e-5 * (1.0 + far.abs()) {
                    continue;
                }
                let got = f64::from(gradient[place]);
                assert!((got - close).abs() < 2e-4 * (1.0 + close.abs()), "{case:?} {part} {place}: {got}, {close}");
                compared += 1;
            }
        }
    }
    assert!(compared > 120, "{compared}");
}

fn bits(shape: &Shape) -> Vec<u32> {
    let (trained, gradients) = compute(shape);
    let Trained { out, statistics: Statistics { mean, variance }, .. } = trained;
    let [x, weight, gamma, beta, _] = problem(shape);
    let parameters = Parameters { weight: &weight, gamma: &gamma, beta: &beta, epsilon: EPSILON };
    let inferred = infer(shape, &x, parameters, &Statistics { mean: mean.clone(), variance: variance.clone() });
    let parts =
        [out, mean, variance, inferred, gradients.input.unwrap(), gradients.weight, gradients.gamma, gradients.beta];
    parts.into_iter().flatten().map(f32::to_bits).collect()
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    for case in CASES {
        let shape = shape(case);
        let on =
            |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| bits(&shape));
        let one = on(1);
        for threads in [2, 3, 5] {
            assert!(on(threads) == one, "{case:?} on {threads} threads");
        }
    }
}

#[test]
fn every_instruction_set_computes_the_same_within_rounding() {
    for case in CASES.into_iter().filter(|(images, [height, width], ..)| images * height * width > 8) {
        let best = compute(&shape(case));
        for instructions in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
            let other = compute(&Shape { instructions, ..shape(case) });
            let what = format!("{case:?} with {instructions:?}");
            near(&what, &other.0.out, &best.0.out, 1e-4);
            near(&what, &other.1.input.unwrap(), best.1.input.as_ref().unwrap(), 1e-4);
            near(&what, &other.1.weight, &best.1.weight, 1e-4);
            near(&what, &other.1.gamma, &best.1.gamma, 1e-4);
        }
    }
}

#[test]
fn a_nan_is_passed_on() {
    let shape = shape((2, [4, 4], [1, 16], 1, true, false));
    let [mut x, weight, gamma, beta, _] = problem(&shape);
    x[20] = f32::NAN;
    let parameters = Parameters { weight: &weight, gamma: &gamma, beta: &beta, epsilon: EPSILON };
    let statistics = Statistics { mean: vec![0.0; 16], variance: vec![1.0; 16] };
    let out = infer(&shape, &x, parameters, &statistics);
    assert!(out[..64].iter().all(|value| value.is_finite()));
    assert!(out[64..128].iter().any(|value| value.is_nan()));
    assert!(train(&shape, &x, parameters).out.iter().all(|value| value.is_nan()));
}
