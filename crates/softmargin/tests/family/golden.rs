//! Comparison with every case of every golden file, in f64 and in f32. `golden/README.md` describes the files.

use crate::error_report::ErrorReport;
use crate::oracle_description::{Expected, compare_with_expected};
use crate::problem::{Evaluation, Owned, Problem, ProblemTargets, evaluate};
use crate::tolerances::{Conditions, Precision};
use ndarray::Array2;
use serde_json::Value;
use softmargin::{
    AngularMargin, Anneal, BeyondPi, Comparison, ErrorKind, Gate, Geometry, LossSpec, LossState, Margin,
    MarginGradient, MarginValue, Negatives, NormMargin, Radians, Reduction, Regularizer, Result, Scale, SmoothGate,
    presets,
};

pub(crate) fn path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(format!("{name}.json"))
}

pub(crate) fn file(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("golden/{name}.json: {error}"));
    serde_json::from_str(&text).expect("JSON")
}

pub(crate) fn number(value: &Value) -> f64 {
    match value.as_str() {
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")),
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some("nan") => f64::NAN,
        Some(word) => panic!("{word} is not a number"),
    }
}

pub(crate) fn optional(value: &Value) -> Option<f64> {
    (!value.is_null()).then(|| number(value))
}

pub(crate) fn list(value: &Value) -> Option<Vec<f64>> {
    value.as_array().map(|values| values.iter().map(number).collect())
}

pub(crate) fn matrix(value: &Value) -> Option<Array2<f64>> {
    let rows: Vec<Vec<f64>> = value.as_array()?.iter().map(|row| list(row).expect("a row")).collect();
    let columns = rows.first().map_or(0, Vec::len);
    Some(Array2::from_shape_vec((rows.len(), columns), rows.concat()).expect("rows of one length"))
}

pub(crate) fn word(value: &Value) -> &str {
    value.as_str().expect("a word")
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn geometry(case: &Value) -> Geometry {
    match word(&case["geometry"]) {
        "inner-product" => {
            Geometry::InnerProduct { bias: false, temperature: optional(&case["temperature"]).unwrap_or(1.0) }
        }
        "unit-weights" => Geometry::UnitWeights,
        "cosine" => Geometry::Cosine,
        other => panic!("geometry {other}"),
    }
}

fn gate(value: &Value) -> Gate {
    match word(value) {
        "relu" => Gate::Relu,
        "softplus" => Gate::Softplus,
        "identity" => Gate::Identity,
        other => panic!("gate {other}"),
    }
}

fn comparison(case: &Value) -> Comparison {
    let gate = gate(&case["gate"]);
    let option = |key: &str| optional(&case[key]).unwrap_or(0.0);
    match word(&case["comparison"]) {
        "each-pair" => Comparison::EachPair { gate },
        "hardest" => Comparison::Hardest { gate },
        "against-zero" => Comparison::AgainstZero { gate },
        "log-sum-exp" => Comparison::LogSumExp {
            gate: match gate {
                Gate::Relu => SmoothGate::Relu,
                Gate::Identity => SmoothGate::Identity,
                Gate::Softplus => {
                    SmoothGate::Softplus { label_smoothing: option("label_smoothing"), z_loss: option("z_loss") }
                }
            },
        },
        other => panic!("comparison {other}"),
    }
}

/// Reads a margin value, and the per-sample values that belong to the batch.
fn margin_value<T>(value: &Value, one: impl Fn(f64) -> T) -> (MarginValue<T>, Option<Vec<f64>>) {
    let values = || list(&value["values"]).expect("values");
    let field = |key: &str| number(&value[key]);
    let value = match word(&value["per"]) {
        "one" => MarginValue::One(one(values()[0])),
        "class" => MarginValue::PerClass(values().into_iter().map(one).collect()),
        "sample" => return (MarginValue::PerSample, Some(values())),
        "drawn" => MarginValue::Drawn { mean: one(field("mean")), std: one(field("std")) },
        "frequency" => {
            let counts = value["class_counts"].as_array();
            let class_counts = counts.map(|all| all.iter().map(|count| count.as_u64().expect("a count")).collect());
            MarginValue::ByFrequency { largest: one(field("largest")), class_counts }
        }
        "norm-linear" => MarginValue::FromNorm(NormMargin::Linear {
            low: field("low"),
            high: field("high"),
            norm_low: field("norm_low"),
            norm_high: field("norm_high"),
        }),
        "norm-standardized" => MarginValue::FromNorm(NormMargin::Standardized {
            value: field("value"),
            concentration: field("concentration"),
            momentum: field("momentum"),
        }),
        other => panic!("margin value per {other}"),
    };
    (value, None)
}

fn negatives(value: &Value) -> Negatives {
    match word(&value["kind"]) {
        "plain" => Negatives::Plain,
        "misclassified" => Negatives::Misclassified { factor: number(&value["factor"]) },
        "curricular" => Negatives::Curricular { momentum: number(&value["momentum"]) },
        "divided-angle" => Negatives::DividedAngle { by: number(&value["by"]) },
        other => panic!("negatives {other}"),
    }
}

/// Reads the state of a case; `None` if the loss has no state.
pub(crate) fn state(value: &Value) -> Option<LossState> {
    let whole = |key: &str| value[key].as_u64().expect("a whole number");
    (!value.is_null()).then(|| {
        let mut state = LossState::default().with_seed(whole("seed"));
        state.step = whole("step");
        state.target_mean = number(&value["target_mean"]);
        state.norm_mean = number(&value["norm_mean"]);
        state.norm_std = number(&value["norm_std"]);
        state
    })
}

/// Reads K, the number of prototypes per class.
fn sub_centers(value: &Value) -> usize {
    value["sub_centers"].as_u64().expect("a number of prototypes") as usize
}

/// Reads a margin, and the per-sample values that belong to the batch.
fn margin(value: &Value) -> (Margin, Option<Vec<f64>>) {
    match word(&value["kind"]) {
        "none" => (Margin::None, None),
        "score" => {
            let (value, margins) = margin_value(&value["value"], |m| m);
            (Margin::Score { value }, margins)
        }
        "logit" => {
            let (value, margins) = margin_value(&value["value"], |m| m);
            (Margin::Logit { value }, margins)
        }
        "angle" => angle(value),
        other => panic!("margin {other}"),
    }
}

fn angle(value: &Value) -> (Margin, Option<Vec<f64>>) {
    let (plus, of_plus) = margin_value(&value["plus"], Radians);
    let (minus, of_minus) = margin_value(&value["minus"], |m| m);
    let angle = AngularMargin {
        times: number(&value["times"]),
        plus,
        minus,
        beyond_pi: match word(&value["beyond_pi"]) {
            "continue" => BeyondPi::Continue,
            "extend" => BeyondPi::Extend,
            "plain" => BeyondPi::Plain,
            "piecewise" => BeyondPi::Piecewise,
            "clamp" => BeyondPi::Clamp,
            other => panic!("beyond pi {other}"),
        },
        gradient: match word(&value["gradient"]) {
            "exact" => MarginGradient::Exact,
            "straight-through" => MarginGradient::StraightThrough,
            other => panic!("gradient {other}"),
        },
        // A constant schedule at the lambda of the file.
        anneal: optional(&value["anneal_lambda"]).map(|lambda| Anneal {
            initial: lambda,
            rate: 0.0,
            power: 0.0,
            min: 0.0,
        }),
    };
    (Margin::Angle(angle), of_plus.or(of_minus))
}

pub(crate) fn reduction(case: &Value) -> Reduction {
    match word(&case["reduction"]) {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => panic!("reduction {other}"),
    }
}

fn regularizer(value: &Value) -> Option<Regularizer> {
    let weight = || number(&value["weight"]);
    match if value.is_null() { "" } else { word(&value["kind"]) } {
        "" => None,
        "feature-incay" => Some(Regularizer::FeatureIncay { weight: weight() }),
        "ring" => Some(Regularizer::Ring { weight: weight(), radius: number(&value["radius"]) }),
        "magnitude" => {
            let (low, high) = (number(&value["low"]), number(&value["high"]));
            Some(Regularizer::Magnitude { weight: weight(), low, high })
        }
        other => panic!("regularizer {other}"),
    }
}

/// Reads the loss of a case, and the per-sample margin values of its batch.
pub(crate) fn loss(case: &Value) -> (LossSpec, Option<Vec<f64>>) {
    let (margin, margins) = margin(&case["margin"]);
    let spec = presets::CROSS_ENTROPY
        .spec()
        .with_geometry(geometry(case))
        .with_scale(Scale::fixed(number(&case["scale"])))
        .with_margin(margin)
        .with_negatives(negatives(&case["negatives"]))
        .with_sub_centers(sub_centers(case))
        .with_comparison(comparison(case))
        .with_regularizer(regularizer(&case["regularizer"]))
        .with_class_weights(list(&case["class_weights"]))
        .with_ignored_label(case["ignored"].as_i64());
    (spec, margins)
}

/// Reads the loss and the batch of a case.
fn case(case: &Value) -> (LossSpec, Problem) {
    let (spec, margins) = loss(case);
    let targets = match case["targets"].as_array() {
        Some(labels) => ProblemTargets::Labels(labels.iter().map(|label| label.as_i64().expect("a label")).collect()),
        None => ProblemTargets::Soft(matrix(&case["soft_targets"]).expect("soft targets")),
    };
    let problem = Problem {
        targets,
        sample_weights: list(&case["sample_weights"]),
        margins,
        embedding_norms: list(&case["embedding_norms"]),
        weight_norms: list(&case["weight_norms"]),
        state: state(&case["state"]),
        ..Problem::new(matrix(&case["scores"]).expect("scores"), Vec::new())
    };
    (spec, problem)
}

fn expected_values(case: &Value, precision: Precision) -> Expected {
    let expected = &case["expected"];
    // The derivative at a pole depends on the bound of the sine, which differs between the precisions.
    let bounds = [&case["margin"]["sin_floor"], &case["negatives"]["sin_floor"]].into_iter().filter_map(optional);
    let is_comparable = bounds.into_iter().all(|bound| bound == precision.least_sine());
    let gradient = |key: &str| if is_comparable { list(&expected[key]) } else { None };
    Expected {
        rows: list(&expected["row_losses"]).expect("row losses"),
        total: number(&expected["loss"]),
        no_valid_rows: expected["nothing_kept"].as_bool().expect("a flag"),
        scores: if is_comparable {
            matrix(&expected["grad_scores"]).map(|all| all.into_iter().collect())
        } else {
            None
        },
        scale: optional(&expected["grad_scale"]),
        embedding_norms: gradient("grad_embedding_norms"),
        weight_norms: gradient("grad_weight_norms"),
        radius: optional(&expected["grad_radius"]),
    }
}

/// Returns the subject of the error for losses of the files that the family rejects: losses without a minimum, and losses
/// with two per-sample margin values, of which a batch holds only one.
fn rejection_subject(spec: &LossSpec) -> Option<&'static str> {
    if let Margin::Angle(AngularMargin { plus: MarginValue::PerSample, minus: MarginValue::PerSample, .. }) =
        spec.margin
    {
        return Some("margin");
    }
    let incay = matches!(spec.regularizer, Some(Regularizer::FeatureIncay { .. }));
    if incay && spec.geometry == Geometry::Cosine {
        return Some("regularizer");
    }
    (spec.comparison.gate() == Gate::Identity && spec.geometry != Geometry::Cosine).then_some("comparison.gate")
}

fn evaluate_in_precision(
    spec: &LossSpec,
    problem: &Problem,
    reduction: Reduction,
    precision: Precision,
) -> Result<Evaluation> {
    let loss = spec.clone().build(problem.classes())?;
    let problem = problem.clone().fitted_to(&loss);
    match precision {
        Precision::F32 => evaluate::<f32>(&loss, &problem, reduction),
        Precision::F64 => evaluate::<f64>(&loss, &problem, reduction),
    }
}

/// Checks one case in one precision. Returns true if the family rejects the loss.
fn check(report: &mut ErrorReport, place: &str, json: &Value, precision: Precision) -> bool {
    let (spec, problem) = case(json);
    let result = evaluate_in_precision(&spec, &problem, reduction(json), precision);
    if let Some(subject) = rejection_subject(&spec) {
        let error = result.expect_err(place);
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, subject), "{place}");
        return true;
    }
    let expected = &json["expected"];
    if !expected["error"].is_null() {
        let error = result.map(|_| ()).expect_err(place);
        let row = format!("row {}", expected["error_row"]);
        let says = if word(&expected["error"]) == "nan" { "NaN" } else { "infinity" };
        let named = error.subject().contains(&row) && error.to_string().contains(says);
        assert!(named && error.kind() == ErrorKind::Number, "{place}: {error}");
        return false;
    }
    let want = expected_values(json, precision);
    let result = result.expect(place);
    // Norms that the loss does not use have no gradient.
    for (given, got) in [(&want.embedding_norms, &result.embedding_norms), (&want.weight_norms, &result.weight_norms)] {
        let absent = given.as_ref().is_none_or(|given| given.iter().all(|slope| *slope == 0.0));
        assert!(got.is_some() || absent, "{place}: a gradient with respect to the norms is missing");
    }
    let conditions = Conditions { spec: &spec, problem: &problem, reduction: reduction(json), precision };
    compare_with_expected(report, place, &conditions, &result, &want);
    false
}

#[test]
fn every_case_of_every_preset_agrees() {
    let mut report = ErrorReport::new("golden");
    let (mut cases, mut rejections) = (0, 0);
    for preset in presets::all() {
        let golden = file(preset.name);
        for json in items(&golden["cases"]) {
            let place = format!("{}: {}", preset.name, word(&json["name"]));
            for precision in Precision::ALL {
                cases += 1;
                rejections += usize::from(check(&mut report, &place, json, precision));
            }
        }
    }
    println!("golden: {cases} cases in one precision; the family rejects the losses of {rejections}");
    assert!(rejections * 10 < cases);
    report.finish(10_000);
}

#[test]
fn defaults_agree_with_the_files() {
    for preset in presets::all() {
        let (golden, spec) = (file(preset.name), preset.spec());
        let defaults = &golden["defaults"];
        let same_geometry = match (geometry(defaults), spec.geometry) {
            // The bias belongs to the head, not to the loss.
            (Geometry::InnerProduct { temperature: a, .. }, Geometry::InnerProduct { temperature: b, .. }) => a == b,
            (a, b) => a == b,
        };
        assert!(same_geometry, "{}", preset.name);
        assert_eq!(spec.scale.initial(), number(&defaults["scale"]), "{}", preset.name);
        assert_eq!(spec.comparison, comparison(defaults), "{}", preset.name);
        let (expected, _) = margin(&defaults["margin"]);
        // A margin of 0 on the score equals no margin.
        let is_neutral = |margin: &Margin| matches!(margin, Margin::None) || *margin == Margin::score(0.0);
        let with_constant_lambda = |mut margin: Margin| {
            if let Margin::Angle(angle) = &mut margin {
                let lambda = angle.anneal.map(|anneal| anneal.lambda(0));
                angle.anneal = lambda.map(|lambda| Anneal { initial: lambda, rate: 0.0, power: 0.0, min: 0.0 });
            }
            margin
        };
        let same = with_constant_lambda(spec.margin.clone()) == expected
            || (is_neutral(&spec.margin) && is_neutral(&expected));
        assert!(same, "{}: {:?}, expected {expected:?}", preset.name, spec.margin);
        assert_eq!(spec.negatives, negatives(&defaults["negatives"]), "{}", preset.name);
        assert_eq!(spec.sub_centers, sub_centers(defaults), "{}", preset.name);
        assert_eq!(spec.regularizer, regularizer(&defaults["regularizer"]), "{}", preset.name);
        let initial = crate::combinations::spec_of(preset, 3).build(3).unwrap().initial_state();
        // The schedules of a file are constant, so annealing needs no state there.
        let anneals = golden["anneal"].is_array();
        assert_eq!(if anneals { None } else { initial }, state(&defaults["state"]), "{}", preset.name);
        assert!(spec.class_weights.is_none() && spec.ignored_label.is_none());
    }
}

#[test]
fn annealing_agrees_with_the_files() {
    let mut report = ErrorReport::new("annealing");
    for preset in presets::all() {
        let golden = file(preset.name);
        let Some(points) = golden["anneal"].as_array() else { continue };
        let Margin::Angle(AngularMargin { anneal: Some(anneal), .. }) = preset.spec().margin else {
            panic!("{} does not anneal", preset.name)
        };
        for point in points {
            let step = point["step"].as_u64().expect("a step");
            let lambda = number(&point["lambda"]);
            // The power multiplies the rounding error of its base.
            let allowed = crate::tolerances::PLAIN * lambda * (1.0 + anneal.power);
            report.check("lambda", || format!("{} at {step}", preset.name), anneal.lambda(step), lambda, allowed);
        }
    }
    report.finish(6);
}

#[test]
fn state_updates_agree_with_the_files() {
    let mut report = ErrorReport::new("updates");
    for preset in presets::all() {
        let golden = file(preset.name);
        for json in golden["updates"].as_array().into_iter().flatten() {
            let place = format!("{}: {}", preset.name, word(&json["name"]));
            let (spec, problem) = case(json);
            let mut found = problem.state.clone().expect("a state");
            let loss = spec.build(problem.classes()).expect(&place);
            let owned = Owned::<f64>::of(&problem.fitted_to(&loss));
            loss.update(&mut found, &owned.batch()).expect(&place);
            let want = state(&json["expected"]).expect("a state");
            assert_eq!((found.step, found.seed), (want.step, want.seed), "{place}");
            for (got, want) in [
                (found.target_mean, want.target_mean),
                (found.norm_mean, want.norm_mean),
                (found.norm_std, want.norm_std),
            ] {
                let allowed = crate::tolerances::PLAIN * want.abs();
                report.check("averages", || place.clone(), got, want, allowed);
            }
        }
    }
    report.finish(30);
}

#[test]
fn draws_agree_with_the_files() {
    use softmargin::random::{Generator, Purpose};
    let mut report = ErrorReport::new("draws");
    for name in ["elasticface", "elasticface-cos"] {
        for draw in items(&file(name)["draws"]) {
            let (seed, step) = (draw["seed"].as_u64().expect("a seed"), draw["step"].as_u64().expect("a step"));
            let mut uniform = Generator::new(seed, Purpose::Margins, step);
            for pair in items(&draw["uniforms"]) {
                assert_eq!(Some(vec![uniform.uniform(), uniform.uniform()]), list(pair), "{name} {seed} {step}");
            }
            let mut stream = Generator::new(seed, Purpose::Margins, step);
            for want in list(&draw["normals"]).expect("numbers") {
                // The angle, up to 2 pi, is rounded; its cosine is multiplied by at most 9.
                let allowed = crate::tolerances::PLAIN * 9.0;
                report.check("normal", || format!("{name} {seed} {step}"), stream.normal(), want, allowed);
            }
        }
    }
    report.finish(40);
}
