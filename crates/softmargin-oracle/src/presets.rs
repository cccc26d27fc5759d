//! The published losses by name, with their usual settings.

use crate::comparison::{Comparison, Gate};
use crate::description::{Geometry, Oracle, Reduction};
use crate::margin::{Angle, BeyondPi, Margin};
use crate::margin_value::{MarginValue, NormMargin};
use crate::negatives::Negatives;
use crate::regularizer::Regularizer;
use crate::state::State;

/// Names accepted by [`preset`].
pub const PRESET_NAMES: [&str; 22] = [
    "cross-entropy",
    "weston-watkins",
    "crammer-singer",
    "lse-hinge",
    "perceptron",
    "one-versus-rest",
    "normface",
    "am-softmax",
    "arcface",
    "sphereface",
    "l-softmax",
    "combined-margin",
    "sub-center-arcface",
    "sphereface-r-v1",
    "sphereface-r-v2",
    "ldam",
    "elasticface",
    "elasticface-cos",
    "adaface",
    "magface",
    "curricularface",
    "mv-softmax",
];

/// Returns the annealing weight of SphereFace, `max(5, 1000 (1 + 2.5e-5 step)^-35)`.
pub fn sphereface_anneal_lambda(step: u64) -> f64 {
    (1000.0 * (1.0 + 2.5e-5 * step as f64).powi(-35)).max(5.0)
}

/// Returns cross-entropy, from which all other presets are derived.
fn cross_entropy() -> Oracle {
    Oracle {
        scale: 1.0,
        temperature: 1.0,
        geometry: Geometry::InnerProduct,
        margin: Margin::None,
        negatives: Negatives::Plain,
        comparison: Comparison::LogSumExp,
        gate: Gate::Softplus,
        label_smoothing: 0.0,
        z_loss: 0.0,
        class_weights: None,
        sample_weights: None,
        ignored: None,
        regularizer: Regularizer::None,
        reduction: Reduction::Mean,
        nan_without_valid_rows: false,
        sub_centers: 1,
        state: State::initial(),
    }
}

/// Returns the loss of that name, in its initial state and without class counts.
pub fn preset(name: &str) -> Option<Oracle> {
    let one = MarginValue::One;
    let cross_entropy = cross_entropy();
    let hinge = |comparison, margin| Oracle { comparison, gate: Gate::Relu, margin, ..cross_entropy.clone() };
    let cosine = |scale, margin| Oracle { geometry: Geometry::Cosine, scale, margin, ..cross_entropy.clone() };
    let annealed = |geometry, times| Oracle {
        geometry,
        margin: Margin::Angle(Angle {
            times,
            beyond_pi: BeyondPi::Piecewise,
            anneal_lambda: Some(sphereface_anneal_lambda(0)),
            ..Angle::neutral()
        }),
        ..cross_entropy.clone()
    };
    let angle = |plus, minus| Margin::Angle(Angle { plus: one(plus), minus: one(minus), ..Angle::neutral() });
    Some(match name {
        "cross-entropy" => cross_entropy.clone(),
        "weston-watkins" => hinge(Comparison::EachPair, Margin::Score(one(1.0))),
        "crammer-singer" => hinge(Comparison::Hardest, Margin::Score(one(1.0))),
        "lse-hinge" => hinge(Comparison::LogSumExp, Margin::None),
        "perceptron" => hinge(Comparison::Hardest, Margin::None),
        "one-versus-rest" => Oracle { comparison: Comparison::AgainstZero, ..cross_entropy.clone() },
        "normface" => cosine(20.0, Margin::None),
        "am-softmax" => cosine(30.0, Margin::Score(one(0.35))),
        "arcface" => cosine(64.0, angle(0.5, 0.0)),
        "sphereface" => annealed(Geometry::UnitWeights, 4.0),
        "l-softmax" => annealed(Geometry::InnerProduct, 2.0),
        "combined-margin" => cosine(64.0, angle(0.3, 0.2)),
        "sub-center-arcface" => Oracle { sub_centers: 3, ..cosine(64.0, angle(0.5, 0.0)) },
        "sphereface-r-v1" => {
            cosine(30.0, Margin::Angle(Angle { times: 1.5, beyond_pi: BeyondPi::Clamp, ..Angle::neutral() }))
        }
        "sphereface-r-v2" => {
            let negatives = Negatives::DividedAngle { by: 1.5, sin_floor: Angle::neutral().sin_floor };
            Oracle { negatives, ..cosine(30.0, Margin::None) }
        }
        "curricularface" => {
            Oracle { negatives: Negatives::Curricular { momentum: 0.01 }, ..cosine(64.0, angle(0.5, 0.0)) }
        }
        "mv-softmax" => {
            Oracle { negatives: Negatives::Misclassified { factor: 1.12 }, ..cosine(32.0, Margin::Score(one(0.35))) }
        }
        _ => return preset_with_row_margins(name, cosine),
    })
}

/// Returns a preset whose margin differs between rows.
fn preset_with_row_margins(name: &str, cosine: impl Fn(f64, Margin) -> Oracle) -> Option<Oracle> {
    let drawn = |mean| MarginValue::Drawn { mean, std: 0.0125 };
    let plus = |plus| Margin::Angle(Angle { plus, ..Angle::neutral() });
    let standardized =
        || MarginValue::FromNorm(NormMargin::Standardized { value: 0.4, concentration: 0.333, momentum: 0.01 });
    let line = NormMargin::Linear { low: 0.45, high: 0.8, norm_low: 10.0, norm_high: 110.0 };
    Some(match name {
        "ldam" => cosine(30.0, Margin::Score(MarginValue::ByFrequency { largest: 0.5, class_counts: None })),
        "elasticface" => cosine(64.0, plus(drawn(0.5))),
        "elasticface-cos" => cosine(64.0, Margin::Score(drawn(0.35))),
        "adaface" => {
            let beyond_pi = BeyondPi::Clamp;
            cosine(
                64.0,
                Margin::Angle(Angle { plus: standardized(), minus: standardized(), beyond_pi, ..Angle::neutral() }),
            )
        }
        "magface" => {
            let regularizer = Regularizer::Magnitude { weight: 20.0, low: 10.0, high: 110.0 };
            Oracle { regularizer, ..cosine(64.0, plus(MarginValue::FromNorm(line))) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_listed_names_are_known() {
        assert!(PRESET_NAMES.iter().all(|name| preset(name).is_some()));
        assert!(preset("softmax").is_none());
    }

    #[test]
    fn annealing_decreases_to_five() {
        assert_eq!(sphereface_anneal_lambda(0), 1000.0);
        assert!(sphereface_anneal_lambda(1000) < 1000.0);
        assert_eq!(sphereface_anneal_lambda(100_000), 5.0);
    }
}
