//! The two sweeps over the scores of some rows: accumulators over the negatives, and derivatives.
//!
//! Tensors have the shape (n, C), or (n, 1) if they have one value per row. Soft targets `P` are computed like hard
//! ones, with the best class `b` of each row in the role of the target, because
//!
//! ```text
//! LSE(s z) - s sum_k P'_k z_k = L_b + (1 - eps) s (z_b - sum_k P_k z_k),    P' = (1 - eps) P + eps / C
//! ```
//!
//! where `L_b`, the loss of class `b`, includes label smoothing and the z-loss.

use super::negatives::transformed;
use super::{class_numbers, column, first_maximum, least_number};
use burn::tensor::activation::{relu, sigmoid, softplus_with_threshold};
use burn::tensor::{Bool, Int, Tensor};
use softmargin::rows::{
    Accumulators, ExpSums, Exponentials, GateSums, Present, RowOutcome, RowPlan, SweepKind, Target,
};
use softmargin::{Gate, Real, Reduction, Regularizer};

/// The gap above which `softplus(t)` is `t` in every precision.
const LARGE_GAP: f64 = 40.0;

/// Consecutive rows of a batch, on the host.
pub(super) struct Rows<'a, F> {
    pub(super) plan: &'a RowPlan,
    /// The index of the first of these rows in the batch.
    pub(super) first: usize,
    /// The target of each of these rows.
    pub(super) targets: &'a [Target<F>],
}

/// The result of the first sweep.
pub(super) struct Sweep {
    /// True for a class whose score is minus infinity, and for all classes of an ignored row except NaN scores.
    pub(super) masked: Tensor<2, Bool>,
    /// True for the class of the target.
    own: Tensor<2, Bool>,
    /// The `e_j` of each negative, see [`softmargin::rows`]; 0 elsewhere.
    written: Tensor<2>,
    /// The derivatives of the transformed negatives.
    transform: Option<Tensor<2>>,
    soft: Option<Tensor<2>>,
    /// (n, [`COLUMNS`]): the values per row that are read back.
    pub(super) columns: Tensor<2>,
}

/// The number of columns: NaN, negatives, four accumulators, correct, masked mass, expected score below the best.
pub(super) const COLUMNS: usize = 9;

impl<F: Real> Rows<'_, F> {
    /// Runs the first sweep over detached scores. `classes` (n, 1) are the targets, `soft` (n, C) the distributions.
    pub(super) fn first_sweep(&self, scores: &Tensor<2>, classes: Tensor<2, Int>, soft: Option<Tensor<2>>) -> Sweep {
        let own = class_numbers(scores).equal(classes.clone().expand(scores.dims()));
        let nan = scores.clone().is_nan();
        let mut masked = scores.clone().lower_elem(least_number(scores));
        let weights: Vec<f64> = (0..self.targets.len()).map(|row| self.plan.row_weight(self.first + row)).collect();
        if weights.contains(&0.0) {
            // An infinity of an ignored row times its weight of 0 would be NaN. A NaN of its own remains in the loss.
            let ignored = column(weights, scores).equal_elem(0.0).expand(scores.dims());
            masked = masked.bool_or(ignored.bool_and(nan.clone().bool_not()));
        }
        let absent = own.clone().bool_or(masked.clone());
        let target = scores.clone().gather(1, classes.clone());
        let finite = scores.clone().mask_fill(masked.clone(), 0.0);
        let (compared, transform) = transformed(finite.clone(), self.targets);
        let (written, sums) = self.accumulate(compared, &target, &absent);
        let flag = |flag: Tensor<2, Bool>| target.zeros_like().mask_fill(flag, 1.0);
        let is_incay = matches!(self.plan.loss().spec().regularizer, Some(Regularizer::FeatureIncay { .. }));
        let correct = is_incay.then(|| flag(first_maximum(scores.clone()).equal(classes)));
        let of_soft = soft.as_ref().map(|soft| {
            let impossible = masked.clone().bool_and(soft.clone().greater_elem(0.0)).any_dim(1);
            let below = (target.clone() - finite) * soft.clone();
            [flag(impossible), below.mask_fill(masked.clone(), 0.0).sum_dim(1)]
        });
        let negatives = written.ones_like().mask_fill(absent, 0.0).sum_dim(1);
        let mut columns = vec![flag(nan.any_dim(1)), negatives];
        columns.extend(sums);
        columns.push(correct.unwrap_or_else(|| target.zeros_like()));
        columns.extend(of_soft.unwrap_or_else(|| [target.zeros_like(), target.zeros_like()]));
        Sweep { masked, own, written, transform, soft, columns: Tensor::cat(columns, 1) }
    }

    /// Returns the `e_j` of each negative, and the accumulators.
    fn accumulate(
        &self,
        compared: Tensor<2>,
        target: &Tensor<2>,
        absent: &Tensor<2, Bool>,
    ) -> (Tensor<2>, [Tensor<2>; 4]) {
        let only = |values: Tensor<2>| values.mask_fill(absent.clone(), 0.0);
        let largest = || compared.clone().mask_fill(absent.clone(), least_number(target));
        let nothing = || target.zeros_like();
        let scale = self.plan.scale();
        match SweepKind::of(self.plan.loss().spec().comparison) {
            SweepKind::Exponentials => {
                let reference = largest().max_dim(1);
                let above = only(compared - reference.clone());
                let exponents = above.clone().mul_scalar(scale);
                let written = only(exponents.clone().exp());
                let weighted = (written.clone() * exponents).sum_dim(1);
                let above = if self.label_smoothing() > 0.0 { above.sum_dim(1) } else { nothing() };
                (written.clone(), [reference, written.sum_dim(1), weighted, above])
            }
            SweepKind::Gated { gate, against_zero } => {
                let gaps = if against_zero {
                    compared
                } else {
                    // The difference of the scores is computed first: it is exact if they are close.
                    compared - target.clone() - column(self.targets.iter().map(Target::shift).collect(), target)
                };
                let gaps = gaps.mul_scalar(scale);
                let (value, slope) = gated(gate, gaps.clone());
                let weighted = only(slope.clone() * gaps).sum_dim(1);
                let written = only(slope);
                (written.clone(), [only(value).sum_dim(1), written.sum_dim(1), weighted, nothing()])
            }
            SweepKind::Largest => {
                let negatives = largest();
                let first = first_maximum(negatives.clone()).expand(negatives.dims());
                let written = negatives.zeros_like().mask_fill(class_numbers(&negatives).equal(first), 1.0);
                (only(written), [negatives.max_dim(1), nothing(), nothing(), nothing()])
            }
        }
    }

    fn label_smoothing(&self) -> f64 {
        self.plan.loss().spec().comparison.label_smoothing()
    }

    /// Computes the outcome of one of these rows. `mass` is the sum of its distribution.
    pub(super) fn outcome(&self, index: usize, columns: [f64; COLUMNS], mass: Option<f64>) -> RowOutcome {
        let [nan, negatives, a, b, c, d, correct, masked_mass, below] = columns;
        let (row, target, loss) = (self.first + index, &self.targets[index], self.plan.loss());
        let kind = SweepKind::of(loss.spec().comparison);
        let found = match kind {
            SweepKind::Exponentials => Accumulators::Exponentials(Exponentials {
                reference: a,
                sums: ExpSums { exp: b, weighted: c },
                present: Present { above_reference: d, count: negatives as usize },
            }),
            SweepKind::Gated { .. } => Accumulators::Gated(GateSums { value: a, derivative: b, weighted: c }),
            SweepKind::Largest => Accumulators::Largest(a),
        };
        let against_zero = matches!(kind, SweepKind::Gated { against_zero: true, .. });
        let compares = negatives > 0.0 || (against_zero && loss.num_classes() > 1);
        let mut outcome = self.plan.outcome(row, target, compares.then_some(&found), correct > 0.0);
        if let (Some(mass), true) = (mass, compares) {
            let lead = (1.0 - self.label_smoothing()) * (below + (1.0 - mass) * target.score);
            outcome.loss += self.plan.scale() * lead;
            outcome.scale += lead;
        }
        if masked_mass > 0.0 && self.plan.row_weight(row) > 0.0 {
            outcome.loss = f64::INFINITY;
        }
        if nan > 0.0 {
            (outcome.loss, outcome.target, outcome.negatives) = (f64::NAN, f64::NAN, f64::NAN);
        }
        outcome
    }

    /// Runs the second sweep: returns the derivatives with respect to the scores, with the factor of each row.
    pub(super) fn second_sweep(&self, sweep: Sweep, outcomes: &[RowOutcome], reduction: Reduction) -> Tensor<2> {
        let Sweep { masked, own, written, transform, soft, .. } = sweep;
        let scale = self.plan.scale();
        let each = |of: &dyn Fn(&RowOutcome) -> f64| {
            let rows = outcomes.iter().zip(self.first..);
            let factor = |row| if self.plan.row_weight(row) > 0.0 { self.plan.row_factor(row, reduction) } else { 0.0 };
            column(rows.map(|(outcome, row)| factor(row) * of(outcome)).collect(), &written)
        };
        let mut gradient = written.clone() * each(&|outcome| scale * outcome.negatives);
        if outcomes.iter().any(|outcome| outcome.share != 0.0) {
            gradient = (gradient - each(&|outcome| scale * outcome.share)).mask_fill(masked.clone(), 0.0);
        }
        if let Some(transform) = transform {
            gradient = gradient * transform;
        }
        let target = each(&|outcome| outcome.target).expand(written.dims());
        gradient = gradient.mask_where(own.clone(), target);
        if let Some(soft) = soft {
            let lead = written.zeros_like().mask_fill(own, 1.0) - soft;
            let lead = lead * each(&|_| (1.0 - self.label_smoothing()) * scale);
            gradient = gradient + lead.mask_fill(masked, 0.0);
        }
        gradient
    }
}

/// Computes a gate and its derivative at each gap.
fn gated(gate: Gate, gaps: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    match gate {
        Gate::Relu => (relu(gaps.clone()), gaps.zeros_like().mask_fill(gaps.greater_elem(0.0), 1.0)),
        Gate::Softplus => (softplus_with_threshold(gaps.clone(), 1.0, LARGE_GAP), sigmoid(gaps)),
        Gate::Identity => (gaps.clone(), gaps.ones_like()),
    }
}
