//! Times value and gradient of every comparison on given scores.
//!
//! * `cargo bench -p softmargin --bench family` prints a table.
//! * With `--test`, each case runs once on a small batch.
//! * With `--serve`, it reads the name of a case per line from standard input and prints its time in seconds, for
//!   `bench/family.py`, which alternates between two programs.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use ndarray::{Array1, Array2};
use softmargin::{Batch, Comparison, Gate, Geometry, Loss, Negatives, Reduction, RowInputs, SmoothGate, presets};
use std::io::{BufRead, Write};
use std::time::Instant;

/// The comparisons, each with the gates that are used in training.
const CASES: [(&str, Comparison); 8] = [
    ("log-sum-exp-softplus", Comparison::CROSS_ENTROPY),
    ("log-sum-exp-relu", Comparison::LogSumExp { gate: SmoothGate::Relu }),
    ("hardest-relu", Comparison::Hardest { gate: Gate::Relu }),
    ("hardest-softplus", Comparison::Hardest { gate: Gate::Softplus }),
    ("each-pair-relu", Comparison::EachPair { gate: Gate::Relu }),
    ("each-pair-softplus", Comparison::EachPair { gate: Gate::Softplus }),
    ("against-zero-relu", Comparison::AgainstZero { gate: Gate::Relu }),
    ("against-zero-softplus", Comparison::AgainstZero { gate: Gate::Softplus }),
];

/// The modified negatives, for softmax cross-entropy of cosines.
const NEGATIVES: [(&str, Negatives); 3] = [
    ("misclassified", Negatives::Misclassified { factor: 1.12 }),
    ("curricular", Negatives::Curricular { momentum: 0.01 }),
    ("divided-angle", Negatives::DividedAngle { by: 1.5 }),
];

struct Problem {
    scores: Array2<f32>,
    targets: Array1<i64>,
    kept: Array2<f32>,
}

impl Problem {
    /// Creates scores from -1 to 1, which the scale spreads like those of an untrained classifier. A linear
    /// congruential generator is random enough for timing.
    fn new(rows: usize, classes: usize) -> Self {
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        let scores = Array2::from_shape_simple_fn((rows, classes), || (next() + next() + next() - 1.5) / 1.5);
        let targets = Array1::from_shape_simple_fn(rows, || (next() * classes as f32) as i64);
        Self { scores, targets, kept: Array2::zeros((rows, classes)) }
    }

    /// Returns the seconds for value and gradient, with the gradient in fresh or reused memory.
    fn time(&mut self, loss: &Loss, fresh: bool) -> f64 {
        let state = loss.initial_state();
        let mut rows = RowInputs::new(self.targets.view());
        if let Some(state) = &state {
            rows = rows.with_state(state);
        }
        let batch = Batch::new(self.scores.view(), rows);
        let start = Instant::now();
        if fresh {
            let result = loss.value_and_grad(&batch, Reduction::Mean).expect("a well-formed batch");
            std::hint::black_box(&result);
            start.elapsed().as_secs_f64()
        } else {
            let result = loss.value_and_grad_into(&batch, Reduction::Mean, self.kept.view_mut());
            std::hint::black_box(result.expect("a well-formed batch"));
            start.elapsed().as_secs_f64()
        }
    }
}

fn loss(name: &str, classes: usize) -> Option<Loss> {
    let base = presets::find("cross-entropy").ok()?.spec().with_scale(3.0);
    let comparison = CASES.into_iter().find(|(case, _)| *case == name);
    let negatives = NEGATIVES.into_iter().find(|(case, _)| *case == name);
    let spec = match (comparison, negatives) {
        (Some((_, comparison)), _) => base.with_comparison(comparison),
        (None, Some((_, negatives))) => base.with_negatives(negatives).with_geometry(Geometry::Cosine),
        (None, None) => return None,
    };
    spec.build(classes).ok()
}

/// Reads lines `CASE fresh` or `CASE kept` and prints the seconds of each.
fn serve(problem: &mut Problem, classes: usize) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let (case, memory) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match loss(case, classes) {
            Some(loss) => println!("{}", problem.time(&loss, memory == "fresh")),
            None => println!("unknown case {case}"),
        }
        std::io::stdout().flush().expect("the partner reads");
    }
}

fn table(problem: &mut Problem, classes: usize, repeats: usize) {
    println!("{:<24}{:>12}{:>12}", "value and gradient, ms", "fresh", "kept");
    for name in CASES.map(|(name, _)| name).into_iter().chain(NEGATIVES.map(|(name, _)| name)) {
        let loss = loss(name, classes).expect("every case is a loss");
        let median = |problem: &mut Problem, fresh: bool| {
            let mut times: Vec<f64> = (0..repeats).map(|_| problem.time(&loss, fresh)).collect();
            times.sort_by(f64::total_cmp);
            times[repeats / 2] * 1e3
        };
        println!("{name:<24}{:>12.2}{:>12.2}", median(problem, true), median(problem, false));
    }
}

fn main() {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    if flag("--test") {
        return table(&mut Problem::new(3, 100), 100, 1);
    }
    let mut problem = Problem::new(256, 100_000);
    if flag("--serve") { serve(&mut problem, 100_000) } else { table(&mut problem, 100_000, 9) }
}
