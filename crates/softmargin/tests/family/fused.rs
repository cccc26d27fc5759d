//! The fused head by its own laws: its error against the unfused one's, threads, tiles, modes, shapes, steps, samples.

use crate::problem::{Random, some_state};
use crate::tolerances::{BF16, FUSED_AGAINST_UNFUSED, WAYS};
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
    /// Numbers that are exact in f32, and in bf16 where `short`.
    fn random(seed: u64, spec: &LossSpec, [rows, classes, width]: [usize; 3], short: bool) -> Self {
        let mut random = Random::new(seed);
        let exact = |v: f64| if short { f64::from(f32::from_bits((v as f32).to_bits() & 0xffff_0000)) } else { v };
        let x = random.matrix(rows, width, -1.0, 1.0).mapv(exact);
        let w = random.matrix(classes * spec.sub_centers, width, -1.0, 1.0).mapv(exact);
        let labels = Array1::from(random.labels(rows, classes.max(1)));
        Self { x, w, labels, state: some_state(&mut random) }
    }

    /// As after training: every embedding near its target, at a cosine of about 0.95.
    fn trained(seed: u64, spec: &LossSpec, shape: [usize; 3]) -> Self {
        let mut data = Self::random(seed, spec, shape, false);
        for (mut x, &label) in data.x.rows_mut().into_iter().zip(&data.labels) {
            let w = data.w.row(label as usize * spec.sub_centers);
            x.zip_mut_with(&w, |x, &w| *x = f64::from((0.33 * *x + w) as f32));
        }
        data
    }

    fn answer<F: HeadNumber>(&self, head: &Head, reduction: Reduction) -> (f64, HeadGradients<F>) {
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

/// The norm of a difference, relative to the norm of what was wanted; gradients that vanish are taken for a tenth, the size of their terms.
fn relative<F: Real>(got: &Array2<F>, want: &Array2<f64>) -> f64 {
    let square = |all: &mut dyn Iterator<Item = f64>| all.map(|v| v * v).sum::<f64>().sqrt();
    let off = square(&mut got.iter().zip(want).map(|(got, want)| got.widen() - want));
    off / square(&mut want.iter().copied()).max(0.1)
}

fn bits(answer: &(f64, HeadGradients<f32>)) -> Vec<u64> {
    let (total, gradients) = answer;
    let matrices = gradients.embeddings.iter().chain(&gradients.weight).chain(&gradients.learned.bias);
    let numbers = matrices.copied().chain([gradients.learned.scale, gradients.learned.radius]).map(f64::from);
    std::iter::once(*total).chain(numbers).map(f64::to_bits).collect()
}

/// Errors against f64, of the fused head and of the plain code in f32, on the same inputs: of loss, dX and dW, each the
/// root of the mean square over some batches, since a single one has its luck.
fn compare_errors(name: &str, spec: &LossSpec, classes: usize, batches: &[Data]) {
    let errors = |mode: Mode| -> [f64; 3] {
        let squares = batches.iter().map(|data| {
            let exact = data.answer::<f64>(&with_mode(spec, classes, Mode::Unfused), Reduction::Mean);
            let (total, got) = data.answer::<f32>(&with_mode(spec, classes, mode), Reduction::Mean);
            let of_loss = (total - exact.0) / exact.0.abs().max(f64::MIN_POSITIVE);
            let off = [of_loss, relative(&got.embeddings, &exact.1.embeddings), relative(&got.weight, &exact.1.weight)];
            off.map(|off| off * off / batches.len() as f64)
        });
        squares.fold([0.0; 3], |sum, one| std::array::from_fn(|k| sum[k] + one[k])).map(f64::sqrt)
    };
    let plain = errors(Mode::Unfused);
    for mode in [Mode::Store, Mode::Recompute] {
        let fused = errors(mode);
        println!("{name} {mode:?}: fused {fused:?}, unfused {plain:?}");
        for (what, (fused, plain)) in ["loss", "dX", "dW"].into_iter().zip(fused.into_iter().zip(plain)) {
            // Below a rounding of the answer itself there is nothing to compare.
            let allowed = FUSED_AGAINST_UNFUSED * plain.max(f64::from(f32::EPSILON));
            assert!(fused <= allowed, "{name} {mode:?} {what}: fused {fused:e}, unfused {plain:e}");
        }
    }
}

#[test]
fn errs_no_more_than_the_unfused_head() {
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
    // Many classes and a large scale: sums of a hundred thousand exponentials.
    let classes = 100_000;
    for name in ["am-softmax", "cross-entropy"] {
        let scale = Scale::fixed(if name == "am-softmax" { 64.0 } else { 1.0 });
        let spec = spec_of(name, classes).with_scale(scale);
        let trained: Vec<Data> = (1..=3).map(|seed| Data::trained(seed, &spec, [4, classes, 32])).collect();
        compare_errors(&format!("{name} many"), &spec, classes, &trained);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for name in ["am-softmax", "cross-entropy", "sub-center-arcface", "crammer-singer", "weston-watkins"] {
        let (rows, classes) = (70, 3000);
        let spec = spec_of(name, classes);
        let data = Data::random(5, &spec, [rows, classes, 40], false);
        for mode in [Mode::Store, Mode::StoreHalf, Mode::Recompute, Mode::RowChunked] {
            let of_threads = |threads: usize| {
                let pool = rayon_pool(threads);
                pool.install(|| bits(&data.answer(&with_mode(&spec, classes, mode), Reduction::Mean)))
            };
            let one = of_threads(1);
            for threads in [2, 3, 5] {
                assert!(one == of_threads(threads), "{name} {mode:?}: {threads} threads give other bits than one");
            }
            let head = with_mode(&spec, classes, mode);
            let first = bits(&data.answer(&head, Reduction::Mean));
            assert!(first == one && first == bits(&data.answer(&head, Reduction::Mean)), "{name} {mode:?}: again");
        }
    }
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

#[test]
fn modes_tiles_and_instruction_sets_agree() {
    let reference = |spec: &LossSpec, classes, data: &Data| {
        data.answer::<f64>(&with_mode(spec, classes, Mode::Unfused), Reduction::Mean).1
    };
    // Odd shapes; a batch of two blocks; many rows of few classes, which go in chunks by themselves.
    for shape in [[1, 1, 1], [1, 2, 2], [3, 5, 17], [33, 130, 31], [17, 1001, 3], [1040, 90, 20], [1100, 7, 33]] {
        let [_, classes, _] = shape;
        for name in ["am-softmax", "cross-entropy", "arcface", "weston-watkins", "one-versus-rest", "mv-softmax"] {
            let spec = spec_of(name, classes);
            let data = Data::random(7, &spec, shape, false);
            let want = reference(&spec, classes, &data);
            let check = |head: &Head, what: &str| {
                let (_, got) = data.answer::<f32>(head, Reduction::Mean);
                let off = relative(&got.embeddings, &want.embeddings).max(relative(&got.weight, &want.weight));
                assert!(off <= WAYS, "{name} {shape:?} {what}: {off:e}");
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
fn short_precision_is_as_good_as_its_numbers() {
    for shape in [[5, 9, 17], [40, 300, 64], [130, 1000, 100]] {
        let [_, classes, _] = shape;
        for name in ["am-softmax", "cross-entropy", "arcface", "weston-watkins", "curricularface"] {
            let spec = spec_of(name, classes);
            let data = Data::random(8, &spec, shape, true);
            let (total, want) = data.answer::<f64>(&with_mode(&spec, classes, Mode::Unfused), Reduction::Mean);
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
                    let (value, got) = data.answer::<f32>(&Head::with_options(loss, options).unwrap(), Reduction::Mean);
                    let off = relative(&got.embeddings, &want.embeddings).max(relative(&got.weight, &want.weight));
                    let of_loss = (value - total).abs() / total;
                    assert!(
                        off <= BF16 && of_loss <= BF16,
                        "{name} {shape:?} {mode:?} {precision:?}: {off:e} {of_loss:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn arrays_of_any_strides_give_the_same_bits() {
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
        let (x_turned, w_turned) = (x.t().as_standard_layout().into_owned(), w.t().as_standard_layout().into_owned());
        let spread = |all: ArrayView2<'_, f32>| {
            let mut wide = Array2::from_elem((2 * all.nrows(), 3 * all.ncols()), f32::NAN);
            wide.slice_mut(s![..;2, ..;3]).assign(&all);
            wide
        };
        let (x_spread, w_spread) = (spread(x.view()), spread(w.view()));
        let views = [(x_turned.t(), w_turned.t()), (x_spread.slice(s![..;2, ..;3]), w_spread.slice(s![..;2, ..;3]))];
        for (x, w) in views {
            let (again, got) = head.value_and_grad(&batch(x), w, Reduction::Mean).unwrap();
            assert_eq!((again.total, &got.embeddings, &got.weight), (value.total, &want.embeddings, &want.weight));
            let mut dx = Array2::from_elem((x.ncols(), x.nrows()), f32::NAN);
            let mut dw = Array2::from_elem((2 * w.nrows(), w.ncols()), f32::NAN);
            let into = dw.slice_mut(s![..;2, ..]);
            let answer = head.value_and_grad_into(&batch(x), w, Reduction::Mean, dx.view_mut().reversed_axes(), into);
            assert_eq!(answer.unwrap().0.total, value.total);
            assert_eq!((dx.t(), dw.slice(s![..;2, ..])), (want.embeddings.view(), want.weight.view()));
            assert!(dw.slice(s![1..;2, ..]).iter().all(|v| v.is_nan()), "between the rows nothing is written");
        }
    }
}

#[test]
fn a_fused_step_is_a_step_with_the_gradient() {
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
                let mut apart = fused.clone();
                let rates: Vec<f32> = (0..fused.nrows()).map(|row| if row % 3 == 0 { 0.5 } else { 1.0 }).collect();
                let optimizer =
                    || Optimizer::new(rule, 0.1, apart.dim()).unwrap().with_row_rates(rates.clone()).unwrap();
                let (mut of_fused, mut of_apart) = (optimizer(), optimizer());
                for _ in 0..3 {
                    let (value, rest) = head.step(&batch, fused.view_mut(), &mut of_fused, Reduction::Mean).unwrap();
                    let (want, gradients) = head.value_and_grad(&batch, apart.view(), Reduction::Mean).unwrap();
                    of_apart.apply(apart.view_mut(), gradients.weight.view()).unwrap();
                    assert_eq!((value.total, rest.embeddings), (want.total, gradients.embeddings), "{name} {rule:?}");
                    assert_eq!(fused, apart, "{name} {rule:?} {mode:?}");
                }
                assert_eq!(of_fused.steps(), 3);
                assert_eq!(of_fused.moments().weight, of_apart.moments().weight);
            }
        }
    }
}

/// A step on the parameters beside the prototypes is that of an optimizer of their own, without weight decay.
#[test]
fn a_step_moves_every_parameter_that_is_given() {
    let rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.1 };
    let apart_rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    for mode in [Mode::Store, Mode::Unfused] {
        let spec = presets::CROSS_ENTROPY.spec();
        let data = Data::random(11, &spec, [6, 9, 4], false);
        let head = with_mode(&spec, 9, mode);
        let (x, mut w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
        let batch = HeadBatch::new(x.view(), data.labels.view());
        let (mut bias, mut apart) = (Array1::<f32>::zeros(9), Array2::<f32>::zeros((1, 9)));
        let mut optimizer = Optimizer::new(rule, 0.1, w.dim()).unwrap();
        let mut of_bias = Optimizer::new(apart_rule, 0.1, (1, 9)).unwrap();
        for _ in 0..3 {
            let parameters = HeadParameters::new(w.view()).with_bias(bias.view());
            let (_, want) = head.value_and_grad(&batch, parameters, Reduction::Mean).unwrap();
            of_bias.apply(apart.view_mut(), want.learned.bias.view().insert_axis(ndarray::Axis(0))).unwrap();
            let parameters = HeadParametersMut::new(w.view_mut()).with_bias(bias.view_mut());
            head.step(&batch, parameters, &mut optimizer, Reduction::Mean).unwrap();
            assert_eq!(bias, apart.row(0), "{mode:?}");
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

/// Two steps against numbers of PyTorch 2: `SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)` and
/// `AdamW(lr=0.1)` on w = (1, -2) with gradients (0.5, -1) and (0.25, 2).
#[test]
fn rules_are_those_of_pytorch() {
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
            assert!((got - want).abs() <= 4.0 * f32::EPSILON * want.abs(), "{rule:?}: {w}, {want} wanted");
        }
    }
}

#[test]
fn sampled_classes_are_a_smaller_head() {
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
            let taken = got.weight.select(Axis(0), &prototypes);
            assert!(relative(&taken, &of_want.weight.mapv(f64::from)) <= WAYS, "{name} {mode:?}");
            assert!(relative(&got.embeddings, &of_want.embeddings.mapv(f64::from)) <= WAYS, "{name} {mode:?}");
            let rest = |row: &usize| !prototypes.contains(row);
            let untouched = |all: &Array2<f32>, was: f32| {
                (0..all.nrows()).filter(rest).all(|row| all.row(row).iter().all(|v| *v == was))
            };
            assert!(untouched(&got.weight, 0.0), "{name} {mode:?}: rows that were not sampled have a gradient");
            for (top, small) in value.statistics.top.iter().zip(&want.statistics.top) {
                assert_eq!(*top, classes[*small as usize] as i64);
            }
            // A step leaves the prototypes of the other classes alone, decay and all.
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
fn statistics_are_those_of_the_scores() {
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
fn angles_near_the_poles_have_the_slope_of_the_tangent() {
    // cos(theta + m) has slope sin(theta + m) / sin(theta) by the cosine, and -sin(theta + m) by the angle: as the
    // angle vanishes the gradient by the embedding keeps the size sin(m) s / |x|, and at 0 it is 0.
    let spec = presets::find("arcface").unwrap().spec();
    let head = Head::new(spec.build(2).unwrap());
    let w = ndarray::array![[1.0_f32, 0.0, 0.0], [0.0, 0.0, 1.0]];
    let size_of = |turn: f32| {
        let x = ndarray::array![[2.0_f32, 2.0 * turn, 0.0]];
        let batch = HeadBatch::new(x.view(), ndarray::aview1(&[0]));
        let (_, gradients) = head.value_and_grad(&batch, w.view(), Reduction::Sum).unwrap();
        f64::from(gradients.embeddings[[0, 1]])
    };
    let loss_slope = 1.0 / (1.0 + (64.0 * 0.5_f64.cos()).exp());
    let want = 64.0 * loss_slope * 0.5_f64.sin() / 2.0;
    for turn in [1e-3_f32, 1e-4, 1e-5] {
        let got = size_of(turn);
        assert!((got / want - 1.0).abs() < 0.1, "turned by {turn}: {got:e}, {want:e} wanted");
    }
    assert_eq!(size_of(0.0), 0.0);
}

#[test]
fn what_is_wrong_is_refused_before_anything_changes() {
    let spec = presets::find("am-softmax").unwrap().spec().with_ignored_label(-1);
    let head = Head::new(spec.clone().build(5).unwrap());
    let w = Array2::<f32>::ones((5, 3));
    let x = Array2::<f32>::ones((2, 3));
    let refused = |x: &Array2<f32>, w: &Array2<f32>, labels: &[i64]| {
        let labels = Array1::from(labels.to_vec());
        let batch = HeadBatch::new(x.view(), labels.view());
        let error = head.value_and_grad(&batch, w.view(), Reduction::Mean).unwrap_err();
        let mut stepped = w.clone();
        let mut optimizer = Optimizer::new(Rule::ADAM_W, 0.1, w.dim()).unwrap();
        let again = head.step(&batch, stepped.view_mut(), &mut optimizer, Reduction::Mean).unwrap_err();
        assert_eq!((error.to_string(), optimizer.steps()), (again.to_string(), 0));
        assert!(stepped.iter().zip(w).all(|(a, b)| a.to_bits() == b.to_bits()), "nothing changes");
        (error.kind(), error.subject().to_owned())
    };
    assert_eq!(refused(&x, &w, &[0, 5]), (ErrorKind::Label, "target of row 1".into()));
    assert_eq!(refused(&x, &w, &[0]).0, ErrorKind::Shape);
    assert_eq!(refused(&x, &Array2::ones((5, 4)), &[0, 1]), (ErrorKind::Shape, "weight".into()));
    assert_eq!(refused(&x, &Array2::ones((4, 3)), &[0, 1]), (ErrorKind::Shape, "weight".into()));
    let mut nan = x.clone();
    nan[[1, 2]] = f32::NAN;
    assert_eq!(refused(&nan, &w, &[0, 1]), (ErrorKind::Number, "scores of row 1".into()));
    // Also where the row does not count: its zero slopes would meet its NaN.
    assert_eq!(refused(&nan, &w, &[0, -1]), (ErrorKind::Number, "scores of row 1".into()));
    let mut nan = w.clone();
    nan[[3, 0]] = f32::NAN;
    assert_eq!(refused(&x, &nan, &[0, 1]), (ErrorKind::Number, "scores of row 0, 1".into()));

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
fn rows_that_fill_a_panel_have_no_part_in_anything() {
    // Their scores are the bias alone: exponentials of it would overflow.
    let geometry = Geometry::InnerProduct { bias: true, temperature: 0.01 };
    let smooth = Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing: 0.1, z_loss: 0.0 } };
    for comparison in [Comparison::CROSS_ENTROPY, smooth] {
        let spec = spec_of("cross-entropy", 6).with_geometry(geometry).with_comparison(comparison);
        let data = Data::random(13, &spec, [5, 6, 3], false);
        let (x, w) = (data.x.mapv(|v| v as f32), data.w.mapv(|v| v as f32));
        let bias = ndarray::array![1.0_f32, 3.0, -2.0, 0.5, 4.0, 1.5];
        let batch = HeadBatch::new(x.view(), data.labels.view());
        let parameters = HeadParameters::new(w.view()).with_bias(bias.view());
        let answer = |mode| with_mode(&spec, 6, mode).value_and_grad(&batch, parameters, Reduction::Mean).unwrap().1;
        let want = answer(Mode::Unfused);
        for mode in [Mode::Store, Mode::Recompute, Mode::RowChunked] {
            let got = answer(mode);
            assert!(relative(&got.weight, &want.weight.mapv(f64::from)) <= WAYS, "{mode:?}");
            let off = got.learned.bias.iter().zip(&want.learned.bias).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-3, "{mode:?}: {} and {}", got.learned.bias, want.learned.bias);
        }
    }
}

#[test]
fn edges_have_the_answers_of_the_plain_code() {
    for name in ["am-softmax", "cross-entropy", "normface", "crammer-singer", "one-versus-rest"] {
        let spec = spec_of(name, 4).with_ignored_label(-1);
        let bias = Geometry::InnerProduct { bias: true, temperature: 1.0 };
        let specs = [spec.clone(), spec.clone().with_geometry(bias)];
        for spec in specs.into_iter().take(if spec.geometry == Geometry::Cosine { 1 } else { 2 }) {
            for (rows, kept) in [(0, 0), (3, 0), (3, 3)] {
                for masked in [false, true] {
                    let x = Array2::from_shape_fn((rows, 3), |(i, k)| (i * 3 + k) as f32 - 2.0);
                    let w = Array2::from_shape_fn((4, 3), |(j, k)| ((j * 5 + k * 3) % 7) as f32 - 3.0);
                    let labels = Array1::from_shape_fn(rows, |i| if i < kept { i as i64 % 2 } else { -1 });
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
                            assert!(same(value.total, want.0.total), "{name} {rows} {kept} {reduction:?}");
                            assert_eq!((value.valid_rows, value.weight), (want.0.valid_rows, want.0.weight));
                            let pairs = gradients.embeddings.iter().zip(&want.1.embeddings);
                            let pairs = pairs.chain(gradients.weight.iter().zip(&want.1.weight));
                            for (a, b) in pairs.chain(gradients.learned.bias.iter().zip(&want.1.learned.bias)) {
                                assert!(same(*a, *b), "{name} {rows} {kept} {masked} {reduction:?}: {a} {b}");
                            }
                        }
                    }
                }
            }
        }
    }
}
