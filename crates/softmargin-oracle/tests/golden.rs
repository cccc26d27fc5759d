//! Comparison of the oracle with the golden values, which independent code computed to 50 digits from the same formulas.

use std::path::PathBuf;

use serde_json::Value;
use softmargin_oracle::{
    Angle, Batch, BeyondPi, Comparison, Gate, Geometry, Head, Margin, MarginGradient, MarginValue, Negatives,
    NormMargin, Oracle, PRESET_NAMES, Reduction, Regularizer, State, Targets, measures, preset, random, smooth,
    sphereface_anneal_lambda,
};

fn file(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).expect("the golden file");
    serde_json::from_str(&text).expect("valid JSON")
}

fn number(v: &Value) -> f64 {
    match v.as_str() {
        None => v.as_f64().expect("a number"),
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some("nan") => f64::NAN,
        Some(word) => panic!("{word} is not a number"),
    }
}

fn list(v: &Value) -> Option<Vec<f64>> {
    v.as_array().map(|a| a.iter().map(number).collect())
}

fn matrix(v: &Value) -> Option<Vec<f64>> {
    let rows = v.as_array()?;
    Some(rows.iter().flat_map(|r| list(r).expect("a row")).collect())
}

fn word(v: &Value) -> &str {
    v.as_str().expect("a word")
}

fn items(v: &Value) -> &Vec<Value> {
    v.as_array().expect("an array")
}

fn margin_value(v: &Value) -> MarginValue {
    let values = || list(&v["values"]).expect("values");
    let field = |key: &str| number(&v[key]);
    match word(&v["per"]) {
        "one" => MarginValue::One(values()[0]),
        "class" => MarginValue::PerClass(values()),
        "sample" => MarginValue::PerSample(values()),
        "frequency" => MarginValue::ByFrequency { largest: field("largest"), class_counts: counts(&v["class_counts"]) },
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
        "drawn" => MarginValue::Drawn { mean: field("mean"), std: field("std") },
        other => panic!("margin value per {other}"),
    }
}

fn counts(v: &Value) -> Option<Vec<u64>> {
    v.as_array().map(|all| all.iter().map(|n| n.as_u64().expect("a count")).collect())
}

fn negatives(v: &Value) -> Negatives {
    match word(&v["kind"]) {
        "plain" => Negatives::Plain,
        "misclassified" => Negatives::Misclassified { factor: number(&v["factor"]) },
        "curricular" => Negatives::Curricular { momentum: number(&v["momentum"]) },
        "divided-angle" => {
            let sin_floor = if v["sin_floor"].is_null() { 2f64.powi(-20) } else { number(&v["sin_floor"]) };
            Negatives::DividedAngle { by: number(&v["by"]), sin_floor }
        }
        other => panic!("negatives {other}"),
    }
}

/// Reads the state of a case; it is null if the loss has none.
fn state(v: &Value) -> State {
    if v.is_null() {
        return State::initial();
    }
    let whole = |key: &str| v[key].as_u64().expect("a whole number");
    State {
        step: whole("step"),
        seed: whole("seed"),
        target_mean: number(&v["target_mean"]),
        norm_mean: number(&v["norm_mean"]),
        norm_std: number(&v["norm_std"]),
    }
}

fn margin(v: &Value) -> Margin {
    match word(&v["kind"]) {
        "none" => Margin::None,
        "score" => Margin::Score(margin_value(&v["value"])),
        "logit" => Margin::Logit(margin_value(&v["value"])),
        "angle" => Margin::Angle(Angle {
            times: number(&v["times"]),
            plus: margin_value(&v["plus"]),
            minus: margin_value(&v["minus"]),
            beyond_pi: match word(&v["beyond_pi"]) {
                "continue" => BeyondPi::Continue,
                "extend" => BeyondPi::Extend,
                "plain" => BeyondPi::Plain,
                "piecewise" => BeyondPi::Piecewise,
                "clamp" => BeyondPi::Clamp,
                other => panic!("beyond pi {other}"),
            },
            gradient: match word(&v["gradient"]) {
                "exact" => MarginGradient::Exact,
                "straight-through" => MarginGradient::StraightThrough,
                other => panic!("gradient {other}"),
            },
            anneal_lambda: (!v["anneal_lambda"].is_null()).then(|| number(&v["anneal_lambda"])),
            sin_floor: if v["sin_floor"].is_null() { 2f64.powi(-20) } else { number(&v["sin_floor"]) },
        }),
        other => panic!("margin {other}"),
    }
}

fn geometry(v: &Value) -> Geometry {
    match word(v) {
        "inner-product" => Geometry::InnerProduct,
        "unit-weights" => Geometry::UnitWeights,
        "cosine" => Geometry::Cosine,
        other => panic!("geometry {other}"),
    }
}

fn comparison(v: &Value) -> Comparison {
    match word(v) {
        "each-pair" => Comparison::EachPair,
        "hardest" => Comparison::Hardest,
        "log-sum-exp" => Comparison::LogSumExp,
        "against-zero" => Comparison::AgainstZero,
        other => panic!("comparison {other}"),
    }
}

fn gate(v: &Value) -> Gate {
    match word(v) {
        "relu" => Gate::Relu,
        "softplus" => Gate::Softplus,
        "identity" => Gate::Identity,
        other => panic!("gate {other}"),
    }
}

fn regularizer(v: &Value) -> Regularizer {
    if v.is_null() {
        return Regularizer::None;
    }
    let weight = number(&v["weight"]);
    match word(&v["kind"]) {
        "feature-incay" => Regularizer::FeatureIncay { weight },
        "ring" => Regularizer::Ring { weight, radius: number(&v["radius"]) },
        "magnitude" => Regularizer::Magnitude { weight, low: number(&v["low"]), high: number(&v["high"]) },
        other => panic!("regularizer {other}"),
    }
}

fn oracle(case: &Value) -> Oracle {
    Oracle {
        scale: number(&case["scale"]),
        temperature: number(&case["temperature"]),
        geometry: geometry(&case["geometry"]),
        margin: margin(&case["margin"]),
        comparison: comparison(&case["comparison"]),
        gate: gate(&case["gate"]),
        label_smoothing: number(&case["label_smoothing"]),
        z_loss: number(&case["z_loss"]),
        class_weights: list(&case["class_weights"]),
        sample_weights: list(&case["sample_weights"]),
        ignored: case["ignored"].as_i64(),
        regularizer: regularizer(&case["regularizer"]),
        reduction: match word(&case["reduction"]) {
            "none" => Reduction::None,
            "sum" => Reduction::Sum,
            "mean" => Reduction::Mean,
            other => panic!("reduction {other}"),
        },
        nan_without_valid_rows: false,
        negatives: negatives(&case["negatives"]),
        sub_centers: case["sub_centers"].as_u64().expect("a number of centers") as usize,
        state: state(&case["state"]),
    }
}

fn labels(v: &Value) -> Option<Vec<i64>> {
    v.as_array().map(|all| all.iter().map(|v| v.as_i64().expect("a label")).collect())
}

fn batch(case: &Value) -> Batch {
    let targets = match labels(&case["targets"]) {
        Some(labels) => Targets::Labels(labels),
        None => Targets::Soft(matrix(&case["soft_targets"]).expect("soft targets")),
    };
    Batch {
        scores: matrix(&case["scores"]).expect("scores"),
        classes: items(&case["scores"][0]).len(),
        targets,
        embedding_norms: list(&case["embedding_norms"]),
        weight_norms: list(&case["weight_norms"]),
    }
}

/// Allowed error of an f64 result.
///
/// A scaled score of size `S` has a rounding error of `S` ulps, which is also the relative error of its exponential. Both
/// tolerances follow from the largest scaled score of the case.
/// `relative` applies to products of such factors. `absolute`, in units of the largest expected value of the same
/// kind, applies to sums in which terms cancel.
struct Tolerance {
    relative: f64,
    absolute: f64,
}

fn tolerance(oracle: &Oracle, batch: &Batch) -> Tolerance {
    let s = oracle.effective_scale();
    let finite = batch.scores.iter().filter(|v| v.is_finite());
    let size = finite.fold(1.0f64, |m, v| m.max((s * v).abs()));
    Tolerance { relative: 16.0 * size * f64::EPSILON, absolute: 8.0 * f64::EPSILON }
}

fn largest(values: &[f64]) -> f64 {
    let finite = values.iter().filter(|v| v.is_finite());
    finite.fold(0.0f64, |m, v| m.max(v.abs()))
}

fn compare(what: &str, found: &[f64], expected: &[f64], tolerance: &Tolerance) {
    compare_among(what, found, expected, largest(expected), tolerance);
}

/// Compares sums whose terms have the size `terms`.
fn compare_among(what: &str, found: &[f64], expected: &[f64], terms: f64, tolerance: &Tolerance) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        // Exact values below 1e-300 lose digits because of the range of f64.
        let allowed = tolerance.relative * b.abs() + tolerance.absolute * terms + 1e-300;
        let same = a == b || (a - b).abs() <= allowed;
        assert!(same, "{what}[{k}]: {a:e}, expected {b:e}");
    }
}

fn check_case(name: &str, case: &Value) -> usize {
    let what = format!("{name}: {}", word(&case["name"]));
    let (oracle, batch, expected) = (oracle(case), batch(case), &case["expected"]);
    let output = oracle.evaluate(&batch);
    if !expected["error"].is_null() {
        let error = output.expect_err(&what);
        assert_eq!(error.row.map(|r| r as u64), expected["error_row"].as_u64(), "{what}");
        return 1;
    }
    let output = output.expect(&what);
    let tolerance = tolerance(&oracle, &batch);
    assert_eq!(Some(output.no_valid_rows), expected["nothing_kept"].as_bool(), "{what}");
    let mut checked = 0;
    let mut check = |key: &str, found: &[f64], expected: Option<Vec<f64>>| {
        if let Some(expected) = expected {
            compare(&format!("{what}: {key}"), found, &expected, &tolerance);
            checked += expected.len();
        }
    };
    let one = |key: &str| (!expected[key].is_null()).then(|| vec![number(&expected[key])]);
    check("row_losses", &output.row_losses, list(&expected["row_losses"]));
    check("row_regularizers", &output.row_regularizers, list(&expected["row_regularizers"]));
    check("loss", &[output.loss], one("loss"));
    check("grad_scores", &output.grad_scores, matrix(&expected["grad_scores"]));
    check("grad_scale", &[output.grad_scale], one("grad_scale"));
    check("grad_radius", &[output.grad_radius], one("grad_radius"));
    // a - cos a' is a difference of numbers of size 1, multiplied by the other factors of the chain rule.
    let norms = |v: &Option<Vec<f64>>| largest(v.as_deref().unwrap_or_default()).max(1.0);
    let both = norms(&batch.embedding_norms) * norms(&batch.weight_norms);
    let terms = both * oracle.effective_scale() * largest(&output.grad_targets);
    let mut check_norms = |key: &str, found: &[f64]| {
        if let Some(expected) = list(&expected[key]) {
            let terms = terms.max(largest(&expected));
            compare_among(&format!("{what}: {key}"), found, &expected, terms, &tolerance);
            checked += expected.len();
        }
    };
    check_norms("grad_embedding_norms", &output.grad_embedding_norms);
    check_norms("grad_weight_norms", &output.grad_weight_norms);
    checked
}

/// Compares a head. The gradients with respect to embeddings and prototypes are sums over the classes or the rows.
fn check_head(name: &str, case: &Value) {
    let what = format!("{name}: {}", word(&case["name"]));
    let oracle = oracle(case);
    let labels = labels(&case["targets"]).expect("heads have labels");
    let head = Head {
        x: matrix(&case["x"]).expect("embeddings"),
        w: matrix(&case["w"]).expect("weights"),
        bias: None,
        dimension: items(&case["x"][0]).len(),
    };
    let (batch, _) = head.batch(&oracle, Targets::Labels(labels.clone()));
    let out = head.evaluate(&oracle, &Targets::Labels(labels)).expect(&what);
    let expected = &case["expected"];
    let winners: Vec<f64> = out.winners.iter().map(|k| *k as f64).collect();
    assert_eq!(Some(winners), matrix(&expected["winners"]), "{what}");
    let tolerance = tolerance(&oracle, &batch);
    compare(&format!("{what}: scores"), &out.scores, &matrix(&expected["scores"]).expect("scores"), &tolerance);
    // A cosine near 0 is a sum that cancels, and the scale multiplies its error in the exponent.
    let wide = Tolerance { absolute: tolerance.relative, ..tolerance };
    compare(&format!("{what}: loss"), &[out.loss.loss], &[number(&expected["loss"])], &wide);
    compare(&format!("{what}: grad_x"), &out.grad_x, &matrix(&expected["grad_x"]).expect("grad_x"), &wide);
    compare(&format!("{what}: grad_w"), &out.grad_w, &matrix(&expected["grad_w"]).expect("grad_w"), &wide);
}

#[test]
fn heads_agree_with_golden_values() {
    let mut heads = 0;
    for name in PRESET_NAMES {
        for case in file(name)["heads"].as_array().into_iter().flatten() {
            check_head(name, case);
            heads += 1;
        }
    }
    assert!(heads >= 20, "{heads} heads");
}

#[test]
fn state_updates_agree_with_golden_values() {
    let mut updates = 0;
    for name in PRESET_NAMES {
        for case in file(name)["updates"].as_array().into_iter().flatten() {
            let found = oracle(case).update(&batch(case)).expect("a state");
            let expected = state(&case["expected"]);
            assert_eq!((found.step, found.seed), (expected.step, expected.seed));
            let numbers = |s: State| [s.target_mean, s.norm_mean, s.norm_std];
            let tight = Tolerance { relative: 8.0 * f64::EPSILON, absolute: 0.0 };
            compare(&format!("{name}: {}", case["name"]), &numbers(found), &numbers(expected), &tight);
            updates += 1;
        }
    }
    assert!(updates >= 10, "{updates} updates");
}

#[test]
fn draws_agree_with_golden_values() {
    let golden = file("elasticface");
    let draws = items(&golden["draws"]);
    assert!(draws.len() >= 4);
    for draw in draws {
        let (seed, step) = (draw["seed"].as_u64().expect("a seed"), draw["step"].as_u64().expect("a step"));
        for (row, values) in items(&draw["uniforms"]).iter().enumerate() {
            assert_eq!(random::uniforms(seed, step, row).to_vec(), list(values).expect("two numbers"));
        }
        let normals = list(&draw["normals"]).expect("numbers");
        let found: Vec<f64> = (0..normals.len()).map(|row| random::normal(seed, step, row)).collect();
        // The cosine of an angle of up to 2 pi includes the rounding error of the angle.
        let tight = Tolerance { relative: 8.0 * f64::EPSILON, absolute: 8.0 * f64::EPSILON };
        compare("normals", &found, &normals, &tight);
    }
}

#[test]
fn every_preset_agrees_with_golden_values() {
    for name in PRESET_NAMES {
        let golden = file(name);
        assert_eq!(word(&golden["preset"]), name);
        let cases = items(&golden["cases"]);
        assert!(cases.len() >= 20, "{name} has {} cases", cases.len());
        let checked: usize = cases.iter().map(|case| check_case(name, case)).sum();
        assert!(checked > 200, "{name}: {checked} numbers");
    }
}

#[test]
fn defaults_agree_with_golden_files() {
    for name in PRESET_NAMES {
        let (golden, preset) = (file(name), preset(name).expect("a preset"));
        let defaults = &golden["defaults"];
        assert_eq!(preset.geometry, geometry(&defaults["geometry"]), "{name}");
        assert_eq!(preset.scale, number(&defaults["scale"]), "{name}");
        assert_eq!(preset.margin, margin(&defaults["margin"]), "{name}");
        assert_eq!(preset.comparison, comparison(&defaults["comparison"]), "{name}");
        assert_eq!(preset.gate, gate(&defaults["gate"]), "{name}");
        assert_eq!(preset.negatives, negatives(&defaults["negatives"]), "{name}");
        assert_eq!(Some(preset.sub_centers as u64), defaults["sub_centers"].as_u64(), "{name}");
        assert_eq!(preset.regularizer, regularizer(&defaults["regularizer"]), "{name}");
        assert_eq!(preset.state, state(&defaults["state"]), "{name}");
    }
}

#[test]
fn annealing_agrees_with_golden_values() {
    for name in ["sphereface", "l-softmax"] {
        for point in items(&file(name)["anneal"]) {
            let step = point["step"].as_u64().expect("a step");
            let (found, expected) = (sphereface_anneal_lambda(step), number(&point["lambda"]));
            assert!((found - expected).abs() <= 1e-13 * expected, "{name} at {step}");
        }
    }
}

/// The bound of the sine only affects the derivative with respect to the cosine. Cases without a `sin_floor` do not
/// depend on it.
#[test]
fn cases_without_a_sin_floor_do_not_depend_on_it() {
    for name in ["arcface", "sphereface", "l-softmax", "combined-margin", "sphereface-r-v1", "adaface", "magface"] {
        let golden = file(name);
        let unaffected = items(&golden["cases"]).iter().filter(|c| {
            c["margin"]["kind"] == "angle" && c["margin"]["sin_floor"].is_null() && c["expected"]["error"].is_null()
        });
        for case in unaffected {
            let at = |floor: f64| {
                let mut oracle = oracle(case);
                if let Margin::Angle(angle) = &mut oracle.margin {
                    angle.sin_floor = floor;
                }
                oracle.evaluate(&batch(case)).expect("a loss")
            };
            assert_eq!(at(2f64.powi(-12)), at(2f64.powi(-20)), "{name}: {}", case["name"]);
        }
    }
}

#[test]
fn measures_agree_with_golden_values() {
    let golden = file("measures");
    let tight = Tolerance { relative: 4.0 * f64::EPSILON, absolute: f64::EPSILON };
    for case in items(&golden["cases"]) {
        let unit = match word(&case["unit"]) {
            "nats" => measures::Unit::Nats,
            "bits" => measures::Unit::Bits,
            other => panic!("unit {other}"),
        };
        let (p, q) = (list(&case["p"]).expect("p"), list(&case["q"]).expect("q"));
        let what = word(&case["name"]);
        let information: Vec<f64> = p.iter().map(|v| measures::self_information(*v, unit)).collect();
        compare(what, &information, &list(&case["self_information"]).expect("list"), &tight);
        let check_one = |key: &str, found: f64| {
            compare(&format!("{what}: {key}"), &[found], &[number(&case[key])], &tight);
        };
        check_one("entropy", measures::entropy(&p, unit));
        check_one("cross_entropy", measures::cross_entropy(&p, &q, unit));
        // Terms of size |p - q| may cancel down to |p - q|^2.
        let expected = number(&case["kullback_leibler"]);
        let found = measures::kullback_leibler(&p, &q, unit);
        let gap = p.iter().zip(&q).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        let allowed = 8.0 * f64::EPSILON * (expected + gap);
        assert!(found == expected || (found - expected).abs() <= allowed, "{what}: {found:e}");
    }
}

#[test]
fn smooth_functions_agree_with_golden_values() {
    let golden = file("smooth");
    for case in items(&golden["vectors"]) {
        let z = list(&case["z"]).expect("z");
        let t = number(&case["temperature"]);
        let size = z.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max((v / t).abs()));
        // Differences of the inputs are exact here, so the size matters only up to their number.
        let tolerance = Tolerance { relative: 8.0 * f64::EPSILON * size.min(200.0), absolute: 0.0 };
        let what = word(&case["name"]);
        let check = |key: &str, found: &[f64], expected: Option<Vec<f64>>| {
            compare(&format!("{what}: {key}"), found, &expected.expect("numbers"), &tolerance);
        };
        check("log_sum_exp", &[smooth::log_sum_exp_at(&z, t)], Some(vec![number(&case["log_sum_exp"])]));
        check("softmax", &smooth::softmax_at(&z, t), list(&case["softmax"]));
        check("log_softmax", &smooth::log_softmax_at(&z, t), list(&case["log_softmax"]));
        if !case["softmax_jacobian"].is_null() {
            let found = smooth::softmax_jacobian(&smooth::divided(&z, t));
            let found: Vec<f64> = found.iter().map(|v| v / t).collect();
            check("softmax_jacobian", &found, matrix(&case["softmax_jacobian"]));
        }
    }
    let tight = Tolerance { relative: 4.0 * f64::EPSILON, absolute: 0.0 };
    for case in items(&golden["scalars"]) {
        let x = number(&case["x"]);
        let check_one = |key: &str, found: f64| {
            compare(&format!("{key}({x})"), &[found], &[number(&case[key])], &tight);
        };
        check_one("softplus", smooth::softplus(x));
        check_one("logistic", smooth::logistic(x));
        check_one("logistic_derivative", smooth::logistic_derivative(x));
        check_one("relu", smooth::relu(x));
        check_one("relu_derivative", smooth::relu_derivative(x));
    }
}
