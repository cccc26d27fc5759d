//! The published losses by name, with their usual settings.

use crate::comparison::{Comparison, Gate};
use crate::description::{Geometry, Oracle, Reduction};
use crate::margin::{Amount, Angle, BeyondPi, Margin};
use crate::regulariser::Regulariser;

/// Every name that [`preset`] knows.
pub const PRESET_NAMES: [&str; 12] = [
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
];

/// `max(5, 1000 (1 + 2.5e-5 step)^-35)`, the annealing of SphereFace.
pub fn sphereface_anneal_lambda(step: u64) -> f64 {
    (1000.0 * (1.0 + 2.5e-5 * step as f64).powi(-35)).max(5.0)
}

/// The loss of that name; annealed ones at step 0.
pub fn preset(name: &str) -> Option<Oracle> {
    let one = Amount::One;
    let cross_entropy = Oracle {
        scale: 1.0,
        temperature: 1.0,
        geometry: Geometry::InnerProduct,
        margin: Margin::None,
        comparison: Comparison::LogSumExp,
        gate: Gate::Softplus,
        label_smoothing: 0.0,
        z_loss: 0.0,
        class_weights: None,
        sample_weights: None,
        ignored: None,
        regulariser: Regulariser::None,
        reduction: Reduction::Mean,
        nan_when_nothing_kept: false,
    };
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
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_no_other() {
        assert!(PRESET_NAMES.iter().all(|name| preset(name).is_some()));
        assert!(preset("softmax").is_none());
    }

    #[test]
    fn annealing_ends_at_five() {
        assert_eq!(sphereface_anneal_lambda(0), 1000.0);
        assert!(sphereface_anneal_lambda(1000) < 1000.0);
        assert_eq!(sphereface_anneal_lambda(100_000), 5.0);
    }
}
