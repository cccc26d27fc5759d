//! Each instruction set that this machine has against the twin, and against the others.

use crate::gauge::Gauge;
use crate::grid::{class_counts, comparisons, is_sound, problem, problem_of};
use crate::problem::{Answer, Problem, Random, answer};
use crate::tolerances::{Conditions, Precision};
use crate::twin::{judge, want};
use softmargin::{Geometry, InstructionSet, LossSpec, Margin, Reduction, Scale, presets};

fn ask(spec: &LossSpec, problem: &Problem, set: InstructionSet, precision: Precision) -> Answer {
    let loss = spec.clone().build(problem.classes()).unwrap().with_instruction_set(set);
    let problem = problem.clone().fitted_to(&loss);
    match precision {
        Precision::F32 => answer::<f32>(&loss, &problem, Reduction::Mean).unwrap(),
        Precision::F64 => answer::<f64>(&loss, &problem, Reduction::Mean).unwrap(),
    }
}

#[test]
fn every_instruction_set_is_near_the_exact_answer() {
    let mut random = Random::new(61);
    let here: Vec<InstructionSet> = InstructionSet::ALL.into_iter().filter(|set| set.is_available()).collect();
    for set in InstructionSet::ALL.into_iter().filter(|set| !set.is_available()) {
        println!("instruction sets: {set:?} skipped: this machine does not have it");
    }
    assert_eq!(InstructionSet::best(), *here.last().unwrap());
    let mut gauge = Gauge::new("instruction sets");
    let mut specs: Vec<LossSpec> = presets::all().iter().map(|preset| preset.spec()).collect();
    for comparison in comparisons() {
        let spec =
            presets::find("am-softmax").unwrap().spec().with_comparison(comparison).with_margin(Margin::score(0.2));
        let scale = Scale::fixed(1.5);
        let geometry = Geometry::InnerProduct { bias: false, temperature: 1.0 };
        specs.push(spec.clone().with_geometry(geometry).with_scale(scale));
        specs.push(spec);
    }
    specs.retain(is_sound);
    for spec in specs {
        for classes in [1, 3, 16, 65, 333, 2100] {
            let spec = spec.clone().with_class_counts(&class_counts(classes));
            let problem = problem_of(&mut random, &spec, 3, classes).fitted_to(&spec.clone().build(classes).unwrap());
            for precision in Precision::ALL {
                let reduction = Reduction::Mean;
                let want = want(&spec, &problem, reduction, precision.least_sine());
                let conditions = Conditions { spec: &spec, problem: &problem, reduction, precision };
                for &set in &here {
                    let answer = ask(&spec, &problem, set, precision);
                    // Both near the exact number, so at most twice as far from each other.
                    judge(&mut gauge, &format!("{set:?} {classes} {spec:?}"), &conditions, &answer, &want);
                }
            }
        }
    }
    gauge.finish(100_000);
}

#[test]
fn one_that_is_missing_gives_the_portable_one() {
    let mut random = Random::new(62);
    let spec = presets::find("cross-entropy").unwrap().spec();
    let problem = problem(&mut random, spec.geometry, 3, 100);
    let portable = ask(&spec, &problem, InstructionSet::Portable, Precision::F32);
    for set in InstructionSet::ALL {
        let answer = ask(&spec, &problem, set, Precision::F32);
        if set.is_available() {
            assert!(answer.total.is_finite());
        } else {
            assert_eq!(answer, portable, "{set:?}");
        }
    }
}
