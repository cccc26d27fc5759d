//! Evaluates heads with arbitrary shapes, strides, modes and values.
//!
//! The result must be a value or a typed error, without memory accesses out of bounds.
//!
//! ```sh
//! cargo fuzz run head -- -runs=1000000      # needs `cargo install cargo-fuzz`; uses the address sanitizer
//! ```

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2, ArrayView2, s};
use softmargin::head::{
    Head, HeadBatch, HeadOptions, HeadParameters, HeadParametersMut, Mode, Optimizer, Precision, Rule,
};
use softmargin::{InstructionSet, Reduction, RowInputs, presets};

/// Raw fuzzer input, from which a head and a batch are built.
#[derive(Arbitrary, Debug)]
struct Input {
    preset: u8,
    set: u8,
    mode: u8,
    bf16: bool,
    statistics: bool,
    reduction: u8,
    shape: [u8; 3],
    tile: u8,
    strides: u8,
    share: Option<u8>,
    steps: bool,
    wrong_shape: bool,
    labels: [i8; 8],
    values: Vec<i8>,
    special: u8,
}

/// Returns a small number or a special value (NaN, infinity, huge, tiny, 0).
fn number(input: &Input, k: usize) -> f32 {
    let value = input.values.get(k % input.values.len().max(1)).copied().unwrap_or(1);
    match (value, input.special) {
        (127, 1..) => f32::NAN,
        (126, 2..) => f32::INFINITY,
        (125, 2..) => f32::NEG_INFINITY,
        (124, 3..) => 1e38,
        (123, 3..) => 1e-38,
        (122, 3..) => 0.0,
        _ => f32::from(value) / 32.0,
    }
}

/// Creates the array behind a strided [`view`] of this shape.
fn matrix(input: &Input, rows: usize, columns: usize, from: usize) -> Array2<f32> {
    let (stride, transposed) = (1 + usize::from(input.strides % 3), input.strides >= 128);
    let shape = if transposed { (columns * stride, rows) } else { (rows, columns * stride) };
    let mut k = from;
    Array2::from_shape_simple_fn(shape, || {
        k += 1;
        number(input, k)
    })
}

/// Returns the strided view of an array made by [`matrix`].
fn view<'a>(input: &Input, all: &'a Array2<f32>) -> ArrayView2<'a, f32> {
    let stride = isize::from(1 + input.strides % 3);
    if input.strides >= 128 { all.slice(s![..;stride, ..]).reversed_axes() } else { all.slice(s![.., ..;stride]) }
}

/// Evaluates one head, or runs one optimizer step.
fn run(input: &Input) -> softmargin::Result<()> {
    let all = presets::all();
    let preset = &all[usize::from(input.preset) % all.len()];
    let [rows, classes, width] = input.shape.map(|size| usize::from(size % 40));
    let spec = preset.spec().with_class_counts(&vec![3; classes]).with_ignored_label(-1);
    let (sub_centers, has_bias) = (spec.sub_centers, spec.geometry.has_bias());
    let sets = InstructionSet::ALL;
    let loss = spec.build(classes)?.with_instruction_set(sets[usize::from(input.set) % sets.len()]);
    let modes = [Mode::Auto, Mode::Store, Mode::StoreHalf, Mode::Recompute, Mode::RowChunked, Mode::Unfused];
    let options = HeadOptions {
        mode: modes[usize::from(input.mode) % modes.len()],
        precision: if input.bf16 { Precision::Bf16 } else { Precision::F32 },
        statistics: input.statistics,
        ..HeadOptions::default()
    };
    let reductions = [Reduction::Mean, Reduction::Sum, Reduction::None, Reduction::MeanOrNan];
    let reduction = reductions[usize::from(input.reduction) % reductions.len()];
    let state = loss.initial_state();
    let head = Head::with_options(loss, options)?.with_tile(usize::from(input.tile % 50));

    let prototypes = classes * sub_centers + usize::from(input.wrong_shape);
    let (x, w) = (matrix(input, rows, width, 0), matrix(input, prototypes, width, 7));
    let (x, w) = (view(input, &x), view(input, &w));
    let labels = Array1::from_shape_fn(rows, |row| i64::from(input.labels[row % 8]) % 41);
    let bias = Array1::from_shape_fn(prototypes, |k| number(input, k + 13));
    let sampled = input.share.map(|share| head.sample(labels.view(), f64::from(share) / 255.0, 1, 2)).transpose()?;
    let mut row_inputs = RowInputs::new(labels.view());
    if let Some(state) = &state {
        row_inputs = row_inputs.with_state(state);
    }
    let mut batch = HeadBatch::new(x, row_inputs);
    if let Some(sampled) = &sampled {
        batch = batch.with_sampled_classes(sampled);
    }
    if input.steps {
        let mut weight = w.to_owned();
        let mut optimizer = Optimizer::new(Rule::ADAM_W, 0.1, weight.dim())?;
        let mut bias = bias;
        let mut parameters = HeadParametersMut::from(weight.view_mut());
        if has_bias {
            parameters = parameters.with_bias(bias.view_mut());
        }
        head.step(&batch, parameters, &mut optimizer, reduction)?;
        return Ok(());
    }
    let mut parameters = HeadParameters::new(w);
    if has_bias {
        parameters = parameters.with_bias(bias.view());
    }
    let (value, gradients) = head.value_and_grad(&batch, parameters, reduction)?;
    assert_eq!(value.rows.len(), rows);
    assert_eq!((gradients.embeddings.dim(), gradients.weight.dim()), (x.dim(), w.dim()));
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    if let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) {
        if let Err(error) = run(&input) {
            assert!(error.to_string().contains("expected"), "the error message lacks \"expected\": {error}");
        }
    }
});
