//! Loss and gradients of a head: comparison with the oracle's head and with differences, and behavior at the poles.

use crate::combinations::{comparisons, cycled_negatives, geometries, is_accepted, margins, spec_of};
use crate::error_report::ErrorReport;
use crate::golden::{self, file, items, matrix};
use crate::gradients::{is_smooth, is_standardized, is_straight_through};
use crate::oracle_description::describe;
use crate::problem::{Problem, Random, random_state};
use crate::tolerances::{HeadConditions, Precision, of_difference, step_of_scores};
use ndarray::{Array1, Array2, ArrayView2};
use serde_json::Value;
use softmargin::head::{
    Head as FusedHead, HeadBatch, HeadGradients, HeadOptions, HeadParameters, LearnedGradients, Mode,
};
use softmargin::{
    Batch, Comparison, Geometry, Gradients, InstructionSet, LossSpec, LossState, Margin, Negatives, OperandGradients,
    Real, Reduction, Regularizer, RowInputs, Scale, SmoothGate, presets, sub_centers,
};
use softmargin_oracle::{Head as OracleHead, Surrogate, Targets, five_point_difference};

/// Embeddings, prototypes and the other inputs of a head.
#[derive(Clone, Debug)]
struct Head {
    x: Array2<f64>,
    w: Array2<f64>,
    bias: Option<Vec<f64>>,
    labels: Vec<i64>,
    margins: Option<Vec<f64>>,
    sample_weights: Option<Vec<f64>>,
    state: LossState,
}

impl Head {
    fn random(random: &mut Random, spec: &LossSpec, (rows, classes, width): (usize, usize, usize)) -> Self {
        Self {
            x: random.matrix(rows, width, -1.0, 1.0),
            w: random.matrix(classes * spec.sub_centers, width, -1.0, 1.0),
            bias: spec.geometry.has_bias().then(|| random.vector(classes * spec.sub_centers, -0.5, 0.5)),
            labels: random.labels(rows, classes),
            margins: format!("{:?}", spec.margin).contains("PerSample").then(|| random.vector(rows, 0.05, 0.6)),
            sample_weights: None,
            state: random_state(random),
        }
    }

    fn oracle(&self) -> OracleHead {
        OracleHead {
            x: self.x.iter().copied().collect(),
            w: self.w.iter().copied().collect(),
            bias: self.bias.clone(),
            dimension: self.x.ncols(),
        }
    }

    /// Returns the oracle's batch of scores, and the index of the prototype behind each score.
    fn oracle_batch(&self, spec: &LossSpec) -> (softmargin_oracle::Batch, Vec<usize>) {
        let description = describe(spec, &self.problem_without_scores(spec), Reduction::Sum, f64::LEAST_SINE);
        self.oracle().batch(&description, Targets::Labels(self.labels.clone()))
    }

    /// Returns the scores of the head as a problem, for the oracle's description and the search for kinks.
    fn problem(&self, spec: &LossSpec) -> Problem {
        let (batch, _) = self.oracle_batch(spec);
        let without_scores = self.problem_without_scores(spec);
        let scores = Array2::from_shape_vec(without_scores.scores.raw_dim(), batch.scores).unwrap();
        Problem { embedding_norms: batch.embedding_norms, weight_norms: batch.weight_norms, scores, ..without_scores }
    }

    /// Returns a problem with scores of 0.
    fn problem_without_scores(&self, spec: &LossSpec) -> Problem {
        let scores = Array2::zeros((self.x.nrows(), self.w.nrows() / spec.sub_centers));
        let mut problem = Problem { margins: self.margins.clone(), ..Problem::new(scores, self.labels.clone()) };
        problem.sample_weights = self.sample_weights.clone();
        problem.state = Some(self.state.clone());
        problem
    }

    /// Returns true if the largest score of every class exceeds the second largest clearly.
    fn has_clear_winners(&self, spec: &LossSpec) -> bool {
        let bias = self.bias.as_ref().map(|bias| Array1::from(bias.clone()));
        let all = spec.geometry.scores(self.x.view(), self.w.view(), bias.as_ref().map(|b| b.view())).unwrap().scores;
        all.exact_chunks((1, spec.sub_centers)).into_iter().all(|class| {
            let mut scores: Vec<f64> = class.iter().copied().collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            scores.len() < 2 || scores[0] - scores[1] > 0.01
        })
    }

    /// Returns loss and gradients of the unfused computation in one precision.
    fn evaluate<F: Real>(&self, spec: &LossSpec, reduction: Reduction) -> (f64, HeadGradients<F>) {
        let loss = spec.clone().build(self.w.nrows() / spec.sub_centers).expect("a valid loss");
        let (x, w) = (self.x.mapv(F::round_from), self.w.mapv(F::round_from));
        let vector =
            |v: &Option<Vec<f64>>| v.as_ref().map(|v| v.iter().map(|&v| F::round_from(v)).collect::<Array1<F>>());
        let (bias, margins) = (vector(&self.bias), vector(&self.margins));
        let sample_weights = vector(&self.sample_weights);
        let labels = Array1::from(self.labels.clone());
        let scored = spec.geometry.scores(x.view(), w.view(), bias.as_ref().map(|b| b.view())).expect("shapes agree");
        let pooled =
            sub_centers::pool(scored.scores.view(), spec.sub_centers).expect("a multiple of the prototypes per class");
        let mut rows = RowInputs::new(labels.view());
        if loss.needs_embedding_norms() {
            rows = rows.with_embedding_norms(scored.embedding_norms.view());
        }
        if loss.needs_weight_norms() {
            rows = rows.with_weight_norms(scored.weight_norms.view());
        }
        if let Some(weights) = &sample_weights {
            rows = rows.with_sample_weights(weights.view());
        }
        if let Some(margins) = &margins {
            rows = rows.with_margins(margins.view());
        }
        if loss.initial_state().is_some() {
            rows = rows.with_state(&self.state);
        }
        let batch = Batch::new(pooled.scores.view(), rows);
        let (value, gradients) = loss.value_and_grad(&batch, reduction).expect("a valid batch");
        let learned = (gradients.rows.scale, gradients.rows.radius);
        let scores = sub_centers::spread(gradients.scores.view(), pooled.winners.view(), spec.sub_centers);
        let gradients = Gradients { scores: scores.expect("matching shapes"), ..gradients }.into();
        let back = spec.geometry.backward(x.view(), w.view(), &scored, &gradients).expect("shapes agree");
        (value.total.widen(), with_learned(back, learned))
    }
}

/// Returns the gradients of a head from those of its operands.
fn with_learned<F>(back: OperandGradients<F>, (scale, radius): (F, F)) -> HeadGradients<F> {
    let OperandGradients { embeddings, weight, bias } = back;
    HeadGradients { embeddings, weight, learned: LearnedGradients { bias, scale, radius } }
}

impl Head {
    /// Returns loss and gradients of a fused head in single precision.
    fn fused(&self, spec: &LossSpec, reduction: Reduction, variant: Variant) -> (f64, HeadGradients<f32>) {
        let loss = spec.clone().build(self.w.nrows() / spec.sub_centers).expect("a valid loss");
        let has_state = loss.initial_state().is_some();
        let options = HeadOptions { mode: variant.mode, ..HeadOptions::default() };
        let head = FusedHead::with_options(loss.with_instruction_set(variant.set), options).expect("enough memory");
        let head = variant.tile.map_or_else(|| head.clone(), |tile| head.clone().with_tile(tile));
        let (x, w) = (self.x.mapv(f32::round_from), self.w.mapv(f32::round_from));
        let vector = |v: &Option<Vec<f64>>| v.as_ref().map(|v| v.iter().map(|&v| v as f32).collect::<Array1<f32>>());
        let [bias, margins, weights] = [&self.bias, &self.margins, &self.sample_weights].map(vector);
        let labels = Array1::from(self.labels.clone());
        let mut parameters = HeadParameters::new(w.view());
        if let Some(bias) = &bias {
            parameters = parameters.with_bias(bias.view());
        }
        let mut rows = RowInputs::new(labels.view());
        if let Some(weights) = &weights {
            rows = rows.with_sample_weights(weights.view());
        }
        if let Some(margins) = &margins {
            rows = rows.with_margins(margins.view());
        }
        if has_state {
            rows = rows.with_state(&self.state);
        }
        let batch = HeadBatch::new(x.view(), rows);
        let (value, gradients) = head.value_and_grad(&batch, parameters, reduction).expect("a valid batch");
        assert_eq!(head.value(&batch, parameters, reduction).expect("a valid batch").total, value.total, "{spec:?}");
        (value.total.widen(), gradients)
    }
}

/// Mode, instruction set and tile size of a fused head.
#[derive(Clone, Copy, Debug)]
struct Variant {
    mode: Mode,
    set: InstructionSet,
    tile: Option<usize>,
}

/// Returns every mode, every available instruction set and a few tile sizes.
fn variants() -> Vec<Variant> {
    let best = InstructionSet::best();
    let variant = |mode, set, tile| Variant { mode, set, tile };
    let mut all = vec![
        variant(Mode::Store, best, None),
        variant(Mode::Store, best, Some(1)),
        variant(Mode::Recompute, best, Some(2)),
        variant(Mode::RowChunked, best, Some(3)),
        variant(Mode::Unfused, best, None),
    ];
    for set in InstructionSet::ALL.into_iter().filter(|set| *set != best && set.is_available()) {
        all.extend([variant(Mode::Store, set, Some(3)), variant(Mode::Recompute, set, None)]);
    }
    all
}

fn norms(vectors: ArrayView2<'_, f64>) -> Vec<f64> {
    vectors.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect()
}

/// Returns the sizes of the terms of each gradient: per row of x, per row of w, per entry of the bias.
fn sizes(spec: &LossSpec, head: &Head, outcome: &softmargin_oracle::HeadOutput) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (n, c) = (head.x.nrows(), head.w.nrows() / spec.sub_centers);
    // Softmax and label smoothing may cancel, but their rounding errors add up.
    let smoothing = match spec.comparison {
        Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, .. } } => label_smoothing,
        _ => 0.0,
    };
    let share = smoothing * spec.scale.initial() / spec.geometry.temperature() / c as f64;
    let slopes = Array2::from_shape_vec((n, c), outcome.loss.grad_scores.clone()).unwrap();
    let slopes = slopes.mapv(|slope| slope.abs() + share);
    let (x, w) = (norms(head.x.view()), norms(head.w.view()));
    let mut of_x: Vec<f64> = outcome.loss.grad_embedding_norms.iter().map(|slope| slope.abs()).collect();
    let mut of_w = vec![0.0; head.w.nrows()];
    for (of_w, slope) in of_w.iter_mut().zip(&outcome.loss.grad_weight_norms) {
        *of_w += slope.abs();
    }
    let mut of_bias = vec![0.0; head.w.nrows()];
    for (((row, _), slope), &winner) in slopes.indexed_iter().zip(&outcome.winners) {
        let (factor_x, factor_w) = match spec.geometry {
            Geometry::InnerProduct { .. } => (w[winner], x[row]),
            Geometry::UnitWeights => (1.0, x[row] / w[winner]),
            Geometry::Cosine => (1.0 / x[row], 1.0 / w[winner]),
        };
        of_x[row] += slope * factor_x;
        of_w[winner] += slope * factor_w;
        of_bias[winner] += slope;
    }
    (of_x, of_w, of_bias)
}

fn conditions(spec: &LossSpec, head: &Head, problem: &Problem) -> HeadConditions {
    let (x, w) = (norms(head.x.view()), norms(head.w.view()));
    let largest = |v: &[f64]| v.iter().copied().fold(0.0, f64::max);
    let r = match spec.geometry {
        Geometry::InnerProduct { .. } => largest(&x) * largest(&w),
        Geometry::UnitWeights => largest(&x),
        Geometry::Cosine => 1.0,
    };
    let (mut steepness, mut curvature) = (1.0_f64, 0.0_f64);
    if let Margin::Angle(angle) = &spec.margin {
        for (row, &label) in head.labels.iter().enumerate() {
            let own = match spec.geometry {
                Geometry::InnerProduct { .. } => x[row] * w[label as usize],
                Geometry::UnitWeights => x[row],
                Geometry::Cosine => 1.0,
            };
            let cos = problem.scores[[row, label as usize]] / own;
            let sine = (1.0 - cos * cos).sqrt();
            steepness = steepness.max(angle.times / sine);
            curvature = curvature.max((angle.times * angle.times + angle.times) / (sine * sine * sine));
        }
    }
    let cosine = |entry: &f64| (1.0 - entry * entry).sqrt();
    let least_sine = problem.scores.iter().map(cosine).fold(1.0, f64::min);
    // First and second derivative of modified negatives.
    let (slope, own) = match spec.negatives {
        Negatives::Misclassified { factor } => (factor, 0.0),
        Negatives::Curricular { .. } => (head.state.target_mean.abs() + 2.0, 2.0),
        Negatives::DividedAngle { by } => (1.0 / (by * least_sine), 2.0 / (by * least_sine.powi(3))),
        _ => (1.0, 0.0),
    };
    (steepness, curvature) = (steepness.max(slope), curvature.max(own));
    let s = spec.scale.initial() / spec.geometry.temperature();
    HeadConditions {
        width: head.x.ncols(),
        terms: head.x.nrows().max(head.w.nrows()),
        scale: s * r,
        steepness,
        curvature,
    }
}

fn compare<F: Real>(report: &mut ErrorReport, spec: &LossSpec, head: &Head, problem: &Problem, precision: Precision) {
    let result = head.evaluate::<F>(spec, Reduction::Sum);
    compare_answer(report, spec, head, problem, precision, precision.least_sine(), &result, "");
}

#[expect(clippy::too_many_arguments, reason = "the values to compare and their description")]
fn compare_answer<F: Real>(
    report: &mut ErrorReport,
    spec: &LossSpec,
    head: &Head,
    problem: &Problem,
    precision: Precision,
    least_sine: f64,
    (total, back): &(f64, HeadGradients<F>),
    name: &str,
) {
    let oracle = head.oracle();
    let targets = Targets::Labels(head.labels.clone());
    let description = describe(spec, problem, Reduction::Sum, least_sine);
    let outcome = oracle.evaluate(&description, &targets).expect("the oracle accepts the input");
    let relative = Relative::of(&conditions(spec, head, problem), precision);
    let (of_x, of_w, of_bias) = sizes(spec, head, &outcome);
    let width = head.x.ncols();
    // The error of a gap is an error of the loss, which adds the errors of its own terms, C of them for each-pair.
    let of_loss = (outcome.loss.loss.abs() + 2.0 * head.w.nrows() as f64 * relative.scale) * relative.relative;
    let relative = relative.relative;
    report.check(
        &format!("loss{name} {precision:?}"),
        || format!("{spec:?} {head:?}"),
        *total,
        outcome.loss.loss,
        of_loss,
    );
    let mut check = |what: &str, got: Vec<f64>, want: &[f64], size: &dyn Fn(usize) -> f64| {
        let kind = format!("{what}{name} {precision:?}");
        for (k, (&got, &want)) in got.iter().zip(want).enumerate() {
            report.check(&kind, || format!("{spec:?} {head:?} [{k}]"), got, want, relative * size(k));
        }
    };
    let wide = |all: &Array2<F>| all.iter().map(|v| v.widen()).collect::<Vec<f64>>();
    check("embeddings", wide(&back.embeddings), &outcome.grad_x, &|k| of_x[k / width]);
    check("prototypes", wide(&back.weight), &outcome.grad_w, &|k| of_w[k / width]);
    if head.bias.is_some() {
        check("bias", back.learned.bias.iter().map(|v| v.widen()).collect(), &outcome.grad_bias, &|k| of_bias[k]);
    }
}

/// Allowed error relative to the sizes of the terms, and the largest scaled score.
struct Relative {
    relative: f64,
    scale: f64,
}

impl Relative {
    fn of(conditions: &HeadConditions, precision: Precision) -> Self {
        Self { relative: conditions.relative(precision), scale: conditions.scale }
    }
}

/// Returns the tested losses: every margin under cross-entropy, every comparison under two margins, with regularizers.
fn losses(classes: usize) -> Vec<LossSpec> {
    let mut all = Vec::new();
    let plain = presets::find("cross-entropy").unwrap().spec();
    for geometry in geometries() {
        let scale = Scale::fixed(if geometry == Geometry::Cosine { 8.0 } else { 1.5 });
        let base = plain.clone().with_geometry(geometry).with_scale(scale).with_negatives(Negatives::Plain);
        let smooth = Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing: 0.1, z_loss: 0.01 } };
        for margin in margins(classes) {
            all.push(base.clone().with_margin(margin.clone()));
            all.push(base.clone().with_margin(margin).with_comparison(smooth));
        }
        for comparison in comparisons() {
            all.push(base.clone().with_comparison(comparison));
            all.push(base.clone().with_comparison(comparison).with_margin(Margin::score(0.3)));
        }
        let magnitude = Regularizer::Magnitude { weight: 2.0, low: 0.8, high: 1.5 };
        for term in
            [Regularizer::Ring { weight: 0.5, radius: 1.0 }, Regularizer::FeatureIncay { weight: 0.25 }, magnitude]
        {
            all.push(base.clone().with_regularizer(term));
            let margin = presets::find("arcface").unwrap().spec().margin;
            all.push(base.clone().with_regularizer(term).with_margin(margin));
        }
    }
    for turn in 0..7 {
        let base = presets::find("arcface").unwrap().spec();
        all.push(base.clone().with_negatives(cycled_negatives(Geometry::Cosine, turn)).with_scale(8.0));
        let geometry = geometries()[turn % 4];
        let scale = Scale::fixed(if geometry == Geometry::Cosine { 8.0 } else { 1.5 });
        all.push(plain.clone().with_sub_centers(1 + turn % 4).with_geometry(geometry).with_scale(scale));
    }
    all.extend(presets::all().iter().map(|preset| spec_of(preset, classes)));
    all.retain(is_accepted);
    all
}

/// Creates a head whose rows are all away from kinks.
fn smooth_head(random: &mut Random, spec: &LossSpec, shape: (usize, usize, usize)) -> (Head, Problem) {
    for _ in 0..100_000 {
        let head = Head::random(random, spec, shape);
        let problem = head.problem(spec);
        if norms(head.x.view()).into_iter().chain(norms(head.w.view())).all(|norm| norm > 0.5)
            && head.has_clear_winners(spec)
            && (0..shape.0).all(|row| is_smooth(spec, &problem, row))
        {
            return (head, problem);
        }
    }
    panic!("no smooth head for {spec:?}")
}

#[test]
fn the_unfused_head_agrees_with_the_oracle() {
    let mut report = ErrorReport::new("head");
    let mut random = Random::new(21);
    for spec in losses(5) {
        for shape in [(3, 5, 4), (2, 5, 7)] {
            let (head, problem) = smooth_head(&mut random, &spec, shape);
            compare::<f64>(&mut report, &spec, &head, &problem, Precision::F64);
            compare::<f32>(&mut report, &spec, &head, &problem, Precision::F32);
        }
    }
    report.finish(50_000);
}

#[test]
fn every_variant_of_the_fused_head_agrees_with_the_oracle() {
    let mut report = ErrorReport::new("fused head");
    let mut random = Random::new(27);
    for spec in losses(5) {
        for shape in [(3, 5, 4), (18, 5, 19)] {
            // With more rows, a batch without a row near a kink is rare.
            let rows = shape.0.min(3);
            let (head, problem) = smooth_head(&mut random, &spec, (rows, shape.1, shape.2));
            for variant in variants() {
                let result = head.fused(&spec, Reduction::Sum, variant);
                let least_sine = if variant.mode == Mode::Unfused { f32::LEAST_SINE } else { f64::LEAST_SINE };
                let name = format!(" {:?}", variant.mode);
                compare_answer(&mut report, &spec, &head, &problem, Precision::F32, least_sine, &result, &name);
            }
        }
    }
    report.finish(100_000);
}

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    let mut report = ErrorReport::new("head differences");
    let mut random = Random::new(22);
    for spec in losses(4) {
        let (head, problem) = smooth_head(&mut random, &spec, (2, 4, 3));
        let description = describe(&spec, &problem, Reduction::Sum, f64::LEAST_SINE);
        let targets = Targets::Labels(head.labels.clone());
        let frozen = Surrogate::frozen_at(&description, &head.oracle_batch(&spec).0);
        let value = |head: &Head| {
            if is_straight_through(&spec) || is_standardized(&spec) {
                head.oracle().frozen_loss(&description, &targets, &frozen).expect("a loss")
            } else {
                head.evaluate::<f64>(&spec, Reduction::Sum).0
            }
        };
        let (total, back) = head.evaluate::<f64>(&spec, Reduction::Sum);
        // The norms are at least 0.5, so cosines change at most twice as fast as coordinates.
        let h = step_of_scores(description.effective_scale()) / 2.0;
        let mut check = |what: &str, got: Vec<f64>, at: Vec<f64>, put: &dyn Fn(&mut Head, &[f64])| {
            let function = |v: &[f64]| {
                let mut moved = head.clone();
                put(&mut moved, v);
                value(&moved)
            };
            for (k, (got, want)) in got.into_iter().zip(five_point_difference(function, &at, h)).enumerate() {
                // Each value is a sum over two rows, whose scores have a few rounding errors each.
                let size = total.abs() + description.effective_scale();
                report.check(what, || format!("{spec:?} {head:?} [{k}]"), got, want, of_difference(want, size, h));
            }
        };
        let flat = |all: &Array2<f64>| all.iter().copied().collect::<Vec<f64>>();
        let shaped = |like: &Array2<f64>, v: &[f64]| Array2::from_shape_vec(like.raw_dim(), v.to_vec()).unwrap();
        check("embeddings", flat(&back.embeddings), flat(&head.x), &|moved, v| moved.x = shaped(&moved.x, v));
        check("prototypes", flat(&back.weight), flat(&head.w), &|moved, v| moved.w = shaped(&moved.w, v));
        if let Some(bias) = &head.bias {
            check("bias", back.learned.bias.to_vec(), bias.clone(), &|moved, v| moved.bias = Some(v.to_vec()));
        }
    }
    report.finish(10_000);
}

#[test]
fn cosine_gradients_are_orthogonal_to_their_vectors() {
    let mut random = Random::new(23);
    let spec = presets::find("arcface").unwrap().spec();
    let head = Head::random(&mut random, &spec, (6, 9, 5));
    let (_, back) = head.evaluate::<f64>(&spec, Reduction::Sum);
    let relative = conditions(&spec, &head, &head.problem(&spec)).relative(Precision::F64);
    for (gradient, vectors) in [(&back.embeddings, &head.x), (&back.weight, &head.w)] {
        for (g, v) in gradient.rows().into_iter().zip(vectors.rows()) {
            assert!(g.dot(&v).abs() <= relative * 64.0 * v.dot(&v).sqrt(), "{g} {v}");
        }
    }
}

#[test]
fn cosines_do_not_depend_on_norms() {
    let mut random = Random::new(24);
    let (x, w) = (random.matrix(4, 6, -1.0, 1.0), random.matrix(5, 6, -1.0, 1.0));
    let plain = Geometry::Cosine.scores(x.view(), w.view(), None).unwrap().scores;
    // Multiplication by a power of two is exact, so the results are bitwise identical.
    for power in [-900, -40, -3, 5, 60, 900] {
        let factor = 2_f64.powi(power);
        let scaled = Geometry::Cosine.scores((&x * factor).view(), w.view(), None).unwrap().scores;
        assert_eq!(scaled, plain, "embeddings times 2^{power}");
    }
    let scaled = Geometry::Cosine.scores((&x * 3.7).view(), (&w * 0.21).view(), None).unwrap().scores;
    let allowed = 2.0 * 14.0 * crate::tolerances::V;
    assert!((&scaled - &plain).iter().all(|error| error.abs() <= allowed));
    let unit = Geometry::UnitWeights.scores(x.view(), (&w * 0.25).view(), None).unwrap().scores;
    assert_eq!(unit, Geometry::UnitWeights.scores(x.view(), w.view(), None).unwrap().scores);
}

#[test]
fn a_vector_of_norm_0_has_cosine_0_and_no_gradient() {
    for preset in presets::all() {
        let spec = spec_of(preset, 4);
        let mut head = Head::random(&mut Random::new(25), &spec, (3, 4, 2));
        head.x.row_mut(1).fill(0.0);
        head.w.row_mut(2).fill(0.0);
        head.labels = vec![2, 0, 2];
        let (total, back) = head.evaluate::<f64>(&spec, Reduction::Mean);
        let finite = back.embeddings.iter().chain(&back.weight).all(|slope| slope.is_finite());
        assert!(total.is_finite() && finite, "{}", preset.name);
        let zero = |row: ndarray::ArrayView1<'_, f64>| row.iter().all(|slope| *slope == 0.0);
        if spec.geometry == Geometry::Cosine {
            assert!(zero(back.embeddings.row(1)), "{}", preset.name);
        }
        if !matches!(spec.geometry, Geometry::InnerProduct { .. }) {
            assert!(zero(back.weight.row(2)), "{}", preset.name);
        }
    }
}

#[test]
fn aligned_and_opposed_vectors_have_finite_gradients() {
    for preset in presets::all() {
        let spec = spec_of(preset, 3);
        let mut head = Head::random(&mut Random::new(26), &spec, (4, 3, 3));
        for (row, (class, factor)) in [(0, 1.0), (0, -1.0), (1, 2.5), (1, -0.3)].into_iter().enumerate() {
            let aligned = head.w.row(class).mapv(|v| factor * v);
            head.x.row_mut(row).assign(&aligned);
            head.labels[row] = class as i64;
        }
        let (total, back) = head.evaluate::<f64>(&spec, Reduction::Mean);
        let finite = back.embeddings.iter().chain(&back.weight).all(|slope| slope.is_finite());
        assert!(total.is_finite() && finite, "{}", preset.name);
        let (total, back) = head.evaluate::<f32>(&spec, Reduction::Mean);
        let finite = back.embeddings.iter().chain(&back.weight).all(|slope| slope.is_finite());
        assert!(total.is_finite() && finite, "{}", preset.name);
    }
}

#[test]
fn mismatched_shapes_are_rejected() {
    let (x, w) = (Array2::<f32>::zeros((2, 3)), Array2::<f32>::zeros((4, 3)));
    let geometry = Geometry::InnerProduct { bias: true, temperature: 1.0 };
    let wide = Array2::<f32>::zeros((4, 2));
    assert_eq!(geometry.scores(x.view(), wide.view(), None).unwrap_err().subject(), "weight");
    let bias = Array1::<f32>::zeros(3);
    assert_eq!(geometry.scores(x.view(), w.view(), Some(bias.view())).unwrap_err().subject(), "bias");
    let bias = Array1::<f32>::zeros(4);
    assert!(geometry.scores(x.view(), w.view(), Some(bias.view())).is_ok());
    for other in [Geometry::Cosine, Geometry::UnitWeights, Geometry::InnerProduct { bias: false, temperature: 1.0 }] {
        assert_eq!(other.scores(x.view(), w.view(), Some(bias.view())).unwrap_err().subject(), "bias");
    }
}

#[test]
fn heads_agree_with_golden_files_in_both_precisions() {
    let mut report = ErrorReport::new("golden heads");
    for preset in presets::all() {
        for json in file(preset.name)["heads"].as_array().into_iter().flatten() {
            let (spec, margins) = golden::loss(json);
            let labels = items(&json["targets"]).iter().map(|label| label.as_i64().expect("a label")).collect();
            let head = Head {
                x: matrix(&json["x"]).expect("embeddings"),
                w: matrix(&json["w"]).expect("prototypes"),
                bias: None,
                labels,
                margins,
                sample_weights: golden::list(&json["sample_weights"]),
                state: golden::state(&json["state"]).unwrap_or_default(),
            };
            for precision in Precision::ALL {
                match precision {
                    Precision::F32 => compare_with_file::<f32>(&mut report, &spec, &head, json, precision),
                    Precision::F64 => compare_with_file::<f64>(&mut report, &spec, &head, json, precision),
                }
            }
        }
    }
    report.finish(1_000);
}

fn compare_with_file<F: Real>(
    report: &mut ErrorReport,
    spec: &LossSpec,
    head: &Head,
    json: &Value,
    precision: Precision,
) {
    let reduction = golden::reduction(json);
    let place = format!("{} {spec:?}", json["name"]);
    let problem = head.problem(spec);
    let description = describe(spec, &problem, reduction, precision.least_sine());
    let outcome = head.oracle().evaluate(&description, &Targets::Labels(head.labels.clone())).expect("a loss");
    let (total, back) = head.evaluate::<F>(spec, reduction);
    let conditions = conditions(spec, head, &problem);
    let relative = conditions.relative(precision);
    let (of_x, of_w, _) = sizes(spec, head, &outcome);
    let expected = &json["expected"];
    // The error of a gap is an error of the loss, which adds the errors of its own terms.
    let want = golden::number(&expected["loss"]);
    let of_terms = (want.abs() + conditions.scale) * relative;
    report.check(&format!("loss {precision:?}"), || place.clone(), total, want, of_terms);
    let width = head.x.ncols();
    for (what, got, size) in [("grad_x", &back.embeddings, &of_x), ("grad_w", &back.weight, &of_w)] {
        let want = matrix(&expected[what]).expect("a gradient");
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            let allowed = relative * size[k / width];
            report.check(&format!("{what} {precision:?}"), || place.clone(), got.widen(), *want, allowed);
        }
    }
}
