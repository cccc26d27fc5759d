//! Descriptions as files: through TOML and JSON and back, and what is not understood is refused.

use crate::grid::{comparisons, geometries, margins};
use softmargin::{LossSpec, LossState, Regulariser, Rivals, Scale, presets};

fn round_trip(spec: &LossSpec) {
    let text = toml::to_string(spec).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
    let back: LossSpec = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&back, spec, "{text}");
    let text = serde_json::to_string(spec).unwrap();
    let back: LossSpec = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(&back, spec, "{text}");
}

#[test]
fn every_description_survives_a_file() {
    let scales = [Scale::fixed(0.1), Scale::Learned { initial: 20.0, min: 1.0 / 3.0, max: 128.0 }];
    let terms =
        [None, Some(Regulariser::FeatureIncay { weight: 0.1 }), Some(Regulariser::Ring { weight: 0.2, radius: 0.0 })];
    let mut specs: Vec<LossSpec> = presets::all().iter().map(|preset| preset.spec()).collect();
    for (k, margin) in margins(4).into_iter().enumerate() {
        for (l, comparison) in comparisons().into_iter().enumerate() {
            specs.push(LossSpec {
                geometry: geometries()[(k + l) % 4],
                scale: scales[(k + l) % 2],
                margin: margin.clone(),
                rivals: Rivals::Plain,
                sub_centres: 1,
                comparison,
                regulariser: terms[(k + l) % 3],
                class_weights: (l % 2 == 0).then(|| vec![1.0, 0.0, 1e-9, 0.1]),
                ignored_label: (k % 2 == 0).then_some(-100),
            });
        }
    }
    specs.iter().for_each(round_trip);
    println!("spec files: {} descriptions through TOML and JSON", specs.len());
}

/// A file as a person would write it.
const WRITTEN: &str = r#"
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

[regulariser]
kind = "ring"
weight = 0.1
radius = 1.0
"#;

#[test]
fn a_file_written_by_hand() {
    let spec: LossSpec = toml::from_str(WRITTEN).unwrap();
    assert!(spec.clone().build(2).is_ok());
    round_trip(&spec);
    let per_sample = WRITTEN.replace("plus = { one = 0.5 }", "plus = \"per-sample\"");
    let spec: LossSpec = toml::from_str(&per_sample).unwrap();
    round_trip(&spec);
}

#[test]
fn what_is_not_understood_is_refused() {
    let json = serde_json::to_value(toml::from_str::<LossSpec>(WRITTEN).unwrap()).unwrap();
    // An unknown key in every table of the file.
    let tables = [
        "",
        "/geometry",
        "/scale",
        "/margin",
        "/margin/anneal",
        "/rivals",
        "/comparison",
        "/comparison/gate",
        "/regulariser",
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
        // Options of another variant.
        ("kind = \"softplus\", label-smoothing = 0.1", "kind = \"relu\", label-smoothing = 0.1"),
        ("geometry = { kind = \"cosine\" }", "geometry = { kind = \"cosine\", temperature = 2.0 }"),
        ("geometry = { kind = \"cosine\" }", "geometry = { kind = \"unit-weights\", bias = true }"),
        ("kind = \"softplus\", label-smoothing = 0.1", "kind = \"identity\", z-loss = 0.1"),
        ("kind = \"angle\"\n", "kind = \"none\"\n"),
    ] {
        assert!(WRITTEN.contains(good), "{good}");
        let text = WRITTEN.replace(good, bad);
        assert!(toml::from_str::<LossSpec>(&text).is_err(), "{bad} was accepted");
    }
}

#[test]
fn the_state_survives_a_file() {
    let state = crate::problem::state(123_456_789_012);
    let text = toml::to_string(&state).unwrap();
    assert_eq!(toml::from_str::<LossState>(&text).unwrap(), state);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<LossState>(&text).unwrap(), state);
    assert!(toml::from_str::<LossState>("step = 1\nsteps = 2").is_err());
}
