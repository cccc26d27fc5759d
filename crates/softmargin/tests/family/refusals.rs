//! Everything that `LossSpec::build` refuses, and what its messages say.

use softmargin::{
    Amount, AngularMargin, Anneal, BeyondPi, Comparison, ErrorKind, Gate, Geometry, LossSpec, Margin, Radians,
    Regulariser, Scale, SmoothGate, presets,
};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

fn spec(name: &str) -> LossSpec {
    presets::find(name).unwrap().spec()
}

/// Asserts that a description is refused for three classes, and that the message has its three parts.
fn refused(spec: LossSpec, subject: &str, expected: &str, found: &str, advice: &str) {
    let error = spec.build(3).map(|_| ()).expect_err(subject);
    assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, subject), "{error}");
    for (part, wanted) in [(error.expected(), expected), (error.found(), found), (error.advice(), advice)] {
        assert!(part.contains(wanted) && !part.is_empty(), "{error}: {part:?} lacks {wanted:?}");
    }
    let text = error.to_string();
    assert!(text.starts_with(&format!("{subject}: expected ")) && text.contains(", found "), "{text}");
}

fn angle(change: impl FnOnce(&mut AngularMargin)) -> LossSpec {
    let mut arcface = spec("arcface");
    let Margin::Angle(margin) = &mut arcface.margin else { panic!("arcface has an angle") };
    change(margin);
    arcface
}

#[test]
fn angles_in_degrees_and_beyond_pi() {
    let plus = |radians: f64| angle(|margin| margin.plus = Amount::One(Radians(radians)));
    refused(plus(28.6), "margin.plus", "radians from 0 to pi", "28.6", "if that is in degrees, give 0.4992");
    refused(plus(3.2), "margin.plus", "radians", "3.2", "degrees");
    refused(plus(500.0), "margin.plus", "radians", "500", "give radians");
    for bad in [-0.1, NAN, INF] {
        refused(plus(bad), "margin.plus", "radians", &bad.to_string(), "radians");
    }
    let per_class = angle(|margin| margin.plus = Amount::PerClass([0.1, 28.6, 0.1].map(Radians).to_vec()));
    refused(per_class, "margin.plus of class 1", "radians", "28.6", "degrees");
    assert!(plus(std::f64::consts::PI).build(3).is_ok() && plus(0.0).build(3).is_ok());
}

#[test]
fn amounts_out_of_range() {
    for bad in [-0.1, NAN, INF, -INF] {
        let cosine = LossSpec { margin: Margin::score(bad), ..spec("am-softmax") };
        refused(cosine, "margin.amount", "from 0 to 2", &bad.to_string(), "a cosine lies from -1 to 1");
        let plain = LossSpec { margin: Margin::score(bad), ..spec("crammer-singer") };
        refused(plain, "margin.amount", "0 or above", &bad.to_string(), "in that range");
        let margin = Margin::Logit { amount: Amount::One(bad) };
        refused(LossSpec { margin, ..spec("am-softmax") }, "margin.amount", "0 or above", &bad.to_string(), "range");
        refused(angle(|m| m.minus = Amount::One(bad)), "margin.minus", "from 0 to 2", &bad.to_string(), "cosine");
        refused(angle(|m| m.times = bad), "margin.times", "above 0", &bad.to_string(), "range");
    }
    refused(angle(|m| m.times = 0.0), "margin.times", "above 0", "0", "range");
    let large = LossSpec { margin: Margin::score(28.6), ..spec("am-softmax") };
    refused(large, "margin.amount", "from 0 to 2", "28.6", "an angle belongs to an angular margin");
    assert!(LossSpec { margin: Margin::score(28.6), ..spec("crammer-singer") }.build(3).is_ok());
    let of_class = Margin::Score { amount: Amount::PerClass(vec![0.1, -0.2, 0.1]) };
    refused(
        LossSpec { margin: of_class, ..spec("am-softmax") },
        "margin.amount of class 1",
        "from 0",
        "-0.2",
        "cosine",
    );
}

#[test]
fn amounts_of_another_number_of_classes() {
    let margin = Margin::Score { amount: Amount::PerClass(vec![0.1; 4]) };
    refused(LossSpec { margin, ..spec("am-softmax") }, "margin.amount", "3 amounts", "4", "as many amounts as classes");
    let plus = angle(|margin| margin.plus = Amount::PerClass(vec![Radians(0.1); 2]));
    refused(plus, "margin.plus", "3 amounts", "2", "as many");
    let minus = angle(|margin| margin.minus = Amount::PerClass(Vec::new()));
    refused(minus, "margin.minus", "3 amounts", "0", "as many");
    let weights = LossSpec { class_weights: Some(vec![1.0; 5]), ..spec("arcface") };
    refused(weights, "class_weights", "3 numbers", "5", "as many weights as classes");
}

#[test]
fn class_weights_out_of_range() {
    for bad in [-1.0, NAN, INF] {
        let spec = LossSpec { class_weights: Some(vec![1.0, 0.0, bad]), ..spec("cross-entropy") };
        refused(spec, "class_weights[2]", "0 or above", &bad.to_string(), "range");
    }
}

#[test]
fn margins_that_do_not_go_together() {
    let both = angle(|margin| {
        margin.plus = Amount::PerSample;
        margin.minus = Amount::PerSample;
    });
    refused(both, "margin", "one per-sample amount", "both", "fix one");
    let extend = angle(|margin| {
        margin.times = 2.0;
        margin.beyond_pi = BeyondPi::Extend;
    });
    refused(extend, "margin", "times = 1", "times = 2", "continue");
    let geometry = Geometry::InnerProduct { bias: true, temperature: 1.0 };
    refused(LossSpec { geometry, ..spec("l-softmax") }, "geometry.bias", "angle", "one", "leave the bias out");
}

#[test]
fn schedules_out_of_range() {
    let good = Anneal::SPHEREFACE;
    for bad in [-1.0, NAN, INF] {
        for (field, anneal) in [
            ("initial", Anneal { initial: bad, ..good }),
            ("rate", Anneal { rate: bad, ..good }),
            ("power", Anneal { power: bad, ..good }),
            ("min", Anneal { min: bad, ..good }),
        ] {
            let annealed = angle(|margin| margin.anneal = Some(anneal));
            refused(annealed, &format!("margin.anneal.{field}"), "0 or above", &bad.to_string(), "range");
        }
    }
}

#[test]
fn scales_and_temperatures_out_of_range() {
    for bad in [0.0, -3.0, NAN, INF] {
        let found = bad.to_string();
        let with = |scale| LossSpec { scale, ..spec("normface") };
        refused(with(Scale::fixed(bad)), "scale", "above 0", &found, "range");
        refused(with(Scale::Learned { initial: 1.0, min: bad, max: 2.0 }), "scale.min", "above 0", &found, "range");
        refused(with(Scale::Learned { initial: 1.0, min: 0.5, max: bad }), "scale.max", "above 0", &found, "range");
        let learned = Scale::Learned { initial: bad, min: 0.5, max: 2.0 };
        refused(with(learned), "scale.initial", "min 0.5 to max 2", &found, "inside");
        let geometry = Geometry::InnerProduct { bias: false, temperature: bad };
        let warm = LossSpec { geometry, ..spec("cross-entropy") };
        refused(warm, "geometry.temperature", "above 0", &found, "range");
    }
    let upside_down = Scale::Learned { initial: 3.0, min: 4.0, max: 2.0 };
    refused(LossSpec { scale: upside_down, ..spec("normface") }, "scale.initial", "from min 4 to max 2", "3", "inside");
}

#[test]
fn scales_that_no_f32_can_hold() {
    for value in [1e31, 1e300, 1e-31, 1e-300] {
        let with = |scale| LossSpec { scale, ..spec("normface") };
        refused(with(Scale::fixed(value)), "scale", "1e-30 to 1e30", "e", "nearer to 1");
        let (min, max) = (value.min(1.0), value.max(1.0));
        refused(with(Scale::Learned { initial: 1.0, min, max }), "scale", "1e-30 to 1e30", "e", "nearer to 1");
        let geometry = Geometry::InnerProduct { bias: false, temperature: value };
        refused(LossSpec { geometry, ..spec("cross-entropy") }, "scale", "1e-30 to 1e30", "e", "nearer to 1");
    }
    for value in [1e30, 1e-30] {
        assert!(LossSpec { scale: Scale::fixed(value), ..spec("normface") }.build(3).is_ok());
    }
}

#[test]
fn a_learned_scale_where_the_loss_is_proportional_to_it() {
    let learned = Scale::Learned { initial: 1.0, min: 0.5, max: 2.0 };
    for comparison in [
        Comparison::Hardest { gate: Gate::Relu },
        Comparison::EachPair { gate: Gate::Relu },
        Comparison::AgainstZero { gate: Gate::Relu },
    ] {
        let hinge = LossSpec { comparison, scale: learned, ..spec("cross-entropy") };
        refused(hinge, "scale", "fixed scale", "learned", "fix the scale");
    }
    for comparison in [
        Comparison::Hardest { gate: Gate::Identity },
        Comparison::EachPair { gate: Gate::Identity },
        Comparison::LogSumExp { gate: SmoothGate::Identity },
    ] {
        let identity = LossSpec { comparison, scale: learned, ..spec("normface") };
        refused(identity, "scale", "fixed scale", "learned", "softplus");
    }
    for comparison in [
        Comparison::Hardest { gate: Gate::Softplus },
        Comparison::EachPair { gate: Gate::Softplus },
        Comparison::LogSumExp { gate: SmoothGate::Relu },
        Comparison::CROSS_ENTROPY,
    ] {
        assert!(LossSpec { comparison, scale: learned, ..spec("cross-entropy") }.build(3).is_ok());
    }
}

#[test]
fn the_identity_on_unbounded_scores() {
    for comparison in [
        Comparison::Hardest { gate: Gate::Identity },
        Comparison::EachPair { gate: Gate::Identity },
        Comparison::AgainstZero { gate: Gate::Identity },
        Comparison::LogSumExp { gate: SmoothGate::Identity },
    ] {
        for geometry in [Geometry::InnerProduct { bias: false, temperature: 1.0 }, Geometry::UnitWeights] {
            let loss = LossSpec { comparison, geometry, ..spec("cross-entropy") };
            refused(loss, "comparison.gate", "a minimum", "identity", "cosine");
        }
        assert!(LossSpec { comparison, geometry: Geometry::Cosine, ..spec("cross-entropy") }.build(3).is_ok());
    }
}

#[test]
fn options_of_cross_entropy_out_of_range() {
    let with = |label_smoothing, z_loss| {
        let gate = SmoothGate::Softplus { label_smoothing, z_loss };
        LossSpec { comparison: Comparison::LogSumExp { gate }, ..spec("cross-entropy") }
    };
    for bad in [1.0, 1.5, -0.1, NAN] {
        let subject = "comparison.gate.label-smoothing";
        refused(with(bad, 0.0), subject, "0 up to, not including, 1", &bad.to_string(), "range");
    }
    for bad in [-0.1, NAN, INF] {
        refused(with(0.0, bad), "comparison.gate.z-loss", "0 or above", &bad.to_string(), "range");
    }
}

#[test]
fn regularisers() {
    let with = |geometry, term| LossSpec { geometry, regulariser: Some(term), ..spec("cross-entropy") };
    let plain = Geometry::InnerProduct { bias: false, temperature: 1.0 };
    let incay = Regulariser::FeatureIncay { weight: 0.1 };
    refused(with(Geometry::Cosine, incay), "regulariser", "grow with the norm", "cosine", "ring loss");
    assert!(with(Geometry::UnitWeights, incay).build(3).is_ok() && with(plain, incay).build(3).is_ok());
    for bad in [0.0, -1.0, NAN, INF] {
        let found = bad.to_string();
        let term = Regulariser::FeatureIncay { weight: bad };
        refused(with(plain, term), "regulariser.weight", "above 0", &found, "range");
        let term = Regulariser::Ring { weight: bad, radius: 1.0 };
        refused(with(Geometry::Cosine, term), "regulariser.weight", "above 0", &found, "range");
    }
    for bad in [-1.0, NAN, INF] {
        let term = Regulariser::Ring { weight: 1.0, radius: bad };
        refused(with(plain, term), "regulariser.radius", "0 or above", &bad.to_string(), "range");
    }
}

#[test]
fn no_classes() {
    let error = spec("arcface").build(0).unwrap_err();
    assert_eq!((error.kind(), error.subject(), error.found()), (ErrorKind::Spec, "num_classes", "0"));
    for preset in presets::all() {
        assert!(preset.spec().build(1).is_ok(), "{}: one class", preset.name);
    }
}

#[test]
fn names_and_margins_of_presets() {
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
        let built = usual.build(5);
        assert!(built.is_ok(), "{}: {built:?}", preset.name);
        let error = preset.spec_with(None, Some(&vec![0.5; count + 1])).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Spec, "margin"), "{}", preset.name);
        assert!(!error.advice().is_empty());
        let scaled = preset.spec_with(Some(2.5), None).unwrap();
        assert_eq!(scaled.scale.initial(), 2.5);
    }
    let combined = presets::find("combined-margin").unwrap().spec_with(None, Some(&[0.9, 0.4, 0.15])).unwrap();
    let Margin::Angle(margin) = combined.margin else { panic!("an angle") };
    assert_eq!((margin.times, margin.plus, margin.minus), (0.9, Amount::One(Radians(0.4)), Amount::One(0.15)));
}
