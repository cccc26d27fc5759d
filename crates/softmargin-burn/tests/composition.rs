//! The loss composed of tensor operations agrees with the core crate.

mod common;

use burn::tensor::DType;
use common::{F32, F64, Problem, Question, ROWS, ask, assert_close, cases, core, core_row_by_row};
use softmargin::Reduction;

const UPSTREAM: [f32; ROWS] = [1.0, -2.0, 0.5, 0.0, -0.25, 3.0, 1.5];

#[test]
fn in_f64_it_agrees_with_the_core() {
    for case in cases() {
        let problem = Problem::of(&case);
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::MeanOrNan] {
            let question = Question { dtype: DType::F64, composed: false, reduction, upstream: vec![1.0] };
            let expected = core::<f64>(&case, &problem, 0..ROWS, reduction);
            assert_close(&case.name, &ask(&case, &problem, &question), &expected, F64);
        }
        let question =
            Question { dtype: DType::F64, composed: false, reduction: Reduction::None, upstream: UPSTREAM.to_vec() };
        let expected = core_row_by_row(&case, &problem, &UPSTREAM);
        assert_close(&case.name, &ask(&case, &problem, &question), &expected, F64);
    }
}

#[test]
fn in_f32_it_agrees_with_the_operation_of_the_flex_backend() {
    for case in cases() {
        let problem = Problem::of(&case);
        for (reduction, upstream) in [(Reduction::Mean, vec![1.0]), (Reduction::None, UPSTREAM.to_vec())] {
            let custom = Question { dtype: DType::F32, composed: false, reduction, upstream };
            let composed = Question { composed: true, ..custom.clone() };
            let (found, expected) = (ask(&case, &problem, &composed), ask(&case, &problem, &custom));
            assert_close(&case.name, &found, &expected, F32);
        }
    }
}
