//! Comparison and gate: the loss of a target's `u` given the scaled scores `v_j` of its negatives.

use crate::smooth::{log_sum_exp, logistic, maximum, relu, relu_derivative, softmax, softplus};

/// How the target is compared with its negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `sum_j gate(v_j - u)`.
    EachPair,
    /// `gate(max_j v_j - u)`; the lowest index wins ties.
    Hardest,
    /// `gate(LSE_j v_j - u)`.
    LogSumExp,
    /// `gate(-u) + sum_j gate(v_j)`.
    AgainstZero,
}

/// Function applied to a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `max(t, 0)`, derivative 0 at 0.
    Relu,
    /// `ln(1 + e^t)`.
    Softplus,
    /// `t`.
    Identity,
}

impl Gate {
    /// Returns the value at the gap `t`.
    pub fn value(self, t: f64) -> f64 {
        match self {
            Gate::Relu => relu(t),
            Gate::Softplus => softplus(t),
            Gate::Identity => t,
        }
    }

    /// Returns the derivative at the gap `t`.
    pub fn derivative(self, t: f64) -> f64 {
        match self {
            Gate::Relu => relu_derivative(t),
            Gate::Softplus => logistic(t),
            Gate::Identity => 1.0,
        }
    }
}

/// The loss of a comparison and its derivatives.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonResult {
    /// The loss.
    pub loss: f64,
    /// With respect to `u`.
    pub grad_target: f64,
    /// With respect to each `v_j`.
    pub grad_negatives: Vec<f64>,
}

impl Comparison {
    /// Returns true if adding the same number to `u` and to every `v_j` leaves the loss unchanged.
    pub fn only_gaps_matter(self) -> bool {
        self != Comparison::AgainstZero
    }

    /// Compares `u` with the negatives. Without negatives the loss is 0, except for the target's own term of
    /// [`Comparison::AgainstZero`].
    pub fn compare(self, gate: Gate, u: f64, negatives: &[f64]) -> ComparisonResult {
        if self == Comparison::AgainstZero {
            return against_zero(gate, u, negatives);
        }
        if negatives.is_empty() {
            return ComparisonResult { loss: 0.0, grad_target: 0.0, grad_negatives: Vec::new() };
        }
        match self {
            Comparison::EachPair => each_pair(gate, u, negatives),
            Comparison::Hardest => {
                let (top, at) = maximum(negatives);
                let mut share = vec![0.0; negatives.len()];
                share[at] = 1.0;
                loss_of_one_gap(gate, top - u, &share)
            }
            _ => loss_of_one_gap(gate, log_sum_exp(negatives) - u, &softmax(negatives)),
        }
    }
}

/// Returns the loss `gate(t)`, where `dt/dv_j` is `share[j]` and `dt/du` is -1.
fn loss_of_one_gap(gate: Gate, t: f64, share: &[f64]) -> ComparisonResult {
    let slope = gate.derivative(t);
    ComparisonResult {
        loss: gate.value(t),
        grad_target: -slope,
        grad_negatives: share.iter().map(|q| slope * q).collect(),
    }
}

fn each_pair(gate: Gate, u: f64, negatives: &[f64]) -> ComparisonResult {
    let grad_negatives: Vec<f64> = negatives.iter().map(|v| gate.derivative(v - u)).collect();
    ComparisonResult {
        loss: negatives.iter().map(|v| gate.value(v - u)).sum(),
        grad_target: -grad_negatives.iter().sum::<f64>(),
        grad_negatives,
    }
}

fn against_zero(gate: Gate, u: f64, negatives: &[f64]) -> ComparisonResult {
    ComparisonResult {
        loss: gate.value(-u) + negatives.iter().map(|v| gate.value(*v)).sum::<f64>(),
        grad_target: -gate.derivative(-u),
        grad_negatives: negatives.iter().map(|v| gate.derivative(*v)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::five_point_difference;

    const COMPARISONS: [Comparison; 4] =
        [Comparison::EachPair, Comparison::Hardest, Comparison::LogSumExp, Comparison::AgainstZero];
    const GATES: [Gate; 3] = [Gate::Relu, Gate::Softplus, Gate::Identity];

    #[test]
    fn derivatives_agree_with_differences_for_every_comparison_and_gate() {
        for comparison in COMPARISONS {
            for gate in GATES {
                for v in [[0.4, 1.3, -0.2, 0.9], [3.0, 1.3, -0.2, 0.9]] {
                    let at = comparison.compare(gate, v[0], &v[1..]);
                    let f = |v: &[f64]| comparison.compare(gate, v[0], &v[1..]).loss;
                    let d = five_point_difference(f, &v, 1e-3);
                    assert!((d[0] - at.grad_target).abs() < 1e-10, "{comparison:?} {gate:?}");
                    for j in 0..3 {
                        assert!((d[j + 1] - at.grad_negatives[j]).abs() < 1e-10);
                    }
                }
            }
        }
    }

    #[test]
    fn hinge_gradients_and_the_bounds_of_cross_entropy_hold() {
        let negatives = [1.0, 0.5, 0.0, -0.5];
        let u = -2.0;
        let relu = |c: Comparison| c.compare(Gate::Relu, u, &negatives);
        assert_eq!(relu(Comparison::EachPair).grad_target, -4.0);
        assert_eq!(relu(Comparison::Hardest).grad_negatives, [1.0, 0.0, 0.0, 0.0]);
        let total: f64 = relu(Comparison::LogSumExp).grad_negatives.iter().sum();
        assert!((total - 1.0).abs() < 1e-15);
        for u in [-2.0, 0.9, 1.7, 6.0] {
            let loss = |c: Comparison, g: Gate| c.compare(g, u, &negatives).loss;
            let cross_entropy = loss(Comparison::LogSumExp, Gate::Softplus);
            let hardest = loss(Comparison::Hardest, Gate::Relu);
            let hinge = loss(Comparison::LogSumExp, Gate::Relu);
            assert!(hardest <= cross_entropy && cross_entropy <= hardest + 5f64.ln());
            assert!(hinge <= cross_entropy && cross_entropy <= hinge + 2f64.ln());
        }
    }

    #[test]
    fn infinite_scores_give_the_limits() {
        let infinity = f64::INFINITY;
        for comparison in COMPARISONS {
            for gate in GATES {
                let infinite_target = comparison.compare(gate, -infinity, &[0.5, 0.25]);
                assert_eq!(infinite_target.loss, infinity);
                let infinite_negative = comparison.compare(gate, 0.5, &[infinity, 0.25]);
                assert_eq!(infinite_negative.loss, infinity);
                assert_eq!(infinite_negative.grad_negatives[0], 1.0);
            }
            let separated = comparison.compare(Gate::Softplus, infinity, &[-800.0, -900.0]);
            assert_eq!((separated.loss, separated.grad_target), (0.0, 0.0));
        }
        let tied = Comparison::Hardest.compare(Gate::Relu, 0.0, &[2.0, 2.0]);
        assert_eq!(tied.grad_negatives, [1.0, 0.0]);
        let touching = Comparison::Hardest.compare(Gate::Relu, 2.0, &[2.0]);
        assert_eq!(touching.grad_target, 0.0);
    }
}
