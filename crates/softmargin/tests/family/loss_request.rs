//! A loss by name, with an overlay, numbers and class counts: what it resolves to, and what is rejected.

use serde_json::json;
use softmargin::request::{DEFAULT_LOSS, LossRequest, Overlay, RENAMED};
use softmargin::{
    BeyondPi, Comparison, Gate, LossSpec, Margin, MarginValue, Negatives, Radians, Regularizer, Scale, presets,
};

fn request(name: &str, spec: serde_json::Value) -> LossRequest {
    LossRequest { spec: Some(Overlay::new(&spec).unwrap()), ..LossRequest::named(name) }
}

fn resolved(request: &LossRequest) -> LossSpec {
    request.resolve().unwrap_or_else(|error| panic!("{request:?}: {error}")).spec
}

/// The message for a request that is rejected.
#[track_caller]
fn rejected(request: &LossRequest) -> String {
    request.resolve().expect_err("the request is wrong").to_string()
}

#[test]
fn every_preset_resolves_by_name_and_alias_to_its_own_spec() {
    for preset in presets::all() {
        for name in preset.names() {
            let plain = LossRequest::named(name).resolve().unwrap();
            assert_eq!((plain.preset.name, &plain.spec), (preset.name, &preset.spec()));
            // The whole spec as an overlay changes nothing.
            let whole = Some(Overlay::new(&preset.spec()).unwrap());
            let whole = LossRequest { spec: whole, ..LossRequest::named(name) };
            assert_eq!(resolved(&whole), preset.spec(), "{name}");
            whole.check_name().unwrap();
        }
    }
    assert_eq!(LossRequest::default().resolve().unwrap().preset.name, DEFAULT_LOSS);
    assert!(rejected(&LossRequest::named("arcfase")).contains("did you mean \"arcface\"?"));
}

#[test]
fn every_preset_keeps_its_usual_numbers_when_they_are_given() {
    for preset in presets::all() {
        let margin = Some(preset.default_margin()).filter(|margin| !margin.is_empty());
        let scale = Some(preset.spec().scale.initial());
        let mut expected = preset.spec();
        if margin.is_some() && expected.margin == Margin::None && expected.negatives == Negatives::Plain {
            expected = expected.with_margin(Margin::score(0.0)); // A margin of 0 on the score is no margin.
        }
        let request = LossRequest { scale, margin, ..LossRequest::named(preset.name) };
        assert_eq!(resolved(&request), expected, "{}", preset.name);
    }
}

#[test]
fn an_overlay_is_merged_table_by_table() {
    let overlaid = resolved(&request("arcface", json!({"sub-centers": 2, "margin": {"beyond-pi": "extend"}})));
    let Margin::Angle(mut angle) = presets::ARCFACE.spec().margin else { panic!("arcface has a margin on the angle") };
    angle.beyond_pi = BeyondPi::Extend;
    assert_eq!(overlaid, presets::ARCFACE.spec().with_sub_centers(2).with_margin(Margin::Angle(angle)));
}

#[test]
fn a_part_of_another_kind_replaces_the_whole() {
    for (name, overlay, expected) in [
        ("arcface", json!({"margin": {"kind": "none"}}), presets::ARCFACE.spec().with_margin(Margin::None)),
        (
            "normface",
            json!({"scale": {"kind": "fixed", "value": 10}}),
            presets::NORMFACE.spec().with_scale(Scale::fixed(10.0)),
        ),
        (
            "am-softmax",
            json!({"comparison": {"kind": "hardest", "gate": "softplus"}}),
            presets::AM_SOFTMAX.spec().with_comparison(Comparison::Hardest { gate: Gate::Softplus }),
        ),
        // Another form of margin value, and one that is a word.
        ("ldam", json!({"margin": {"value": {"one": 0.3}}}), presets::LDAM.spec().with_margin(Margin::score(0.3))),
        (
            "am-softmax",
            json!({"margin": {"value": "per-sample"}}),
            presets::AM_SOFTMAX.spec().with_margin(Margin::Score { value: MarginValue::PerSample }),
        ),
        // An optional part comes and goes.
        (
            "am-softmax",
            json!({"regularizer": {"kind": "feature-incay", "weight": 0.1}}),
            presets::AM_SOFTMAX.spec().with_regularizer(Regularizer::FeatureIncay { weight: 0.1 }),
        ),
        ("magface", json!({"regularizer": null}), presets::MAGFACE.spec().with_regularizer(None)),
    ] {
        assert_eq!(resolved(&request(name, overlay)), expected, "{name}");
    }
}

#[test]
fn numbers_win_over_the_overlay() {
    let spec = json!({"scale": {"value": 20}, "margin": {"plus": {"one": 0.3}, "beyond-pi": "extend"}});
    let numbers = LossRequest { scale: Some(10.0), margin: Some(vec![0.1]), ..request("arcface", spec) };
    let spec = resolved(&numbers);
    assert_eq!(spec.scale, Scale::fixed(10.0));
    let Margin::Angle(angle) = spec.margin else { panic!("arcface has a margin on the angle") };
    assert_eq!((angle.plus, angle.beyond_pi), (MarginValue::One(Radians(0.1)), BeyondPi::Extend));
    let wrong = LossRequest { margin: Some(vec![0.1, 0.2]), ..LossRequest::named("arcface") };
    assert!(rejected(&wrong).starts_with("margin: expected one number for arcface: m, found 0.1,0.2"));
    let none = LossRequest { margin: Some(vec![0.1]), ..LossRequest::named("cross-entropy") };
    assert!(rejected(&none).starts_with("margin: expected none"));
}

#[test]
fn class_counts_fill_what_goes_by_frequency_and_has_none() {
    let counts = [5, 7, 9];
    for preset in presets::all() {
        let resolved = LossRequest::named(preset.name).resolve().unwrap();
        assert_eq!(resolved.needs_class_counts(), preset.name == "ldam", "{}", preset.name);
        let filled = resolved.with_class_counts(&counts);
        assert!(!filled.needs_class_counts());
        filled.build(3).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
    }
    let counts_of = |overlay| {
        let spec = request("ldam", overlay).resolve().unwrap().with_class_counts(&counts).spec;
        let Margin::Score { value: MarginValue::ByFrequency { class_counts, .. } } = spec.margin else {
            panic!("a margin by frequency")
        };
        class_counts.unwrap()
    };
    assert_eq!(counts_of(json!({"margin": {"value": {"by-frequency": {"largest": 0.3}}}})), counts);
    assert_eq!(counts_of(json!({"margin": {"value": {"by-frequency": {"class-counts": [1, 2, 3]}}}})), [1, 2, 3]);
    // Of two margin values, the one without counts gets them.
    let both = json!({
        "margin": {
            "plus": {"by-frequency": {"largest": 0.3, "class-counts": [1, 2, 3]}},
            "minus": {"by-frequency": {"largest": 0.2}},
        },
    });
    let both = request("arcface", both).resolve().unwrap();
    assert!(both.needs_class_counts());
    let Margin::Angle(angle) = both.with_class_counts(&counts).spec.margin else { panic!("a margin on the angle") };
    let json = serde_json::to_value(angle).unwrap();
    assert_eq!(json["plus"]["by-frequency"]["class-counts"], json!([1, 2, 3]));
    assert_eq!(json["minus"]["by-frequency"]["class-counts"], json!(counts));
    // A margin by number takes the place of one by frequency.
    let by_frequency = json!({"margin": {"value": {"by-frequency": {"largest": 0.3}}}});
    let by_number = LossRequest { margin: Some(vec![0.2]), ..request("am-softmax", by_frequency) };
    assert!(!by_number.resolve().unwrap().needs_class_counts());
}

#[test]
fn underscores_are_read_as_hyphens() {
    let hyphens = json!({"sub-centers": 2, "margin": {"value": {"by-frequency": {"class-counts": [1, 2]}}}});
    let underscores = json!({"sub_centers": 2, "margin": {"value": {"by_frequency": {"class_counts": [1, 2]}}}});
    assert_eq!(resolved(&request("ldam", underscores)), resolved(&request("ldam", hyphens)));
    let twice = json!({"margin": {"beyond-pi": "extend", "beyond_pi": "plain"}});
    let message = Overlay::new(&twice).unwrap_err().to_string();
    assert!(message.starts_with("spec.margin.beyond-pi: expected one value, found"), "{message}");
    assert!(serde_json::from_value::<Overlay>(twice).unwrap_err().to_string().contains("spec.margin.beyond-pi"));
}

#[test]
fn unknown_keys_kinds_and_types_are_rejected() {
    for (overlay, found) in [
        (json!({"geometri": {}}), "unknown field `geometri`"),
        (json!({"margin": {"plu": {"one": 0.1}}}), "unknown field `plu`"),
        (json!({"margin": {"kind": "angel"}}), "unknown variant `angel`"),
        (json!({"margin": {"kind": "score"}}), "missing field `value`"),
        (json!({"scale": 3}), "invalid type"),
        (json!({"sub-centers": "two"}), "invalid type"),
    ] {
        let message = rejected(&request("arcface", overlay.clone()));
        let (expected, advice) = ("spec: expected parts of the loss, found ", "the spec of the preset has all keys");
        assert!(message.starts_with(expected) && message.ends_with(advice), "{overlay}: {message}");
        assert!(message.contains(found), "{overlay}: {message}");
    }
    assert!(Overlay::new(&[1, 2]).is_err() && Overlay::new(&"cosine").is_err());
    assert!(toml::from_str::<LossRequest>("name = 'arcface'\nscales = 3").is_err());
}

#[test]
fn old_names_are_rejected_with_the_new_ones() {
    for (name, overlay, message) in [
        ("arcface", json!({"rivals": {"kind": "plain"}}), "spec: expected \"negatives\", found \"rivals\""),
        ("arcface", json!({"sub_centres": 2}), "spec: expected \"sub-centers\", found \"sub-centres\""),
        ("arcface", json!({"regulariser": null}), "spec: expected \"regularizer\", found \"regulariser\""),
        ("am-softmax", json!({"margin": {"amount": {"one": 1}}}), "spec.margin: expected \"value\", found \"amount\""),
        (
            "elasticface",
            json!({"margin": {"plus": {"drawn": {"deviation": 0.1}}}}),
            "spec.margin.plus.drawn: expected \"std\", found \"deviation\"",
        ),
        (
            "adaface",
            json!({"margin": {"plus": {"from-norm": {"kind": "standardised"}}}}),
            "spec.margin.plus.from-norm.kind: expected \"standardized\", found \"standardised\"",
        ),
    ] {
        let found = rejected(&request(name, overlay));
        assert!(found.starts_with(message) && found.contains("was renamed: write"), "{found}");
    }
    // No new name is an old one, and no preset has an old one.
    let specs: String = presets::all().iter().map(|preset| serde_json::to_string(&preset.spec()).unwrap()).collect();
    for (old, new) in RENAMED {
        assert!(RENAMED.iter().all(|(other, _)| other != new), "{new}");
        assert!(!specs.contains(&format!("\"{old}\"")), "{old}");
    }
}

#[test]
fn the_parts_of_one_preset_under_the_name_of_another_are_found() {
    let score = json!({"margin": {"kind": "score", "value": {"one": 0.35}}});
    let message = request("arcface", score.clone()).check_name().unwrap_err().to_string();
    assert!(message.starts_with("spec: expected parts of arcface, found those of am-softmax"), "{message}");
    // What every loss may have does not make it another one; nor do numbers.
    for overlay in [
        json!({"sub-centers": 3, "ignored-label": -1, "class-weights": [1, 2]}),
        json!({"margin": {"plus": {"one": 0.1}}}),
        json!({"margin": {"plus": "per-sample"}}),
    ] {
        request("arcface", overlay).check_name().unwrap();
    }
    request("am-softmax", score).check_name().unwrap();
}

#[test]
fn a_request_survives_toml_and_json() {
    let text = "name = \"magface\"\nscale = 32.0\nmargin = [0.4, 0.8]\n\n[spec]\nsub-centers = 2\n\n[spec.regularizer]\nweight = 20.5\n";
    let request: LossRequest = toml::from_str(text).unwrap();
    assert_eq!(toml::to_string(&request).unwrap(), text);
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<LossRequest>(&json).unwrap(), request);
    let table: toml::Table = toml::from_str("sub_centers = 2\nregularizer = { weight = 20.5 }").unwrap();
    assert_eq!(request.spec, Some(Overlay::new(&table).unwrap()));
    assert_eq!(toml::to_string(&LossRequest::default()).unwrap(), "");
}
