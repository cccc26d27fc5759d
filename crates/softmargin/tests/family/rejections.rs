//! Descriptions that `LossSpec::build` rejects, and the messages of the errors.

use crate::combinations::{class_counts, spec_of};
use softmargin::{
    AngularMargin, Anneal, BeyondPi, Comparison, ErrorKind, Gate, Geometry, LossSpec, Margin, MarginValue, Negatives,
    NormMargin, Radians, Regularizer, Scale, SmoothGate, presets,
};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

fn spec(name: &str) -> LossSpec {
    presets::find(name).unwrap().spec()
}

/// Asserts that a description is rejected for three classes, and that the message has its three parts.
fn assert_rejected(spec: LossSpec, subject: &str, expected: &str, found: &str, advice: &str) {
    let error = spec.build(3).map(|_| ()).expect_err(subject);
    assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, subject), "{error}");
    for (part, text) in [(error.expected(), expected), (error.found(), found), (error.advice(), advice)] {
        assert!(part.contains(text) && !part.is_empty(), "{error}: {part:?} lacks {text:?}");
    }
    let text = error.to_string();
    assert!(text.starts_with(&format!("{subject}: expected ")) && text.contains(", found "), "{text}");
}

fn arcface_with(change: impl FnOnce(&mut AngularMargin)) -> LossSpec {
    let mut arcface = spec("arcface");
    let Margin::Angle(margin) = &mut arcface.margin else { panic!("arcface has an angle") };
    change(margin);
    arcface
}

#[test]
fn angles_in_degrees_or_beyond_pi_are_rejected() {
    let plus = |radians: f64| arcface_with(|margin| margin.plus = MarginValue::One(Radians(radians)));
    assert_rejected(plus(28.6), "margin.plus", "radians from 0 to pi", "28.6", "if that is in degrees, give 0.4992");
    assert_rejected(plus(3.2), "margin.plus", "radians", "3.2", "degrees");
    assert_rejected(plus(500.0), "margin.plus", "radians", "500", "give radians");
    for bad in [-0.1, NAN, INF] {
        assert_rejected(plus(bad), "margin.plus", "radians", &bad.to_string(), "radians");
    }
    let per_class = arcface_with(|margin| margin.plus = MarginValue::PerClass([0.1, 28.6, 0.1].map(Radians).to_vec()));
    assert_rejected(per_class, "margin.plus of class 1", "radians", "28.6", "degrees");
    assert!(plus(std::f64::consts::PI).build(3).is_ok() && plus(0.0).build(3).is_ok());
}

#[test]
fn margin_values_out_of_range_are_rejected() {
    for bad in [-0.1, NAN, INF, -INF] {
        let cosine = spec("am-softmax").with_margin(Margin::score(bad));
        assert_rejected(cosine, "margin.value", "from 0 to 2", &bad.to_string(), "a cosine lies from -1 to 1");
        let plain = spec("crammer-singer").with_margin(Margin::score(bad));
        assert_rejected(plain, "margin.value", "0 or above", &bad.to_string(), "in that range");
        let margin = Margin::Logit { value: MarginValue::One(bad) };
        assert_rejected(
            spec("am-softmax").with_margin(margin),
            "margin.value",
            "0 or above",
            &bad.to_string(),
            "range",
        );
        assert_rejected(
            arcface_with(|m| m.minus = MarginValue::One(bad)),
            "margin.minus",
            "from 0 to 2",
            &bad.to_string(),
            "cosine",
        );
        assert_rejected(arcface_with(|m| m.times = bad), "margin.times", "above 0", &bad.to_string(), "range");
    }
    assert_rejected(arcface_with(|m| m.times = 0.0), "margin.times", "above 0", "0", "range");
    let large = spec("am-softmax").with_margin(Margin::score(28.6));
    assert_rejected(large, "margin.value", "from 0 to 2", "28.6", "an angle belongs to an angular margin");
    assert!(spec("crammer-singer").with_margin(Margin::score(28.6)).build(3).is_ok());
    let of_class = Margin::Score { value: MarginValue::PerClass(vec![0.1, -0.2, 0.1]) };
    assert_rejected(spec("am-softmax").with_margin(of_class), "margin.value of class 1", "from 0", "-0.2", "cosine");
}

#[test]
fn values_for_another_number_of_classes_are_rejected() {
    let margin = Margin::Score { value: MarginValue::PerClass(vec![0.1; 4]) };
    assert_rejected(
        spec("am-softmax").with_margin(margin),
        "margin.value",
        "3 values",
        "4",
        "as many values as classes",
    );
    let plus = arcface_with(|margin| margin.plus = MarginValue::PerClass(vec![Radians(0.1); 2]));
    assert_rejected(plus, "margin.plus", "3 values", "2", "as many");
    let minus = arcface_with(|margin| margin.minus = MarginValue::PerClass(Vec::new()));
    assert_rejected(minus, "margin.minus", "3 values", "0", "as many");
    let weights = spec("arcface").with_class_weights(vec![1.0; 5]);
    assert_rejected(weights, "class_weights", "3 numbers", "5", "as many weights as classes");
}

#[test]
fn class_weights_out_of_range_are_rejected() {
    for bad in [-1.0, NAN, INF] {
        let spec = spec("cross-entropy").with_class_weights(vec![1.0, 0.0, bad]);
        assert_rejected(spec, "class_weights[2]", "0 or above", &bad.to_string(), "range");
    }
}

#[test]
fn incompatible_margin_options_are_rejected() {
    let both = arcface_with(|margin| {
        margin.plus = MarginValue::PerSample;
        margin.minus = MarginValue::PerSample;
    });
    assert_rejected(both, "margin", "one per-sample value", "both", "fix one");
    let extend = arcface_with(|margin| {
        margin.times = 2.0;
        margin.beyond_pi = BeyondPi::Extend;
    });
    assert_rejected(extend, "margin", "times = 1", "times = 2", "continue");
    let geometry = Geometry::InnerProduct { bias: true, temperature: 1.0 };
    assert_rejected(spec("l-softmax").with_geometry(geometry), "geometry.bias", "angle", "one", "leave the bias out");
}

#[test]
fn annealing_schedules_out_of_range_are_rejected() {
    let good = Anneal::SPHEREFACE;
    for bad in [-1.0, NAN, INF] {
        for (field, anneal) in [
            ("initial", Anneal { initial: bad, ..good }),
            ("rate", Anneal { rate: bad, ..good }),
            ("power", Anneal { power: bad, ..good }),
            ("min", Anneal { min: bad, ..good }),
        ] {
            let annealed = arcface_with(|margin| margin.anneal = Some(anneal));
            assert_rejected(annealed, &format!("margin.anneal.{field}"), "0 or above", &bad.to_string(), "range");
        }
    }
}

#[test]
fn scales_and_temperatures_out_of_range_are_rejected() {
    for bad in [0.0, -3.0, NAN, INF] {
        let found = bad.to_string();
        let with = |scale| spec("normface").with_scale(scale);
        assert_rejected(with(Scale::fixed(bad)), "scale", "above 0", &found, "range");
        assert_rejected(
            with(Scale::Learned { initial: 1.0, min: bad, max: 2.0 }),
            "scale.min",
            "above 0",
            &found,
            "range",
        );
        assert_rejected(
            with(Scale::Learned { initial: 1.0, min: 0.5, max: bad }),
            "scale.max",
            "above 0",
            &found,
            "range",
        );
        let learned = Scale::Learned { initial: bad, min: 0.5, max: 2.0 };
        assert_rejected(with(learned), "scale.initial", "min 0.5 to max 2", &found, "inside");
        let geometry = Geometry::InnerProduct { bias: false, temperature: bad };
        let warm = spec("cross-entropy").with_geometry(geometry);
        assert_rejected(warm, "geometry.temperature", "above 0", &found, "range");
    }
    let reversed_range = Scale::Learned { initial: 3.0, min: 4.0, max: 2.0 };
    assert_rejected(spec("normface").with_scale(reversed_range), "scale.initial", "from min 4 to max 2", "3", "inside");
}

#[test]
fn scales_beyond_the_range_of_f32_are_rejected() {
    for value in [1e31, 1e300, 1e-31, 1e-300] {
        let with = |scale| spec("normface").with_scale(scale);
        assert_rejected(with(Scale::fixed(value)), "scale", "1e-30 to 1e30", "e", "nearer to 1");
        let (min, max) = (value.min(1.0), value.max(1.0));
        assert_rejected(with(Scale::Learned { initial: 1.0, min, max }), "scale", "1e-30 to 1e30", "e", "nearer to 1");
        let geometry = Geometry::InnerProduct { bias: false, temperature: value };
        assert_rejected(spec("cross-entropy").with_geometry(geometry), "scale", "1e-30 to 1e30", "e", "nearer to 1");
    }
    for value in [1e30, 1e-30] {
        assert!(spec("normface").with_scale(value).build(3).is_ok());
    }
}

#[test]
fn a_learned_scale_is_rejected_if_the_loss_is_proportional_to_it() {
    let learned = Scale::Learned { initial: 1.0, min: 0.5, max: 2.0 };
    for comparison in [
        Comparison::Hardest { gate: Gate::Relu },
        Comparison::EachPair { gate: Gate::Relu },
        Comparison::AgainstZero { gate: Gate::Relu },
    ] {
        let hinge = spec("cross-entropy").with_comparison(comparison).with_scale(learned);
        assert_rejected(hinge, "scale", "fixed scale", "learned", "fix the scale");
    }
    for comparison in [
        Comparison::Hardest { gate: Gate::Identity },
        Comparison::EachPair { gate: Gate::Identity },
        Comparison::LogSumExp { gate: SmoothGate::Identity },
    ] {
        let identity = spec("normface").with_comparison(comparison).with_scale(learned);
        assert_rejected(identity, "scale", "fixed scale", "learned", "softplus");
    }
    for comparison in [
        Comparison::Hardest { gate: Gate::Softplus },
        Comparison::EachPair { gate: Gate::Softplus },
        Comparison::LogSumExp { gate: SmoothGate::Relu },
        Comparison::CROSS_ENTROPY,
    ] {
        assert!(spec("cross-entropy").with_comparison(comparison).with_scale(learned).build(3).is_ok());
    }
}

#[test]
fn the_identity_gate_on_unbounded_scores_is_rejected() {
    for comparison in [
        Comparison::Hardest { gate: Gate::Identity },
        Comparison::EachPair { gate: Gate::Identity },
        Comparison::AgainstZero { gate: Gate::Identity },
        Comparison::LogSumExp { gate: SmoothGate::Identity },
    ] {
        for geometry in [Geometry::InnerProduct { bias: false, temperature: 1.0 }, Geometry::UnitWeights] {
            let loss = spec("cross-entropy").with_comparison(comparison).with_geometry(geometry);
            assert_rejected(loss, "comparison.gate", "a minimum", "identity", "cosine");
        }
        assert!(spec("cross-entropy").with_comparison(comparison).with_geometry(Geometry::Cosine).build(3).is_ok());
    }
}

#[test]
fn cross_entropy_options_out_of_range_are_rejected() {
    let with = |label_smoothing, z_loss| {
        let gate = SmoothGate::Softplus { label_smoothing, z_loss };
        spec("cross-entropy").with_comparison(Comparison::LogSumExp { gate })
    };
    for bad in [1.0, 1.5, -0.1, NAN] {
        let subject = "comparison.gate.label-smoothing";
        assert_rejected(with(bad, 0.0), subject, "0 up to, not including, 1", &bad.to_string(), "range");
    }
    for bad in [-0.1, NAN, INF] {
        assert_rejected(with(0.0, bad), "comparison.gate.z-loss", "0 or above", &bad.to_string(), "range");
    }
}

#[test]
fn regularizers_without_effect_or_out_of_range_are_rejected() {
    let with = |geometry, term| spec("cross-entropy").with_geometry(geometry).with_regularizer(term);
    let plain = Geometry::InnerProduct { bias: false, temperature: 1.0 };
    let incay = Regularizer::FeatureIncay { weight: 0.1 };
    assert_rejected(with(Geometry::Cosine, incay), "regularizer", "grow with the norm", "cosine", "ring loss");
    assert!(with(Geometry::UnitWeights, incay).build(3).is_ok() && with(plain, incay).build(3).is_ok());
    for bad in [0.0, -1.0, NAN, INF] {
        let found = bad.to_string();
        let term = Regularizer::FeatureIncay { weight: bad };
        assert_rejected(with(plain, term), "regularizer.weight", "above 0", &found, "range");
        let term = Regularizer::Ring { weight: bad, radius: 1.0 };
        assert_rejected(with(Geometry::Cosine, term), "regularizer.weight", "above 0", &found, "range");
    }
    for bad in [-1.0, NAN, INF] {
        let term = Regularizer::Ring { weight: 1.0, radius: bad };
        assert_rejected(with(plain, term), "regularizer.radius", "0 or above", &bad.to_string(), "range");
    }
}

#[test]
fn drawn_and_frequency_margin_values_out_of_range_are_rejected() {
    let drawn =
        |mean: f64, std: f64| arcface_with(|m| m.plus = MarginValue::Drawn { mean: Radians(mean), std: Radians(std) });
    assert_rejected(drawn(28.6, 0.1), "margin.plus.mean", "radians", "28.6", "degrees");
    for bad in [-0.1, NAN, INF] {
        assert_rejected(drawn(0.5, bad), "margin.plus.std", "0 or above", &bad.to_string(), "range");
        let counted = |largest| Margin::Score { value: MarginValue::ByFrequency { largest, class_counts: None } };
        let largest = spec("ldam").with_margin(counted(bad)).with_class_counts(&[1, 2, 3]);
        assert_rejected(largest, "margin.value.largest", "from 0 to 2", &bad.to_string(), "cosine");
    }
    assert_rejected(spec("ldam"), "margin.value.class-counts", "3 counts", "none", "with_class_counts");
    assert_rejected(
        spec("ldam").with_class_counts(&[1; 4]),
        "margin.value.class-counts",
        "3 counts",
        "4",
        "as many counts",
    );
    let both = arcface_with(|margin| {
        margin.plus = MarginValue::Drawn { mean: Radians(0.5), std: Radians(0.1) };
        margin.minus = MarginValue::Drawn { mean: 0.1, std: 0.1 };
    });
    assert_rejected(both, "margin", "one drawn value", "both", "fix one");
}

#[test]
fn margin_values_from_the_norm_out_of_range_are_rejected() {
    let line = |low, high, norm_low, norm_high| {
        arcface_with(|m| m.plus = MarginValue::FromNorm(NormMargin::Linear { low, high, norm_low, norm_high }))
    };
    assert_rejected(line(28.6, 0.5, 1.0, 2.0), "margin.plus.low", "radians", "28.6", "degrees");
    assert_rejected(line(0.1, NAN, 1.0, 2.0), "margin.plus.high", "radians", "NaN", "radians");
    assert_rejected(line(0.1, 0.5, -1.0, 2.0), "margin.plus.norm-low", "0 or above", "-1", "range");
    assert_rejected(line(0.1, 0.5, 1.0, INF), "margin.plus.norm-high", "0 or above", "inf", "range");
    for (low, high) in [(2.0, 2.0), (3.0, 2.0)] {
        assert_rejected(
            line(0.1, 0.5, low, high),
            "margin.plus.norm-high",
            "above norm-low",
            "2",
            "smaller norm first",
        );
    }
    let usual = |value, concentration, momentum| NormMargin::Standardized { value, concentration, momentum };
    let plus = |value| arcface_with(|m| m.plus = MarginValue::FromNorm(value));
    let minus = |value| arcface_with(|m| m.minus = MarginValue::FromNorm(value));
    assert_rejected(plus(usual(3.2, 1.0, 0.1)), "margin.plus.value", "radians", "3.2", "degrees");
    assert_rejected(minus(usual(1.5, 1.0, 0.1)), "margin.minus.value", "at most 1", "1.5", "smaller");
    assert!(minus(usual(1.0, 1.0, 0.1)).build(3).is_ok() && plus(usual(1.5, 1.0, 0.1)).build(3).is_ok());
    for bad in [0.0, -1.0, NAN, INF] {
        let concentration = plus(usual(0.4, bad, 0.1));
        assert_rejected(concentration, "margin.plus.concentration", "above 0", &bad.to_string(), "range");
        assert_rejected(
            plus(usual(0.4, 1.0, bad)),
            "margin.plus.momentum",
            "above 0, up to 1",
            &bad.to_string(),
            "range",
        );
    }
    assert_rejected(plus(usual(0.4, 1.0, 1.5)), "margin.plus.momentum", "up to 1", "1.5", "range");
    let two = arcface_with(|margin| {
        margin.plus = MarginValue::FromNorm(usual(0.4, 1.0, 0.1));
        margin.minus = MarginValue::FromNorm(usual(0.4, 1.0, 0.2));
    });
    assert_rejected(two, "margin", "one momentum", "0.1 for plus and 0.2 for minus", "the same");
}

#[test]
fn magnitude_regularizers_out_of_range_are_rejected() {
    let term = |weight, low, high| {
        let regularizer = Some(Regularizer::Magnitude { weight, low, high });
        spec("arcface").with_regularizer(regularizer)
    };
    for bad in [0.0, -1.0, NAN, INF] {
        assert_rejected(term(bad, 1.0, 2.0), "regularizer.weight", "above 0", &bad.to_string(), "range");
        assert_rejected(term(1.0, bad, 2.0), "regularizer.low", "from 0.000000001", &bad.to_string(), "range");
        assert_rejected(term(1.0, 1.0, bad), "regularizer.high", "from 0.000000001", &bad.to_string(), "range");
    }
    assert_rejected(term(1.0, 2.0, 2.0), "regularizer.high", "above low, 2", "2", "smaller norm first");
    assert!(term(1.0, 1.0, 2.0).build(3).is_ok());
}

#[test]
fn zero_classes_are_rejected() {
    let error = spec("arcface").build(0).unwrap_err();
    assert_eq!((error.kind(), error.subject(), error.found()), (ErrorKind::Spec, "num_classes", "0"));
    for preset in presets::all() {
        assert!(spec_of(preset, 1).build(1).is_ok(), "{}: one class", preset.name);
    }
}

#[test]
fn presets_are_found_by_name_and_check_their_margins() {
    let unknown = presets::find("arcfase").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::UnknownName);
    assert!(unknown.to_string().contains("did you mean \"arcface\"?"), "{unknown}");
    assert!(presets::find("Cross_Entropy").unwrap_err().to_string().contains("\"cross-entropy\""));
    assert!(!presets::find("zzzz").unwrap_err().to_string().contains("did you mean"));
    for preset in presets::all() {
        for name in preset.names() {
            assert_eq!(presets::find(name).unwrap().name, preset.name);
        }
        let count = preset.margin.names().len();
        assert_eq!(preset.default_margin().len(), count, "{}", preset.name);
        let usual = preset.spec_with(None, (count > 0).then(|| preset.default_margin()).as_deref()).unwrap();
        let built = usual.with_class_counts(&class_counts(5)).build(5);
        assert!(built.is_ok(), "{}: {built:?}", preset.name);
        let error = preset.spec_with(None, Some(&vec![0.5; count + 1])).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, "margin"), "{}", preset.name);
        assert!(!error.advice().is_empty());
        let scaled = preset.spec_with(Some(2.5), None).unwrap();
        assert_eq!(scaled.scale.initial(), 2.5);
    }
    let combined = presets::find("combined-margin").unwrap().spec_with(None, Some(&[0.9, 0.4, 0.15])).unwrap();
    let Margin::Angle(margin) = combined.margin else { panic!("an angle") };
    assert_eq!(
        (margin.times, margin.plus, margin.minus),
        (0.9, MarginValue::One(Radians(0.4)), MarginValue::One(0.15))
    );
}

#[test]
fn preset_margins_set_the_field_of_each_kind_of_margin() {
    let set = |name: &str, numbers: &[f64]| presets::find(name).unwrap().spec_with(None, Some(numbers)).unwrap();
    assert_eq!(set("sphereface-r-v2", &[2.0]).negatives, Negatives::DividedAngle { by: 2.0 });
    assert_eq!(set("mv-softmax", &[0.25]).margin, Margin::score(0.25));
    let largest = MarginValue::ByFrequency { largest: 0.25, class_counts: None };
    assert_eq!(set("ldam", &[0.25]).margin, Margin::Score { value: largest });
    let drawn = MarginValue::Drawn { mean: 0.25, std: 0.0125 };
    assert_eq!(set("elasticface-cos", &[0.25]).margin, Margin::Score { value: drawn });
    let angular_margin = |name: &str, numbers: &[f64]| {
        let Margin::Angle(angle) = set(name, numbers).margin else { panic!("{name} has an angle") };
        angle
    };
    let drawn = MarginValue::Drawn { mean: Radians(0.25), std: Radians(0.0125) };
    assert_eq!(angular_margin("elasticface", &[0.25]).plus, drawn);
    let line = NormMargin::Linear { low: 0.1, high: 0.2, norm_low: 10.0, norm_high: 110.0 };
    assert_eq!(angular_margin("magface", &[0.1, 0.2]).plus, MarginValue::FromNorm(line));
    let usual = NormMargin::Standardized { value: 0.25, concentration: 0.333, momentum: 0.01 };
    let adaface = angular_margin("adaface", &[0.25]);
    assert_eq!((adaface.plus, adaface.minus), (MarginValue::FromNorm(usual), MarginValue::FromNorm(usual)));
    assert_eq!(angular_margin("sphereface-r-v1", &[2.0]).times, 2.0);
    for name in ["curricularface", "sub-center-arcface"] {
        assert_eq!(angular_margin(name, &[0.25]).plus, MarginValue::One(Radians(0.25)), "{name}");
    }
}
