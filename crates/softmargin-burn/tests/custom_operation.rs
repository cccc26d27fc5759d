//! The operation of the Flex backend agrees with the core crate.

mod common;

use burn::tensor::DType;
use common::{F32, Problem, Question, ROWS, ask, assert_close, cases, core, core_head, core_row_by_row};
use softmargin::Reduction;

fn question(reduction: Reduction, upstream: Vec<f32>) -> Question {
    Question { dtype: DType::F32, composed: false, reduction, upstream }
}

#[test]
fn totals_are_the_cores_heads_bit_for_bit() {
    for case in cases() {
        let problem = Problem::of(&case);
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::MeanOrNan] {
            let found = ask(&case, &problem, &question(reduction, vec![1.0]));
            assert_eq!(found, core_head(&case, &problem, reduction), "{} {reduction:?}", case.name);
            assert_close(&case.name, &found, &core::<f64>(&case, &problem, 0..ROWS, reduction), F32);
        }
    }
}

#[test]
fn an_upstream_gradient_multiplies() {
    for case in cases() {
        let problem = Problem::of(&case);
        let mut expected = core::<f64>(&case, &problem, 0..ROWS, Reduction::Mean);
        for part in [
            &mut expected.embeddings,
            &mut expected.weight,
            &mut expected.bias,
            &mut expected.scale,
            &mut expected.radius,
        ] {
            part.iter_mut().for_each(|slope| *slope *= -2.5);
        }
        let found = ask(&case, &problem, &question(Reduction::Mean, vec![-2.5]));
        assert_close(&case.name, &found, &expected, F32);
    }
}

#[test]
fn rows_may_have_upstream_gradients_of_their_own() {
    let upstreams: [[f32; ROWS]; 4] = [
        [1.0, -2.0, 0.5, 0.0, -0.25, 3.0, 1.5],
        [0.0, 2.0, 0.5, 1.0, 0.25, 3.0, 1.5],
        [-1.0, -2.0, -0.5, -1.0, -0.25, -3.0, -1.5],
        [0.3; ROWS],
    ];
    for case in cases() {
        let problem = Problem::of(&case);
        for upstream in upstreams {
            let expected = core_row_by_row(&case, &problem, &upstream);
            let found = ask(&case, &problem, &question(Reduction::None, upstream.to_vec()));
            assert_close(&case.name, &found, &expected, F32);
        }
    }
}
