//! Bitwise identical results for any number of threads and any strides.

use crate::combinations::{comparisons, is_accepted, problem_of, spec_of};
use crate::problem::{Owned, Problem, Random, matrix_bits, state};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use softmargin::{Batch, Gradients, Loss, LossSpec, Margin, Real, Reduction, RowInputs, Value, presets};

/// Returns the bits of all results of a loss.
fn fingerprint<F: Real>(value: &Value<F>, gradients: &Gradients<F>) -> Vec<u64> {
    let mut all: Vec<F> = value.rows.to_vec();
    all.extend(gradients.scores.iter());
    all.extend([value.total, gradients.rows.scale, gradients.rows.radius]);
    all.extend(gradients.rows.embedding_norms.iter().flatten());
    all.extend(gradients.rows.weight_norms.iter().flatten());
    all.iter().map(|v| v.widen().to_bits()).chain([value.weight.to_bits(), value.valid_rows as u64]).collect()
}

/// Returns every preset, and every comparison and kind of negatives under one margin.
fn losses(classes: usize) -> Vec<Loss> {
    let plain = presets::find("am-softmax").unwrap().spec();
    let mut specs: Vec<LossSpec> = presets::all().iter().map(|preset| spec_of(preset, classes)).collect();
    specs.extend(comparisons().into_iter().map(|comparison| plain.clone().with_comparison(comparison)));
    specs.extend(crate::negatives::ALL.map(|negatives| plain.clone().with_negatives(negatives)));
    specs.retain(is_accepted);
    specs.into_iter().map(|spec| spec.build(classes).unwrap()).collect()
}

fn problem(loss: &Loss, rows: usize, classes: usize) -> Problem {
    let mut random = Random::new(51);
    let mut problem = problem_of(&mut random, loss.spec(), rows, classes);
    problem.sample_weights = Some(random.vector(rows, 0.0, 2.0));
    problem.state = Some(state(7));
    problem.fitted_to(loss)
}

fn check_thread_counts<F: Real>() {
    let pools: Vec<rayon::ThreadPool> =
        [1, 2, 3, 5].map(|count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap()).into();
    // Large enough to use threads, with rows shorter and longer than a tile.
    for (rows, classes) in [(301, 150), (17, 5000)] {
        for loss in losses(classes) {
            let owned = Owned::<F>::of(&problem(&loss, rows, classes));
            let evaluate = || loss.value_and_grad(&owned.batch(), Reduction::Mean).unwrap();
            let fingerprints = pools.iter().map(|pool| {
                let (value, gradients) = pool.install(evaluate);
                fingerprint(&value, &gradients)
            });
            let fingerprints: Vec<Vec<u64>> = fingerprints.collect();
            assert!(fingerprints.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", loss.spec());
        }
    }
}

#[test]
fn results_are_bitwise_identical_for_any_number_of_threads() {
    check_thread_counts::<f32>();
    check_thread_counts::<f64>();
}

/// Calls `with` with the scores in several memory layouts.
fn in_layouts<F: Real>(scores: &Array2<F>, mut with: impl FnMut(&str, ArrayView2<'_, F>)) {
    let (rows, columns) = scores.dim();
    with("C order", scores.view());
    let fortran = scores.t().as_standard_layout().into_owned();
    with("Fortran order", fortran.t());
    let mut reversed = scores.clone();
    reversed.invert_axis(Axis(0));
    reversed.invert_axis(Axis(1));
    let reversed = reversed.as_standard_layout().into_owned();
    with("reversed", reversed.slice(s![..;-1, ..;-1]));
    let mut wide = Array2::from_elem((rows * 2, columns * 3 + 1), F::nan());
    wide.slice_mut(s![..;2, 1..;3]).assign(scores);
    with("every second row and third column", wide.slice(s![..;2, 1..;3]));
    let mut padded = Array2::from_elem((rows, columns + 5), F::nan());
    padded.slice_mut(s![.., 2..columns + 2]).assign(scores);
    with("columns of a wider array", padded.slice(s![.., 2..columns + 2]));
}

fn check_strides<F: Real>() {
    for (rows, classes) in [(4, 7), (3, 130)] {
        for loss in losses(classes) {
            let owned = Owned::<F>::of(&problem(&loss, rows, classes));
            let (value, gradients) = loss.value_and_grad(&owned.batch(), Reduction::Mean).unwrap();
            let want = fingerprint(&value, &gradients);
            in_layouts(&owned.scores, |layout, scores| {
                let (value, gradients) = loss.value_and_grad(&owned.batch_on(scores), Reduction::Mean).unwrap();
                assert_eq!(want, fingerprint(&value, &gradients), "{layout}: {:?}", loss.spec());
            });
            check_gradient_strides(&loss, &owned, &gradients.scores);
        }
    }
}

/// Writes the gradient into arrays of several layouts.
fn check_gradient_strides<F: Real>(loss: &Loss, owned: &Owned<F>, want: &Array2<F>) {
    let (rows, columns) = want.dim();
    let write = |layout: &str, target: ArrayViewMut2<'_, F>| {
        let written = loss.value_and_grad_into(&owned.batch(), Reduction::Mean, target);
        assert!(written.is_ok(), "{layout}");
    };
    let same = |layout: &str, got: ArrayView2<'_, F>| {
        assert_eq!(matrix_bits(want), matrix_bits(&got.to_owned()), "{layout}: {:?}", loss.spec());
    };
    let mut fortran = Array2::from_elem((columns, rows), F::nan());
    write("Fortran order", fortran.view_mut().reversed_axes());
    same("Fortran order", fortran.t());
    let mut reversed = Array2::from_elem((rows, columns), F::nan());
    write("reversed", reversed.slice_mut(s![..;-1, ..;-1]));
    same("reversed", reversed.slice(s![..;-1, ..;-1]));
    let mut wide = Array2::from_elem((rows * 2, columns * 2), F::nan());
    write("every second", wide.slice_mut(s![..;2, 1..;2]));
    same("every second", wide.slice(s![..;2, 1..;2]));
    let between = wide.slice(s![1..;2, ..]);
    assert!(between.iter().all(|entry| entry.is_nan()), "rows in between were written");
}

#[test]
fn results_are_bitwise_identical_for_any_strides_of_scores_and_gradient() {
    check_strides::<f32>();
    check_strides::<f64>();
}

#[test]
fn broadcast_arrays_give_bitwise_identical_results() {
    let loss = presets::find("cross-entropy").unwrap().spec().build(4).unwrap();
    let row = ndarray::array![[0.5_f32, -0.25, 1.0, 0.125]];
    let scores = row.broadcast((3, 4)).unwrap();
    let one = ndarray::arr0(2_i64);
    let labels = one.broadcast(3).unwrap();
    let weight = ndarray::arr0(0.5_f32);
    let batch = Batch::new(scores, RowInputs::new(labels).with_sample_weights(weight.broadcast(3).unwrap()));
    let (value, gradients) = loss.value_and_grad(&batch, Reduction::None).unwrap();
    let whole = scores.to_owned();
    let labels = ndarray::array![2, 2, 2];
    let weights = ndarray::array![0.5_f32, 0.5, 0.5];
    let batch = Batch::new(whole.view(), RowInputs::new(labels.view()).with_sample_weights(weights.view()));
    let (same, same_gradients) = loss.value_and_grad(&batch, Reduction::None).unwrap();
    assert_eq!(fingerprint(&value, &gradients), fingerprint(&same, &same_gradients));
}

#[test]
fn strided_row_inputs_give_bitwise_identical_results() {
    let spec = presets::find("cross-entropy")
        .unwrap()
        .spec()
        .with_geometry(softmargin::Geometry::InnerProduct { bias: false, temperature: 1.0 })
        .with_margin(presets::find("arcface").unwrap().spec().margin)
        .with_scale(2.0);
    assert!(matches!(spec.margin, Margin::Angle(_)));
    let loss = spec.build(5).unwrap();
    let problem = problem(&loss, 6, 5);
    let owned = Owned::<f64>::of(&problem);
    let (value, gradients) = loss.value_and_grad(&owned.batch(), Reduction::Mean).unwrap();
    let spread = |values: &Option<Vec<f64>>| {
        let values = values.clone().unwrap();
        ndarray::Array1::from_iter(values.iter().rev().flat_map(|v| [*v, f64::NAN]))
    };
    let labels = ndarray::Array1::from_iter((0..6).rev().flat_map(|row| [problem.label(row).unwrap(), -7]));
    let (weights, x, w) =
        (spread(&problem.sample_weights), spread(&problem.embedding_norms), spread(&problem.weight_norms));
    // Every second entry, starting from the last, restores the original order.
    let rows = RowInputs::new(labels.slice(s![..-1;-2]))
        .with_sample_weights(weights.slice(s![..-1;-2]))
        .with_embedding_norms(x.slice(s![..-1;-2]))
        .with_weight_norms(w.slice(s![..-1;-2]));
    let batch = Batch::new(owned.scores.view(), rows);
    let (same, same_gradients) = loss.value_and_grad(&batch, Reduction::Mean).unwrap();
    assert_eq!(fingerprint(&value, &gradients), fingerprint(&same, &same_gradients));
}
