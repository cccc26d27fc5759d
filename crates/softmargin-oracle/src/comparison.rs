//! Comparison and gate: the target's `u` against the scaled scores `v_j` of its negatives.

use crate::smooth::{log_sum_exp, logistic, maximum, relu, relu_derivative, softmax, softplus};

/// How the target is set against the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `sum_j gate(v_j - u)`.
    EachPair,
    /// `gate(max_j v_j - u)`, the lowest index on ties.
    Hardest,
    /// `gate(LSE_j v_j - u)`.
    LogSumExp,
    /// `gate(-u) + sum_j gate(v_j)`.
    AgainstZero,
}

/// What bends a gap.
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
    /// The bent gap.
    pub fn value(self, t: f64) -> f64 {
        match self {
            Gate::Relu => relu(t),
            Gate::Softplus => softplus(t),
            Gate::Identity => t,
        }
    }

    /// Its derivative.
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
pub struct Compared {
    /// The loss.
    pub loss: f64,
    /// By `u`.
    pub by_target: f64,
    /// By each `v_j`.
    pub by_negative: Vec<f64>,
}

impl Comparison {
    /// Whether adding the same number to `u` and every `v_j` changes nothing.
    pub fn only_gaps_matter(self) -> bool {
        self != Comparison::AgainstZero
    }

    /// Sets `u` against the negatives. Without negatives it is 0, but for the target's own term of
    /// [`Comparison::AgainstZero`].
    pub fn compare(self, gate: Gate, u: f64, negatives: &[f64]) -> Compared {
        if self == Comparison::AgainstZero {
            return against_zero(gate, u, negatives);
        }
        if negatives.is_empty() {
            return Compared { loss: 0.0, by_target: 0.0, by_negative: Vec::new() };
        }
        match self {
            Comparison::EachPair => each_pair(gate, u, negatives),
            Comparison::Hardest => {
                let (top, at) = maximum(negatives);
                let mut share = vec![0.0; negatives.len()];
                share[at] = 1.0;
                of_one_gap(gate, top - u, &share)
            }
            _ => of_one_gap(gate, log_sum_exp(negatives) - u, &softmax(negatives)),
        }
    }
}

/// `gate(t)`, where `t` depends on the negatives by `share` and on `u` by -1.
fn of_one_gap(gate: Gate, t: f64, share: &[f64]) -> Compared {
    let slope = gate.derivative(t);
    Compared { loss: gate.value(t), by_target: -slope, by_negative: share.iter().map(|q| slope * q).collect() }
}

fn each_pair(gate: Gate, u: f64, negatives: &[f64]) -> Compared {
    let by_negative: Vec<f64> = negatives.iter().map(|v| gate.derivative(v - u)).collect();
    Compared {
        loss: negatives.iter().map(|v| gate.value(v - u)).sum(),
        by_target: -by_negative.iter().sum::<f64>(),
        by_negative,
    }
}

fn against_zero(gate: Gate, u: f64, negatives: &[f64]) -> Compared {
    Compared {
        loss: gate.value(-u) + negatives.iter().map(|v| gate.value(*v)).sum::<f64>(),
        by_target: -gate.derivative(-u),
        by_negative: negatives.iter().map(|v| gate.derivative(*v)).collect(),
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
    fn every_pairing_has_its_derivative() {
        for comparison in COMPARISONS {
            for gate in GATES {
                for v in [[0.4, 1.3, -0.2, 0.9], [3.0, 1.3, -0.2, 0.9]] {
                    let at = comparison.compare(gate, v[0], &v[1..]);
                    let f = |v: &[f64]| comparison.compare(gate, v[0], &v[1..]).loss;
                    let d = five_point_difference(f, &v, 1e-3);
                    assert!((d[0] - at.by_target).abs() < 1e-10, "{comparison:?} {gate:?}");
                    for j in 0..3 {
                        assert!((d[j + 1] - at.by_negative[j]).abs() < 1e-10);
                    }
                }
            }
        }
    }

    #[test]
    fn the_explosion_of_weston_watkins_and_the_bounds() {
        let negatives = [1.0, 0.5, 0.0, -0.5];
        let u = -2.0;
        let relu = |c: Comparison| c.compare(Gate::Relu, u, &negatives);
        assert_eq!(relu(Comparison::EachPair).by_target, -4.0);
        assert_eq!(relu(Comparison::Hardest).by_negative, [1.0, 0.0, 0.0, 0.0]);
        let total: f64 = relu(Comparison::LogSumExp).by_negative.iter().sum();
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
    fn infinite_arguments_give_the_limits() {
        let infinity = f64::INFINITY;
        for comparison in COMPARISONS {
            for gate in GATES {
                let lost = comparison.compare(gate, -infinity, &[0.5, 0.25]);
                assert_eq!(lost.loss, infinity);
                let beaten = comparison.compare(gate, 0.5, &[infinity, 0.25]);
                assert_eq!(beaten.loss, infinity);
                assert_eq!(beaten.by_negative[0], 1.0);
            }
            let won = comparison.compare(Gate::Softplus, infinity, &[-800.0, -900.0]);
            assert_eq!((won.loss, won.by_target), (0.0, 0.0));
        }
        let tied = Comparison::Hardest.compare(Gate::Relu, 0.0, &[2.0, 2.0]);
        assert_eq!(tied.by_negative, [1.0, 0.0]);
        let touching = Comparison::Hardest.compare(Gate::Relu, 2.0, &[2.0]);
        assert_eq!(touching.by_target, 0.0);
    }
}
