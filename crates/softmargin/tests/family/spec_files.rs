//! Serialization of loss descriptions: round trips through TOML and JSON, and rejection of unknown keys and values.

use crate::combinations::{comparisons, geometries, margins, spec_of};
use crate::negatives::ALL;
use softmargin::{LossSpec, LossState, Negatives, Regularizer, Scale, presets};

fn assert_round_trip(spec: &LossSpec) {
    let text = toml::to_string(spec).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
    let back: LossSpec = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&back, spec, "{text}");
    let text = serde_json::to_string(spec).unwrap();
    let back: LossSpec = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&back, spec, "{text}");
}

#[test]
fn every_description_survives_serialization() {
    let scales = [Scale::fixed(0.1), Scale::Learned { initial: 20.0, min: 1.0 / 3.0, max: 128.0 }];
    let terms = [
        None,
        Some(Regularizer::FeatureIncay { weight: 0.1 }),
        Some(Regularizer::Ring { weight: 0.2, radius: 0.0 }),
        Some(Regularizer::Magnitude { weight: 0.2, low: 0.1, high: 1.0 / 3.0 }),
    ];
    let mut specs: Vec<LossSpec> =
        presets::all().iter().flat_map(|preset| [preset.spec(), spec_of(preset, 4)]).collect();
    for (k, margin) in margins(4).into_iter().enumerate() {
        for (l, comparison) in comparisons().into_iter().enumerate() {
            let spec = presets::CROSS_ENTROPY
                .spec()
                .with_geometry(geometries()[(k + l) % 4])
                .with_scale(scales[(k + l) % 2])
                .with_margin(margin.clone())
                .with_negatives([Negatives::Plain, ALL[0], ALL[1], ALL[2]][(k + l) % 4])
                .with_sub_centers(1 + (k + l) % 3)
                .with_comparison(comparison)
                .with_regularizer(terms[(k + l) % 4])
                .with_class_weights((l % 2 == 0).then(|| vec![1.0, 0.0, 1e-9, 0.1]))
                .with_ignored_label((k % 2 == 0).then_some(-100));
            specs.push(spec);
        }
    }
    specs.iter().for_each(assert_round_trip);
    println!("spec files: {} descriptions through TOML and JSON", specs.len());
}

/// A hand-written description.
const HAND_WRITTEN: &str = r#"
geometry = { kind = "cosine" }
scale = { kind = "fixed", value = 64.0 }
comparison = { kind = "log-sum-exp", gate = { kind = "softplus", label-smoothing = 0.1 } }
class-weights = [1.0, 2.0]
ignored-label = -1

[margin]
kind = "angle"
times = 1.0
plus = { one = 0.5 }
minus = { per-class = [0.0, 0.1] }
beyond-pi = "continue"
gradient = "straight-through"
anneal = { initial = 1000.0, rate = 2.5e-5, power = 35.0, min = 5.0 }

[regularizer]
kind = "ring"
weight = 0.1
radius = 1.0
"#;

#[test]
fn a_hand_written_description_is_read() {
    let spec: LossSpec = toml::from_str(HAND_WRITTEN).unwrap();
    assert!(spec.clone().build(2).is_ok());
    assert_round_trip(&spec);
    let per_sample = HAND_WRITTEN.replace("plus = { one = 0.5 }", "plus = \"per-sample\"");
    let spec: LossSpec = toml::from_str(&per_sample).unwrap();
    assert_round_trip(&spec);
}

/// A hand-written description with row-dependent margins, modified negatives and sub-centers.
const ROW_DEPENDENT: &str = r#"
geometry = { kind = "cosine" }
scale = { kind = "fixed", value = 64.0 }
comparison = { kind = "log-sum-exp", gate = { kind = "softplus" } }
negatives = { kind = "divided-angle", by = 1.5 }
sub-centers = 3

[margin]
kind = "angle"
times = 1.0
plus = { drawn = { mean = 0.5, std = 0.0125 } }
minus = { from-norm = { kind = "linear", low = 0.1, high = 0.2, norm-low = 10.0, norm-high = 110.0 } }
beyond-pi = "continue"
gradient = "exact"

[regularizer]
kind = "magnitude"
weight = 20.0
low = 10.0
high = 110.0
"#;

#[test]
fn row_dependent_margins_negatives_and_sub_centers_are_read() {
    let spec: LossSpec = toml::from_str(ROW_DEPENDENT).unwrap();
    assert!(spec.clone().build(2).is_ok());
    assert_round_trip(&spec);
    let plus = "plus = { drawn = { mean = 0.5, std = 0.0125 } }";
    for good in [
        "plus = { by-frequency = { largest = 0.5 } }",
        "plus = { by-frequency = { largest = 0.5, class-counts = [1, 2] } }",
        "plus = { from-norm = { kind = \"standardized\", value = 0.4, concentration = 0.333, momentum = 0.01 } }",
    ] {
        let text = ROW_DEPENDENT.replace(plus, good);
        assert_round_trip(&toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}")));
    }
    for (good, bad) in [
        ("std = 0.0125", "std = 0.0125, seed = 1"),
        ("drawn = {", "drawn-from = {"),
        ("norm-low", "norm_low"),
        ("kind = \"linear\", ", "kind = \"linear\", value = 1.0, "),
        ("by = 1.5", "by = 1.5, factor = 2.0"),
        ("kind = \"divided-angle\", by", "kind = \"misclassified\", by"),
        ("sub-centers", "sub-centres"),
        ("high = 110.0\n", "high = 110.0\nradius = 1.0\n"),
        ("low = 10.0\n", ""),
    ] {
        assert!(ROW_DEPENDENT.contains(good), "{good}");
        let text = ROW_DEPENDENT.replace(good, bad);
        assert!(toml::from_str::<LossSpec>(&text).is_err(), "{bad} was accepted");
    }
}

#[test]
fn unknown_keys_and_values_are_rejected() {
    let json = serde_json::to_value(toml::from_str::<LossSpec>(HAND_WRITTEN).unwrap()).unwrap();
    // An unknown key in each table of the file.
    let tables = [
        "",
        "/geometry",
        "/scale",
        "/margin",
        "/margin/anneal",
        "/negatives",
        "/comparison",
        "/comparison/gate",
        "/regularizer",
    ];
    for table in tables {
        let mut changed = json.clone();
        let object = changed.pointer_mut(table).and_then(|value| value.as_object_mut()).expect(table);
        object.insert("label_smooth".into(), 0.1.into());
        let error = serde_json::from_value::<LossSpec>(changed).expect_err(table).to_string();
        assert!(error.contains("label_smooth"), "{table}: {error}");
    }
    for (good, bad) in [
        ("kind = \"cosine\"", "kind = \"cosin\""),
        ("beyond-pi = \"continue\"", "beyond-pi = \"continued\""),
        ("gradient = \"straight-through\"", "gradient = \"through\""),
        ("kind = \"log-sum-exp\"", "kind = \"logsumexp\""),
        ("kind = \"ring\"", "kind = \"rings\""),
        ("plus = { one = 0.5 }", "plus = { two = 0.5 }"),
        ("value = 64.0", "value = \"64\""),
        ("times = 1.0\n", ""),
        ("label-smoothing", "label_smoothing"),
        ("class-weights", "class_weights"),
        // Options of other variants.
        ("kind = \"softplus\", label-smoothing = 0.1", "kind = \"relu\", label-smoothing = 0.1"),
        ("geometry = { kind = \"cosine\" }", "geometry = { kind = \"cosine\", temperature = 2.0 }"),
        ("geometry = { kind = \"cosine\" }", "geometry = { kind = \"unit-weights\", bias = true }"),
        ("kind = \"softplus\", label-smoothing = 0.1", "kind = \"identity\", z-loss = 0.1"),
        ("kind = \"angle\"\n", "kind = \"none\"\n"),
    ] {
        assert!(HAND_WRITTEN.contains(good), "{good}");
        let text = HAND_WRITTEN.replace(good, bad);
        assert!(toml::from_str::<LossSpec>(&text).is_err(), "{bad} was accepted");
    }
}

#[test]
fn the_state_survives_serialization() {
    let mut state = crate::problem::state(123_456_789_012).with_seed(7);
    (state.target_mean, state.norm_mean, state.norm_std) = (-0.1, 1.0 / 3.0, 12.5);
    let text = toml::to_string(&state).unwrap();
    assert_eq!(toml::from_str::<LossState>(&text).unwrap(), state);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<LossState>(&text).unwrap(), state);
    assert!(toml::from_str::<LossState>("step = 1\nsteps = 2").is_err());
    // A file written before the state had other fields.
    assert_eq!(toml::from_str::<LossState>("step = 5").unwrap(), crate::problem::state(5));
}
