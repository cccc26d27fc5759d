//! Tests of the fused head: error relative to the unfused head, threads, tiles, modes, shapes, optimizer steps, sampling.

use crate::problem::{Random, random_state};
use crate::tolerances::{BETWEEN_VARIANTS, BF16, FUSED_AGAINST_UNFUSED};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use softmargin::head::{
    Head, HeadBatch, HeadGradients, HeadNumber, HeadOptions, HeadParameters, HeadParametersMut, Mode, Optimizer,
    Precision, Rule,
};
use softmargin::{
    Comparison, ErrorKind, Geometry, InstructionSet, LossSpec, LossState, Real, Reduction, RowInputs, Scale,
    SmoothGate, presets,
};

/// Embeddings, prototypes and targets.
#[derive(Clone)]
struct Data {
    x: Array2<f64>,
    w: Array2<f64>,
    labels: Array1<i64>,
    state: LossState,
}

impl Data {
    /// Creates random values that are exact in f32, and in bf16 if `short`.
    fn random(seed: u64, spec: &LossSpec, [rows, classes, width]: [usize; 3], short: bool) -> Self {
        let mut random = Random::new(seed);
        let exact = |v: f64| if short { f64::from(f32::from_bits((v as f32).to_bits() & 0xffff_0000)) } else { v };
        let x = random.matrix(rows, width, -1.0, 1.0).mapv(exact);
        let w = random.matrix(classes * spec.sub_centers, width, -1.0, 1.0).mapv(exact);
        let labels = Array1::from(random.labels(rows, classes.max(1)));
        Self { x, w, labels, state: random_state(&mut random) }
    }

    /// Creates data as after training: every embedding has a cosine of about 0.95 to its target.
    fn trained(seed: u64, spec: &LossSpec, shape: [usize; 3]) -> Self {
        let mut data = Self::random(seed, spec, shape, false);
        for (mut x, &label) in data.x.rows_mut().into_iter().zip(&data.labels) {
            let w = data.w.row(label as usize * spec.sub_centers);
            x.zip_mut_with(&w, |x, &w| *x = f64::from((0.33 * *x + w) as f32));
        }
        data
    }

    fn evaluate<F: HeadNumber>(&self, head: &Head, reduction: Reduction) -> (f64, HeadGradients<F>) {
        let (x, w) = (self.x.mapv(F::round_from), self.w.mapv(F::round_from));
        let bias = head.loss().spec().geometry.has_bias().then(|| Array1::from_elem(w.nrows(), F::round_from(0.25)));
        let mut parameters = HeadParameters::new(w.view());
        if let Some(bias) = &bias {
            parameters = parameters.with_bias(bias.view());
        }
        let mut rows = RowInputs::new(self.labels.view());
        if head.loss().initial_state().is_some() {
            rows = rows.with_state(&self.state);
        }
        let batch = HeadBatch::new(x.view(), rows);
        let (value, gradients) = head.value_and_grad(&batch, parameters, reduction).expect("a sound batch");
        (value.total.widen(), gradients)
    }
}

fn spec_of(name: &str, classes: usize) -> LossSpec {
    let counts: Vec<u64> = (0..classes).map(|class| 5 + class as u64 % 7).collect();
    let spec = presets::find(name).unwrap().spec().with_class_counts(&counts);
    match spec.geometry {
        Geometry::InnerProduct { temperature, .. } => {
            spec.with_geometry(Geometry::InnerProduct { bias: false, temperature })
        }
        _ => spec,
    }
}

fn with_mode(spec: &LossSpec, classes: usize, mode: Mode) -> Head {
    let options = HeadOptions { mode, ..HeadOptions::default() };
    Head::with_options(spec.clone().build(classes).unwrap(), options).unwrap()
}

/// Returns the norm of the difference relative to the norm of the expected values. The denominator is at least 0.1, the
/// size of the terms, because gradients may vanish.
fn relative_error<F: Real>(got: &Array2<F>, want: &Array2<f64>) -> f64 {
    let square = |all: &mut dyn Iterator<Item = f64>| all.map(|v| v * v).sum::<f64>().sqrt();
    let error = square(&mut got.iter().zip(want).map(|(got, want)| got.widen() - want));
    error / square(&mut want.iter().copied()).max(0.1)
}

fn bits(result: &(f64, HeadGradients<f32>)) -> Vec<u64> {
    let (total, gradients) = result;
    let matrices = gradients.embeddings.iter().chain(&gradients.weight).chain(&gradients.learned.bias);
    let numbers = matrices.copied().chain([gradients.learned.scale, gradients.learned.radius]).map(f64::from);
    std::iter::once(*total).chain(numbers).map(f64::to_bits).collect()
}

/// Compares the errors of the fused and the unfused f32 head, both relative to f64 on the same inputs.
///
/// The errors of loss, dX and dW are RMS values over several batches, because the error of a single batch is random.
fn compare_errors(name: &str, spec: &LossSpec, classes: usize, batches: &[Data]) {
    let errors = |mode: Mode| -> [f64; 3] {
        let squares = batches.iter().map(|data| {
            let exact = data.evaluate::<f64>(&with_mode(spec, classes, Mode::Unfused), Reduction::Mean);
            let (total, got) = data.evaluate::<f32>(&with_mode(spec, classes, mode), Reduction::Mean);
            let of_loss = (total - exact.0) / exact.0.abs().max(f64::MIN_POSITIVE);
            let error = [
                of_loss,
                relative_error(&got.embeddings, &exact.1.embeddings),
                relative_error(&got.weight, &exact.1.weight),
            ];
            error.map(|error| error * error / batches.len() as f64)
        });
        squares.fold([0.0; 3], |sum, one| std::array::from_fn(|k| sum[k] + one[k])).map(f64::sqrt)
    };
    let unfused = errors(Mode::Unfused);
    for mode in [Mode::Store, Mode::Recompute] {
        let fused = errors(mode);
        println!("{name} {mode:?}: fused {fused:?}, unfused {unfused:?}");
        for (what, (fused, unfused)) in ["loss", "dX", "dW"].into_iter().zip(fused.into_iter().zip(unfused)) {
            // Errors below one rounding of the result are not comparable.
            let allowed = FUSED_AGAINST_UNFUSED * unfused.max(f64::from(f32::EPSILON));
            assert!(fused <= allowed, "{name} {mode:?} {what}: fused {fused:e}, unfused {unfused:e}");
        }
    }
}

#[test]
fn the_error_is_at_most_that_of_the_unfused_head() {
    for preset in presets::all() {
        let classes = 700;
        let spec = spec_of(preset.name, classes);
        let shape = [24, classes, 96];
        let batches = |of: &dyn Fn(u64) -> Data| (1..=8).map(of).collect::<Vec<Data>>();
        let random = batches(&|seed| Data::random(seed, &spec, shape, false));
        compare_errors(&format!("{} random", preset.name), &spec, classes, &random);
        let trained = batches(&|seed| Data::trained(seed, &spec, shape));
        compare_errors(&format!("{} trained", preset.name), &spec, classes, &trained);
    }
    // Many classes and a large scale, that is, sums of 100,000 exponentials.
    let classes = 100_000;
    for name in ["am-softmax", "cross-entropy"] {
        let scale = Scale::fixed(if name == "am-softmax" { 64.0 } else { 1.0 });
        let spec = spec_of(name, classes).with_scale(scale);
        let trained: Vec<Data> = (1..=3).map(|seed| Data::trained(seed, &spec, [4, classes, 32])).collect();
        compare_errors(&format!("{name} many"), &spec, classes, &trained);
    }
}

#[test]
fn results_are_bitwise_identical_for_any_number_of_threads() {
    for name in ["am-softmax", "cross-entropy", "sub-center-arcface", "crammer-singer", "weston-watkins"] {
        let (rows, classes) = (70, 3000);
        let spec = spec_of(name, classes);
        let data = Data::random(5, &spec, [rows, classes, 40], false);
        for mode in [Mode::Store, Mode::StoreHalf, Mode::Recompute, Mode::RowChunked] {
            let of_threads = |threads: usize| {
                let pool = rayon_pool(threads);
                pool.install(|| bits(&data.evaluate(&with_mode(&spec, classes, mode), Reduction::Mean)))
            };
            let one = of_threads(1);
            for threads in [2, 3, 5] {
                assert!(one == of_threads(threads), "{name} {mode:?}: {threads} threads and one thread differ");
            }
            let head = with_mode(&spec, classes, mode);
            let first = bits(&data.evaluate(&head, Reduction::Mean));
            assert!(
                first == one && first == bits(&data.evaluate(&head, Reduction::Mean)),
                "{name} {mode:?}: repeated evaluations differ"
            );
        }
    }
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

#[test]
fn modes_tiles_and_instruction_sets_agree() {
    let reference = |spec: &LossSpec, classes, data: &Data| {
        data.evaluate::<f64>(&with_mode(spec, classes, Mode::Unfused), Reduction::Mean).1
    };
    // Odd shapes, a batch of two blocks, and many rows of few classes, which `Auto` computes in chunks of rows.
    for shape in [[1, 1, 1], [1, 2, 2], [3, 5, 17], [33, 130, 31], [17, 1001, 3], [1040, 90, 20], [1100, 7, 33]] {
        let [_, classes, _] = shape;
        for name in ["am-softmax", "cross-entropy", "arcface", "weston-watkins", "one-versus-rest", "mv-softmax"] {
            let spec = spec_of(name, classes);
            let data = Data::random(7, &spec, shape, false);
            let want = reference(&spec, classes, &data);
            let check = |head: &Head, what: &str| {
                let (_, got) = data.evaluate::<f32>(head, Reduction::Mean);
                let error =
                    relative_error(&got.embeddings, &want.embeddings).max(relative_error(&got.weight, &want.weight));
                assert!(error <= BETWEEN_VARIANTS, "{name} {shape:?} {what}: {error:e}");
            };
            for mode in [Mode::Auto, Mode::Store, Mode::Recompute, Mode::RowChunked, Mode::Unfused] {
                for tile in [1, 7, 100] {
                    check(&with_mode(&spec, classes, mode).with_tile(tile), &format!("{mode:?} tile {tile}"));
                }
                for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
                    let options = HeadOptions { mode, ..HeadOptions::default() };
                    let loss = spec.clone().build(classes).unwrap().with_instruction_set(set);
                    check(&Head::with_options(loss, options).unwrap(), &format!("{mode:?} {set:?}"));
                }
            }
        }
    }
}

#[test]
fn reduced_precision_stays_within_its_tolerance() {
    for shape in [[5, 9, 17], [40, 300, 64], [130, 1000, 100]] {
        let [_, classes, _] = shape;
        for name in ["am-softmax", "cross-entropy", "arcface", "weston-watkins", "curricularface"] {
            let spec = spec_of(name, classes);
            let data = Data::random(8, &spec, shape, true);
            let (total, want) = data.evaluate::<f64>(&with_mode(&spec, classes, Mode::Unfused), Reduction::Mean);
            for (mode, precision) in [
                (Mode::StoreHalf, Precision::F32),
                (Mode::Auto, Precision::Bf16),
                (Mode::Store, Precision::Bf16),
                (Mode::Recompute, Precision::Bf16),
                (Mode::RowChunked, Precision::Bf16),
            ] {
                for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
                    let options = HeadOptions { mode, precision, ..HeadOptions::default() };
                    let loss = spec.clone().build(classes).unwrap().with_instruction_set(set);
                    let (value, got) =
                        data.evaluate::<f32>(&Head::with_options(loss, options).unwrap(), Reduction::Mean);
                    let error = relative_error(&got.embeddings, &want.embeddings)
                        .max(relative_error(&got.weight, &want.weight));
                    let loss_error = (value - total).abs() / total;
                    assert!(
                        error <= BF16 && loss_error <= BF16,
                        "{name} {shape:?} {mode:?} {precision:?}: {error:e} {loss_error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn results_are_bitwise_identical_for_any_strides() {
    for name in ["am-softmax", "cross-entropy", "l-softmax"] {
        let spec = spec_of(name, 50);
        let data = Data::random(9, &spec, [19, 50, 23], false);
        let head = Head::new(spec.build(50).unwrap());
        let (x, w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
        let state = head.loss().initial_state();
        let batch = |x| {
            let rows = RowInputs::new(data.labels.view());
            HeadBatch::new(x, state.as_ref().map_or(rows, |state| rows.with_state(state)))
        };
        let (value, want) = head.value_and_grad(&batch(x.view()), w.view(), Reduction::Mean).unwrap();
        let (x_transposed, w_transposed) =
            (x.t().as_standard_layout().into_owned(), w.t().as_standard_layout().into_owned());
        let spread = |all: ArrayView2<'_, f32>| {
            let mut wide = Array2::from_elem((2 * all.nrows(), 3 * all.ncols()), f32::NAN);
            wide.slice_mut(s![..;2, ..;3]).assign(&all);
            wide
        };
        let (x_spread, w_spread) = (spread(x.view()), spread(w.view()));
        let views =
            [(x_transposed.t(), w_transposed.t()), (x_spread.slice(s![..;2, ..;3]), w_spread.slice(s![..;2, ..;3]))];
        for (x, w) in views {
            let (repeated, got) = head.value_and_grad(&batch(x), w, Reduction::Mean).unwrap();
            assert_eq!((repeated.total, &got.embeddings, &got.weight), (value.total, &want.embeddings, &want.weight));
            let mut dx = Array2::from_elem((x.ncols(), x.nrows()), f32::NAN);
            let mut dw = Array2::from_elem((2 * w.nrows(), w.ncols()), f32::NAN);
            let into = dw.slice_mut(s![..;2, ..]);
            let result = head.value_and_grad_into(&batch(x), w, Reduction::Mean, dx.view_mut().reversed_axes(), into);
            assert_eq!(result.unwrap().0.total, value.total);
            assert_eq!((dx.t(), dw.slice(s![..;2, ..])), (want.embeddings.view(), want.weight.view()));
            assert!(dw.slice(s![1..;2, ..]).iter().all(|v| v.is_nan()), "rows in between are not written");
        }
    }
}

#[test]
fn a_fused_step_equals_a_step_with_the_gradient() {
    let rules = [
        Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.1 },
        Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 },
        Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
        Rule::ADAM_W,
    ];
    for name in ["am-softmax", "cross-entropy", "crammer-singer", "sub-center-arcface"] {
        for rule in rules {
            for mode in [Mode::Store, Mode::Recompute, Mode::RowChunked, Mode::Unfused] {
                let spec = spec_of(name, 200);
                let data = Data::random(10, &spec, [12, 200, 20], false);
                let head = with_mode(&spec, 200, mode);
                let x = data.x.mapv(|v| v as f32);
                let batch = HeadBatch::new(x.view(), data.labels.view());
                let mut fused = data.w.mapv(|v| v as f32);
                let mut separate = fused.clone();
                let rates: Vec<f32> = (0..fused.nrows()).map(|row| if row % 3 == 0 { 0.5 } else { 1.0 }).collect();
                let optimizer =
                    || Optimizer::new(rule, 0.1, separate.dim()).unwrap().with_row_rates(rates.clone()).unwrap();
                let (mut fused_optimizer, mut separate_optimizer) = (optimizer(), optimizer());
                for _ in 0..3 {
                    let (value, rest) =
                        head.step(&batch, fused.view_mut(), &mut fused_optimizer, Reduction::Mean).unwrap();
                    let (want, gradients) = head.value_and_grad(&batch, separate.view(), Reduction::Mean).unwrap();
                    separate_optimizer.apply(separate.view_mut(), gradients.weight.view()).unwrap();
                    assert_eq!((value.total, rest.embeddings), (want.total, gradients.embeddings), "{name} {rule:?}");
                    assert_eq!(fused, separate, "{name} {rule:?} {mode:?}");
                }
                assert_eq!(fused_optimizer.steps(), 3);
                assert_eq!(fused_optimizer.moments().weight, separate_optimizer.moments().weight);
            }
        }
    }
}

/// A step on bias, scale or radius equals the step of a separate optimizer without weight decay.
#[test]
fn a_step_updates_every_parameter() {
    let rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.1 };
    let separate_rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    for mode in [Mode::Store, Mode::Unfused] {
        let spec = presets::CROSS_ENTROPY.spec();
        let data = Data::random(11, &spec, [6, 9, 4], false);
        let head = with_mode(&spec, 9, mode);
        let (x, mut w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
        let batch = HeadBatch::new(x.view(), data.labels.view());
        let (mut bias, mut separate) = (Array1::<f32>::zeros(9), Array2::<f32>::zeros((1, 9)));
        let mut optimizer = Optimizer::new(rule, 0.1, w.dim()).unwrap();
        let mut of_bias = Optimizer::new(separate_rule, 0.1, (1, 9)).unwrap();
        for _ in 0..3 {
            let parameters = HeadParameters::new(w.view()).with_bias(bias.view());
            let (_, want) = head.value_and_grad(&batch, parameters, Reduction::Mean).unwrap();
            of_bias.apply(separate.view_mut(), want.learned.bias.view().insert_axis(ndarray::Axis(0))).unwrap();
            let parameters = HeadParametersMut::new(w.view_mut()).with_bias(bias.view_mut());
            head.step(&batch, parameters, &mut optimizer, Reduction::Mean).unwrap();
            assert_eq!(bias, separate.row(0), "{mode:?}");
        }
        assert!(bias.iter().any(|b| *b != 0.0));
        let saved = optimizer.moments();
        assert_eq!(saved.bias[0], of_bias.moments().weight[0].row(0).to_slice().unwrap());

        let ring = softmargin::Regularizer::Ring { weight: 0.5, radius: 1.0 };
        let spec = spec_of("normface", 9).with_regularizer(ring);
        let head = with_mode(&spec, 9, mode);
        let (mut w, mut scale, mut radius) = (data.w.mapv(|v| v as f32), 20.0_f64, 1.0_f64);
        let parameters = HeadParameters::new(w.view()).with_scale(scale).with_radius(radius);
        let (_, want) = head.value_and_grad(&batch, parameters, Reduction::Mean).unwrap();
        let mut optimizer = Optimizer::new(rule, 0.1, w.dim()).unwrap();
        let parameters = HeadParametersMut::new(w.view_mut()).with_scale(&mut scale).with_radius(&mut radius);
        head.step(&batch, parameters, &mut optimizer, Reduction::Mean).unwrap();
        assert!((scale - (20.0 - 0.1 * f64::from(want.learned.scale))).abs() < 1e-5 && scale != 20.0, "{scale}");
        assert!((radius - (1.0 - 0.1 * f64::from(want.learned.radius))).abs() < 1e-5 && radius != 1.0, "{radius}");
    }
}

/// Compares two steps with PyTorch 2: `SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)` and
/// `AdamW(lr=0.1)` on w = (1, -2) with gradients (0.5, -1) and (0.25, 2).
#[test]
fn optimizer_rules_agree_with_pytorch() {
    let cases = [
        (Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 }, [0.812_574_15_f32, -2.100_148_2]),
        (Rule::ADAM_W, [0.804_883_06, -1.932_712_4]),
    ];
    for (rule, want) in cases {
        let mut w = ndarray::array![[1.0_f32, -2.0]];
        let mut optimizer = Optimizer::new(rule, 0.1, (1, 2)).unwrap();
        for gradient in [ndarray::array![[0.5_f32, -1.0]], ndarray::array![[0.25_f32, 2.0]]] {
            optimizer.apply(w.view_mut(), gradient.view()).unwrap();
        }
        for (got, want) in w.iter().zip(want) {
            assert!((got - want).abs() <= 4.0 * f32::EPSILON * want.abs(), "{rule:?}: {w}, expected {want}");
        }
    }
}

#[test]
fn sampled_classes_agree_with_a_head_of_these_classes() {
    for name in ["am-softmax", "cross-entropy", "sub-center-arcface", "arcface"] {
        let spec = spec_of(name, 300).with_ignored_label(-1);
        let mut data = Data::random(11, &spec, [9, 300, 20], false);
        data.labels[4] = -1;
        let sub_centers = spec.sub_centers;
        for mode in [Mode::Store, Mode::Recompute, Mode::RowChunked, Mode::Unfused] {
            let head = with_mode(&spec, 300, mode);
            let sampled = head.sample(data.labels.view(), 0.2, 3, 4).unwrap();
            let (x, w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
            let batch = HeadBatch::new(x.view(), data.labels.view()).with_sampled_classes(&sampled);
            let (value, got) = head.value_and_grad(&batch, w.view(), Reduction::Mean).unwrap();

            let classes = sampled.classes();
            let prototypes: Vec<usize> =
                classes.iter().flat_map(|class| class * sub_centers..(class + 1) * sub_centers).collect();
            let labels =
                data.labels.mapv(|label| classes.iter().position(|&c| c as i64 == label).map_or(-1, |at| at as i64));
            let small = with_mode(&spec, classes.len(), Mode::Unfused);
            let w_small = w.select(Axis(0), &prototypes);
            let of_small = HeadBatch::new(x.view(), labels.view());
            let (want, of_want) = small.value_and_grad(&of_small, w_small.view(), Reduction::Mean).unwrap();
            assert!((value.total - want.total).abs() <= 1e-5 * want.total.abs(), "{name} {mode:?}");
            let sampled_gradient = got.weight.select(Axis(0), &prototypes);
            assert!(
                relative_error(&sampled_gradient, &of_want.weight.mapv(f64::from)) <= BETWEEN_VARIANTS,
                "{name} {mode:?}"
            );
            assert!(
                relative_error(&got.embeddings, &of_want.embeddings.mapv(f64::from)) <= BETWEEN_VARIANTS,
                "{name} {mode:?}"
            );
            let rest = |row: &usize| !prototypes.contains(row);
            let untouched = |all: &Array2<f32>, was: f32| {
                (0..all.nrows()).filter(rest).all(|row| all.row(row).iter().all(|v| *v == was))
            };
            assert!(untouched(&got.weight, 0.0), "{name} {mode:?}: prototypes that were not sampled have a gradient");
            for (top, small) in value.statistics.top.iter().zip(&want.statistics.top) {
                assert_eq!(*top, classes[*small as usize] as i64);
            }
            // A step does not change the prototypes of the other classes, not even by weight decay.
            let mut stepped = w.clone();
            let rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.5 };
            let mut optimizer = Optimizer::new(rule, 0.1, w.dim()).unwrap();
            head.step(&batch, stepped.view_mut(), &mut optimizer, Reduction::Mean).unwrap();
            for row in (0..w.nrows()).filter(rest) {
                assert_eq!(stepped.row(row), w.row(row));
            }
            assert_ne!(stepped.row(prototypes[0]), w.row(prototypes[0]));
        }
    }
}

#[test]
fn statistics_agree_with_the_unfused_head() {
    for name in ["am-softmax", "cross-entropy", "arcface", "crammer-singer", "sub-center-arcface", "mv-softmax"] {
        let spec = spec_of(name, 40);
        let data = Data::random(12, &spec, [20, 40, 16], false);
        let statistics = |mode, x: &Array2<f32>, w: &Array2<f32>| {
            let options = HeadOptions { mode, statistics: true, ..HeadOptions::default() };
            let head = Head::with_options(spec.clone().build(40).unwrap(), options).unwrap();
            let batch = HeadBatch::new(x.view(), data.labels.view());
            head.value(&batch, w.view(), Reduction::Sum).unwrap().statistics
        };
        let (x, w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
        let want = statistics(Mode::Unfused, &x, &w);
        let of_want = want.distribution.unwrap();
        let scale = spec.scale.initial() as f32;
        for mode in [Mode::Store, Mode::RowChunked] {
            let got = statistics(mode, &x, &w);
            let of_got = got.distribution.unwrap();
            assert_eq!(got.top, want.top, "{name}");
            let near = |a: &Array1<f32>, b: &Array1<f32>, size: f32| {
                a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 16.0 * f32::EPSILON * size.max(1.0))
            };
            assert!(near(&got.target_score, &want.target_score, 1.0), "{name}");
            assert!(near(&of_got.log_sum_exp, &of_want.log_sum_exp, scale), "{name}");
            assert!(near(&of_got.entropy, &of_want.entropy, scale * scale), "{name}");
        }
    }
}

#[test]
fn gradients_near_the_poles_have_the_tangent_limit() {
    // The derivative of cos(theta + m) is sin(theta + m) / sin(theta) with respect to the cosine and -sin(theta + m) with
    // respect to the angle. As the angle vanishes, the gradient with respect to the embedding keeps the size
    // sin(m) s / |x|; at an angle of 0 it is 0.
    let spec = presets::find("arcface").unwrap().spec();
    let head = Head::new(spec.build(2).unwrap());
    let w = ndarray::array![[1.0_f32, 0.0, 0.0], [0.0, 0.0, 1.0]];
    let tangential_gradient = |turn: f32| {
        let x = ndarray::array![[2.0_f32, 2.0 * turn, 0.0]];
        let batch = HeadBatch::new(x.view(), ndarray::aview1(&[0]));
        let (_, gradients) = head.value_and_grad(&batch, w.view(), Reduction::Sum).unwrap();
        f64::from(gradients.embeddings[[0, 1]])
    };
    let loss_slope = 1.0 / (1.0 + (64.0 * 0.5_f64.cos()).exp());
    let want = 64.0 * loss_slope * 0.5_f64.sin() / 2.0;
    for turn in [1e-3_f32, 1e-4, 1e-5] {
        let got = tangential_gradient(turn);
        assert!((got / want - 1.0).abs() < 0.1, "turned by {turn}: {got:e}, expected {want:e}");
    }
    assert_eq!(tangential_gradient(0.0), 0.0);
}

#[test]
fn invalid_input_is_rejected_before_any_parameter_changes() {
    let spec = presets::find("am-softmax").unwrap().spec().with_ignored_label(-1);
    let head = Head::new(spec.clone().build(5).unwrap());
    let w = Array2::<f32>::ones((5, 3));
    let x = Array2::<f32>::ones((2, 3));
    let rejection = |x: &Array2<f32>, w: &Array2<f32>, labels: &[i64]| {
        let labels = Array1::from(labels.to_vec());
        let batch = HeadBatch::new(x.view(), labels.view());
        let error = head.value_and_grad(&batch, w.view(), Reduction::Mean).unwrap_err();
        let mut stepped = w.clone();
        let mut optimizer = Optimizer::new(Rule::ADAM_W, 0.1, w.dim()).unwrap();
        let again = head.step(&batch, stepped.view_mut(), &mut optimizer, Reduction::Mean).unwrap_err();
        assert_eq!((error.to_string(), optimizer.steps()), (again.to_string(), 0));
        assert!(stepped.iter().zip(w).all(|(a, b)| a.to_bits() == b.to_bits()), "a parameter changed");
        (error.kind(), error.subject().to_owned())
    };
    assert_eq!(rejection(&x, &w, &[0, 5]), (ErrorKind::Label, "target of row 1".into()));
    assert_eq!(rejection(&x, &w, &[0]).0, ErrorKind::Shape);
    assert_eq!(rejection(&x, &Array2::ones((5, 4)), &[0, 1]), (ErrorKind::Shape, "weight".into()));
    assert_eq!(rejection(&x, &Array2::ones((4, 3)), &[0, 1]), (ErrorKind::Shape, "weight".into()));
    let mut nan = x.clone();
    nan[[1, 2]] = f32::NAN;
    assert_eq!(rejection(&nan, &w, &[0, 1]), (ErrorKind::Number, "scores of row 1".into()));
    // Also in an ignored row, because its zero gradient would be multiplied by NaN.
    assert_eq!(rejection(&nan, &w, &[0, -1]), (ErrorKind::Number, "scores of row 1".into()));
    let mut nan = w.clone();
    nan[[3, 0]] = f32::NAN;
    assert_eq!(rejection(&x, &nan, &[0, 1]), (ErrorKind::Number, "scores of row 0, 1".into()));

    let (labels, norms) = (Array1::from(vec![0, 1]), Array1::<f32>::ones(2));
    let rows = RowInputs::new(labels.view()).with_embedding_norms(norms.view());
    let error = head.value(&HeadBatch::new(x.view(), rows), w.view(), Reduction::Mean).unwrap_err();
    assert_eq!((error.kind(), error.subject()), (ErrorKind::Input, "embedding norms"));

    let options = HeadOptions { memory: 1 << 20, ..HeadOptions::default() };
    assert_eq!(Head::with_options(spec.build(5).unwrap(), options).unwrap_err().subject(), "memory");
    let mut optimizer = Optimizer::new(Rule::ADAM_W, 0.1, (4, 3)).unwrap();
    let (labels, mut weight) = (Array1::from(vec![0, 1]), w.clone());
    let batch = HeadBatch::new(x.view(), labels.view());
    let error = head.step(&batch, weight.view_mut(), &mut optimizer, Reduction::Mean).unwrap_err();
    assert_eq!(error.subject(), "optimizer");
    let sampled = Head::new(presets::find("arcface").unwrap().spec().build(9).unwrap());
    let sampled = sampled.sample(labels.view(), 0.5, 0, 0).unwrap();
    let error = head.value(&batch.with_sampled_classes(&sampled), w.view(), Reduction::Mean).unwrap_err();
    assert_eq!(error.subject(), "sampled classes");
    let drawn = head.sample(ndarray::aview1(&[0, 1]), 0.1, 0, 0).unwrap();
    let others = (0..5).filter(|class| !drawn.classes().contains(class)).map(|class| class as i64);
    let labels = Array1::from_iter(others.take(2));
    for mode in [Mode::Auto, Mode::Unfused] {
        let options = HeadOptions { mode, ..HeadOptions::default() };
        let head = Head::with_options(head.loss().clone(), options).unwrap();
        let batch = HeadBatch::new(x.view(), labels.view()).with_sampled_classes(&drawn);
        let error = head.value(&batch, w.view(), Reduction::Mean).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Label, "target of row 0"));
    }
    let plain = Head::new(spec_of("cross-entropy", 5).build(5).unwrap());
    let soft = Array2::from_elem((2, 5), 0.2_f32);
    let batch = HeadBatch::new(x.view(), RowInputs::soft(soft.view())).with_sampled_classes(&drawn);
    assert_eq!(plain.value(&batch, w.view(), Reduction::Mean).unwrap_err().subject(), "sampled classes");
    // 40 million scores in 65 MiB.
    let options = HeadOptions { mode: Mode::Store, memory: 65 << 20, ..HeadOptions::default() };
    let (x, w) = (Array2::<f32>::ones((400, 1)), Array2::<f32>::ones((100_000, 1)));
    let labels = Array1::<i64>::zeros(400);
    let loss = spec_of("am-softmax", 100_000).build(100_000).unwrap();
    let head = Head::with_options(loss, options).unwrap();
    let error = head.value_and_grad(&HeadBatch::new(x.view(), labels.view()), w.view(), Reduction::Mean).unwrap_err();
    assert_eq!(error.subject(), "memory");
    let nesterov = Rule::Sgd { momentum: 0.0, nesterov: true, weight_decay: 0.0 };
    assert_eq!(Optimizer::new(nesterov, 0.1, (4, 3)).unwrap_err().subject(), "nesterov");
}

#[test]
fn padded_rows_of_a_panel_do_not_contribute() {
    // The scores of padded rows are the bias alone, and their exponentials would overflow.
    let geometry = Geometry::InnerProduct { bias: true, temperature: 0.01 };
    let smooth = Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing: 0.1, z_loss: 0.0 } };
    for comparison in [Comparison::CROSS_ENTROPY, smooth] {
        let spec = spec_of("cross-entropy", 6).with_geometry(geometry).with_comparison(comparison);
        let data = Data::random(13, &spec, [5, 6, 3], false);
        let (x, w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
        let bias = ndarray::array![1.0_f32, 3.0, -2.0, 0.5, 4.0, 1.5];
        let batch = HeadBatch::new(x.view(), data.labels.view());
        let parameters = HeadParameters::new(w.view()).with_bias(bias.view());
        let evaluate = |mode| with_mode(&spec, 6, mode).value_and_grad(&batch, parameters, Reduction::Mean).unwrap().1;
        let want = evaluate(Mode::Unfused);
        for mode in [Mode::Store, Mode::Recompute, Mode::RowChunked] {
            let got = evaluate(mode);
            assert!(relative_error(&got.weight, &want.weight.mapv(f64::from)) <= BETWEEN_VARIANTS, "{mode:?}");
            let error = got.learned.bias.iter().zip(&want.learned.bias).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= 1e-3, "{mode:?}: {} and {}", got.learned.bias, want.learned.bias);
        }
    }
}

#[test]
fn empty_ignored_and_masked_batches_agree_with_the_unfused_head() {
    for name in ["am-softmax", "cross-entropy", "normface", "crammer-singer", "one-versus-rest"] {
        let spec = spec_of(name, 4).with_ignored_label(-1);
        let bias = Geometry::InnerProduct { bias: true, temperature: 1.0 };
        let specs = [spec.clone(), spec.clone().with_geometry(bias)];
        for spec in specs.into_iter().take(if spec.geometry == Geometry::Cosine { 1 } else { 2 }) {
            for (rows, valid) in [(0, 0), (3, 0), (3, 3)] {
                for masked in [false, true] {
                    let x = Array2::from_shape_fn((rows, 3), |(i, k)| (i * 3 + k) as f32 - 2.0);
                    let w = Array2::from_shape_fn((4, 3), |(j, k)| ((j * 5 + k * 3) % 7) as f32 - 3.0);
                    let labels = Array1::from_shape_fn(rows, |i| if i < valid { i as i64 % 2 } else { -1 });
                    let offset = Array1::from(vec![0.0, 0.0, if masked { f32::NEG_INFINITY } else { 0.5 }, 0.0]);
                    let batch = HeadBatch::new(x.view(), labels.view());
                    let mut parameters = HeadParameters::new(w.view());
                    if spec.geometry.has_bias() {
                        parameters = parameters.with_bias(offset.view());
                    } else if masked {
                        continue;
                    }
                    for reduction in [Reduction::Mean, Reduction::MeanOrNan, Reduction::None] {
                        let [want, store, recompute] = [Mode::Unfused, Mode::Store, Mode::Recompute].map(|mode| {
                            with_mode(&spec, 4, mode).value_and_grad(&batch, parameters, reduction).unwrap()
                        });
                        for (value, gradients) in [store, recompute] {
                            let same =
                                |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs().max(1.0) || (a.is_nan() && b.is_nan());
                            assert!(same(value.total, want.0.total), "{name} {rows} {valid} {reduction:?}");
                            assert_eq!((value.valid_rows, value.weight), (want.0.valid_rows, want.0.weight));
                            let pairs = gradients.embeddings.iter().zip(&want.1.embeddings);
                            let pairs = pairs.chain(gradients.weight.iter().zip(&want.1.weight));
                            for (a, b) in pairs.chain(gradients.learned.bias.iter().zip(&want.1.learned.bias)) {
                                assert!(same(*a, *b), "{name} {rows} {valid} {masked} {reduction:?}: {a} {b}");
                            }
                        }
                    }
                }
            }
        }
    }
}
