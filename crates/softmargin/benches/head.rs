//! Times a step of a head: loss and gradients with respect to embeddings and prototypes, or a fused step of SGD.
//!
//! * `cargo bench -p softmargin --bench head` prints a table of small shapes.
//! * With `--test`, each mode runs once on a small batch.
//! * With `--serve LOSS N D C key=value...`, it times a step per line of standard input, for `bench/head.py`.
//! * With `--peak`, it measures the peak multiply-add rate of this machine.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "counts of operations and bytes")]

use ndarray::{Array1, Array2};
use rayon::prelude::*;
use softmargin::head::{Head, HeadBatch, HeadOptions, Mode, Optimizer, Precision, Rule};
use softmargin::random::{Generator, Purpose};
use softmargin::simd::{Instructions, LINE, Line, Vector, Work, run_on};
use softmargin::{Geometry, InstructionSet, Reduction, presets};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

/// The case to time.
struct Case {
    loss: String,
    rows: usize,
    width: usize,
    classes: usize,
    options: HeadOptions,
    /// The tile size; by default it depends on the embedding dimension.
    tile: Option<usize>,
    /// True if the memory of gradients is reused from step to step.
    keeps: bool,
    /// True for a fused step of the optimizer.
    steps: bool,
}

impl Case {
    fn parse(words: &[String]) -> Result<Self, String> {
        let [loss, rows, width, classes, keys @ ..] = words else {
            return Err("usage: --serve LOSS N D C [precision=] [mode=] [allowed=] [memory=] [step=] [tile=]".into());
        };
        const KEYS: [&str; 6] = ["precision", "mode", "allowed", "memory", "step", "tile"];
        if let Some(word) = keys.iter().find(|key| !KEYS.iter().any(|known| key.starts_with(&format!("{known}=")))) {
            return Err(format!("{word}: expected key=value, a key of {}", KEYS.join(", ")));
        }
        let number = |word: &String| word.parse::<usize>().map_err(|_| format!("{word}: expected a whole number"));
        let pairs: HashMap<&str, &str> = keys.iter().filter_map(|key| key.split_once('=')).collect();
        let one = |key: &str, usual: &'static str| pairs.get(key).copied().unwrap_or(usual).to_owned();
        let parse = |key: &str, usual| serde_json::Value::String(one(key, usual));
        let options = HeadOptions {
            precision: serde_json::from_value(parse("precision", "f32")).map_err(|error| error.to_string())?,
            mode: serde_json::from_value(parse("mode", "auto")).map_err(|error| error.to_string())?,
            memory: pairs.get("allowed").map_or(Ok(HeadOptions::default().memory), |bytes| {
                bytes.parse().map_err(|_| format!("allowed={bytes}: expected bytes"))
            })?,
            ..HeadOptions::default()
        };
        Ok(Self {
            loss: loss.clone(),
            rows: number(rows)?,
            width: number(width)?,
            classes: number(classes)?,
            options,
            tile: pairs.get("tile").and_then(|tile| tile.parse().ok()),
            keeps: one("memory", "fresh") == "kept",
            steps: one("step", "none") == "sgd",
        })
    }
}

/// The data of a case, as in the PyTorch benchmark: standard normal values, with smaller prototypes for inner products.
struct Problem {
    head: Head,
    x: Array2<f32>,
    w: Array2<f32>,
    targets: Array1<i64>,
    kept: Option<(Array2<f32>, Array2<f32>)>,
    optimizer: Option<Optimizer>,
}

impl Problem {
    fn new(case: &Case) -> Self {
        let spec = presets::find(&case.loss).expect("the name of a loss").spec();
        // Inner products have no bias, as in the PyTorch benchmark.
        let plain = Geometry::InnerProduct { bias: false, temperature: 1.0 };
        let geometry = if spec.geometry.has_bias() { plain } else { spec.geometry };
        let spec = spec.with_geometry(geometry);
        let size = if spec.geometry.is_bounded() { 1.0 } else { 1.0 / (case.width as f32).sqrt() };
        let head = Head::with_options(spec.build(case.classes).expect("a sound loss"), case.options).expect("options");
        let head = case.tile.map_or_else(|| head.clone(), |tile| head.clone().with_tile(tile));
        let mut targets = Generator::new(3, Purpose::Order, 0);
        let classes = u32::try_from(case.classes).expect("a number of classes");
        let shape = (case.classes, case.width);
        let rule = Rule::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
        Self {
            head,
            x: normal(1, (case.rows, case.width), 1.0),
            w: normal(2, shape, size),
            targets: Array1::from_shape_simple_fn(case.rows, || i64::from(targets.below(classes))),
            kept: (case.keeps && !case.steps).then(|| (Array2::zeros((case.rows, case.width)), Array2::zeros(shape))),
            optimizer: case.steps.then(|| Optimizer::new(rule, 1e-3, shape).expect("a sound rule")),
        }
    }

    /// Returns the bytes of X, W and their gradients, or of the momentum.
    fn own_bytes(&self) -> usize {
        let of_x = if self.optimizer.is_some() { self.x.len() } else { 2 * self.x.len() };
        4 * (of_x + 2 * self.w.len())
    }

    /// Returns the seconds of one step.
    fn time(&mut self) -> f64 {
        let batch = HeadBatch::new(self.x.view(), self.targets.view());
        let start = Instant::now();
        match (&mut self.optimizer, &mut self.kept) {
            (Some(optimizer), _) => {
                let step =
                    self.head.step(&batch, self.w.view_mut(), optimizer, Reduction::Mean).expect("a sound batch");
                let seconds = start.elapsed().as_secs_f64();
                std::hint::black_box(&step);
                seconds
            }
            (None, Some((dx, dw))) => {
                let (dx, dw) = (dx.view_mut(), dw.view_mut());
                let value = self.head.value_and_grad_into(&batch, self.w.view(), Reduction::Mean, dx, dw);
                std::hint::black_box(value.expect("a sound batch"));
                start.elapsed().as_secs_f64()
            }
            (None, None) => {
                let answer = self.head.value_and_grad(&batch, self.w.view(), Reduction::Mean).expect("a sound batch");
                let seconds = start.elapsed().as_secs_f64();
                std::hint::black_box(&answer);
                seconds
            }
        }
    }
}

/// Returns normal values, each run of 16384 from its own stream.
fn normal(seed: u64, shape: (usize, usize), size: f32) -> Array2<f32> {
    let mut all = Array2::zeros(shape);
    let numbers = all.as_slice_mut().expect("a fresh array is contiguous");
    numbers.par_chunks_mut(1 << 14).enumerate().for_each(|(part, numbers)| {
        let mut stream = Generator::new(seed, Purpose::Weights, part as u64);
        numbers.iter_mut().for_each(|number| *number = size * stream.normal() as f32);
    });
    all
}

/// Returns the peak and the current resident bytes of this process; 0 if the system does not report them.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    (1024 * kilobytes("VmHWM:"), 1024 * kilobytes("VmRSS:"))
}

fn serve(case: &Case) {
    let mut problem = Problem::new(case);
    let start = resident().1;
    problem.time();
    say(&serde_json::json!({ "ready": true, "own_bytes": problem.own_bytes() }));
    for _ in std::io::stdin().lock().lines() {
        say(&serde_json::json!({ "seconds": problem.time() }));
    }
    say(&serde_json::json!({ "peak_bytes": resident().0, "start_bytes": start }));
}

fn say(line: &serde_json::Value) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// A loop of independent multiply-adds in registers.
struct Peak {
    rounds: usize,
}

/// The number of independent sums of the loop, which hide the latency of an addition.
const SUMS: usize = 6;

impl Work for Peak {
    type Output = Line;

    #[inline(always)]
    fn run<I: Instructions>(self) -> Line {
        // All values differ, since the compiler would compute equal halves of a vector only once.
        let start =
            |k: usize| I::Vector::load(&Line(std::array::from_fn(|l| std::hint::black_box((k * LINE + l) as f32))));
        let mut sums: [I::Vector; 2 * SUMS] = std::array::from_fn(start);
        let factor = start(1);
        for _ in 0..self.rounds {
            // Six sums in two registers each, or twelve in one each.
            for sum in sums.iter_mut().take(if I::SUMS == 24 { 2 * SUMS } else { SUMS }) {
                *sum = I::Vector::multiply_add(*sum, factor, factor);
            }
        }
        let mut line = Line::default();
        sums.into_iter().fold(I::Vector::zero(), Vector::add).store(&mut line);
        line
    }
}

/// Measures the multiply-add rate of all threads in GFLOP/s: the best of several runs, since other load only lowers it.
fn peak() -> f64 {
    let set = InstructionSet::best();
    let sums = if set >= InstructionSet::Avx512 { 2 * SUMS } else { SUMS };
    let (threads, rounds) = (rayon::current_num_threads(), 10_000_000);
    let once = || {
        let start = Instant::now();
        let results: Vec<Line> =
            (0..threads).into_par_iter().with_max_len(1).map(|_| run_on(set, Peak { rounds })).collect();
        std::hint::black_box(results);
        (2 * LINE * sums * rounds * threads) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..15).map(|_| once()).fold(0.0, f64::max)
}

fn table(test: bool) {
    let shapes: &[[usize; 3]] = if test { &[[5, 7, 11]] } else { &[[128, 512, 1000], [256, 128, 10_000]] };
    println!("{:<16}{:>6}{:>6}{:>9}  {:<12}{:>10}{:>12}", "loss", "N", "D", "C", "mode", "ms", "GFLOP/s");
    for &[rows, width, classes] in shapes {
        for loss in ["cross-entropy", "am-softmax", "arcface"] {
            for (name, mode, precision) in [
                ("store", Mode::Store, Precision::F32),
                ("store-half", Mode::StoreHalf, Precision::F32),
                ("recompute", Mode::Recompute, Precision::F32),
                ("bf16", Mode::Auto, Precision::Bf16),
            ] {
                let options = HeadOptions { mode, precision, ..HeadOptions::default() };
                let loss = loss.to_owned();
                let case = Case { loss, rows, width, classes, options, tile: None, keeps: true, steps: false };
                let mut problem = Problem::new(&case);
                let mut times: Vec<f64> = (0..if test { 1 } else { 15 }).map(|_| problem.time()).collect();
                times.sort_by(f64::total_cmp);
                let seconds = times[times.len() / 2];
                let rate = 6.0 * (rows * width * classes) as f64 / seconds / 1e9;
                println!(
                    "{:<16}{rows:>6}{width:>6}{classes:>9}  {name:<12}{:>10.3}{rate:>12.1}",
                    case.loss,
                    1e3 * seconds
                );
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().position(|argument| argument == "--serve" || argument == "--peak") {
        Some(at) if arguments[at] == "--peak" => {
            let set = format!("{:?}", InstructionSet::best()).to_lowercase();
            say(&serde_json::json!({ "gflops": peak(), "instruction_set": set }));
        }
        Some(at) => match Case::parse(&arguments[at + 1..]) {
            Ok(case) => serve(&case),
            Err(fault) => println!("{fault}"),
        },
        None => table(arguments.iter().any(|argument| argument == "--test")),
    }
}
