//! Comparison of every available instruction set with the oracle.

use crate::combinations::{class_counts, comparisons, is_accepted, problem, problem_of};
use crate::error_report::ErrorReport;
use crate::oracle_description::{compare_with_expected, expected_by_oracle};
use crate::problem::{Evaluation, Problem, Random, evaluate};
use crate::tolerances::{Conditions, Precision};
use softmargin::{Geometry, InstructionSet, LossSpec, Margin, Reduction, Scale, presets};

fn evaluate_with(spec: &LossSpec, problem: &Problem, set: InstructionSet, precision: Precision) -> Evaluation {
    let loss = spec.clone().build(problem.classes()).unwrap().with_instruction_set(set);
    let problem = problem.clone().fitted_to(&loss);
    match precision {
        Precision::F32 => evaluate::<f32>(&loss, &problem, Reduction::Mean).unwrap(),
        Precision::F64 => evaluate::<f64>(&loss, &problem, Reduction::Mean).unwrap(),
    }
}

#[test]
fn every_available_instruction_set_agrees_with_the_oracle() {
    let mut random = Random::new(61);
    let available: Vec<InstructionSet> = InstructionSet::ALL.into_iter().filter(|set| set.is_available()).collect();
    for set in InstructionSet::ALL.into_iter().filter(|set| !set.is_available()) {
        println!("instruction sets: {set:?} is not available and is skipped");
    }
    assert_eq!(InstructionSet::best(), *available.last().unwrap());
    let mut report = ErrorReport::new("instruction sets");
    let mut specs: Vec<LossSpec> = presets::all().iter().map(|preset| preset.spec()).collect();
    for comparison in comparisons() {
        let spec =
            presets::find("am-softmax").unwrap().spec().with_comparison(comparison).with_margin(Margin::score(0.2));
        let scale = Scale::fixed(1.5);
        let geometry = Geometry::InnerProduct { bias: false, temperature: 1.0 };
        specs.push(spec.clone().with_geometry(geometry).with_scale(scale));
        specs.push(spec);
    }
    specs.retain(is_accepted);
    for spec in specs {
        for classes in [1, 3, 16, 65, 333, 2100] {
            let spec = spec.clone().with_class_counts(&class_counts(classes));
            let problem = problem_of(&mut random, &spec, 3, classes).fitted_to(&spec.clone().build(classes).unwrap());
            for precision in Precision::ALL {
                let reduction = Reduction::Mean;
                let want = expected_by_oracle(&spec, &problem, reduction, precision.least_sine());
                let conditions = Conditions { spec: &spec, problem: &problem, reduction, precision };
                for &set in &available {
                    let result = evaluate_with(&spec, &problem, set, precision);
                    // Two instruction sets therefore differ by at most twice this tolerance.
                    compare_with_expected(
                        &mut report,
                        &format!("{set:?} {classes} {spec:?}"),
                        &conditions,
                        &result,
                        &want,
                    );
                }
            }
        }
    }
    report.finish(100_000);
}

#[test]
fn an_unavailable_instruction_set_falls_back_to_the_portable_one() {
    let mut random = Random::new(62);
    let spec = presets::find("cross-entropy").unwrap().spec();
    let problem = problem(&mut random, spec.geometry, 3, 100);
    let portable = evaluate_with(&spec, &problem, InstructionSet::Portable, Precision::F32);
    for set in InstructionSet::ALL {
        let result = evaluate_with(&spec, &problem, set, Precision::F32);
        if set.is_available() {
            assert!(result.total.is_finite());
        } else {
            assert_eq!(result, portable, "{set:?}");
        }
    }
}
