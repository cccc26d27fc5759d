//! What a margin takes from the target's score: one number a row, with its slopes written down.

use super::{column, least_sine, mask, with_slope};
use burn::tensor::Tensor;
use softmargin::{AngularMargin, BeyondPi, LossState, Margin, MarginGradient, RowMargins};
use std::f64::consts::PI;

/// A sine this small is one of a multiple of pi.
const VANISHING: f64 = 1e-12;

/// Everything that a margin may look at, as columns (N, 1).
pub(super) struct Target<'a> {
    /// `z_y`
    pub(super) score: Tensor<2>,
    /// The product of the norms that the geometry keeps; `None` where that is 1.
    pub(super) norm: Option<Tensor<2>>,
    /// `|x|`, where margin values follow it.
    pub(super) embedding_norm: Option<Tensor<2>>,
    /// The margin values of each row.
    pub(super) values: &'a RowMargins,
    pub(super) state: Option<&'a LossState>,
}

/// `psi(z_y) - z_y` (N, 1).
#[derive(Clone, Debug, Default)]
pub(super) struct Shift {
    /// In units of the score.
    pub(super) score: Option<Tensor<2>>,
    /// In units of the scaled score: added to the gap.
    pub(super) logit: Option<Tensor<2>>,
}

pub(super) fn shift(margin: &Margin, target: &Target<'_>) -> Shift {
    match margin {
        Margin::None => Shift::default(),
        Margin::Score { .. } => Shift { score: Some(target.value().neg()), logit: None },
        Margin::Logit { .. } => Shift { score: None, logit: Some(target.value()) },
        Margin::Angle(angle) => Shift { score: Some(angular(angle, target)), logit: None },
    }
}

/// The same where nothing is done about angles past pi.
pub(super) fn plain_shift(margin: &Margin, target: &Target<'_>) -> Shift {
    match margin {
        Margin::Angle(angle) => {
            let plain = AngularMargin { beyond_pi: BeyondPi::Plain, ..angle.clone() };
            shift(&Margin::Angle(plain), target)
        }
        _ => shift(margin, target),
    }
}

impl Target<'_> {
    /// The margin value of every row, with its slope by the norm.
    fn value(&self) -> Tensor<2> {
        self.with_norm_slope(column(&self.values.value, &self.score), self.numbers(&self.values.value_slope))
    }

    /// A column that does not depend on the target's score but moves with the norm of the embedding.
    fn with_norm_slope(&self, value: Tensor<2>, slope: Tensor<2>) -> Tensor<2> {
        match &self.embedding_norm {
            Some(norm) => with_slope(value, slope, norm.clone()),
            None => value,
        }
    }

    fn numbers(&self, values: &[f64]) -> Tensor<2> {
        column(values, &self.score)
    }
}

fn angular(angle: &AngularMargin, target: &Target<'_>) -> Tensor<2> {
    let RowMargins { value: plus, minus, .. } = target.values;
    let score = target.score.clone().detach();
    let norm = target.norm.clone().map(Tensor::detach);
    let vanished = norm.clone().map(|norm| norm.equal_elem(0.0));
    let ratio = match (norm.clone(), vanished.clone()) {
        (Some(norm), Some(vanished)) => score / norm.mask_fill(vanished, 1.0),
        _ => score,
    };
    let bent = bend(angle, &ratio, plus);
    let anneal = match (&angle.anneal, target.state) {
        (Some(anneal), Some(state)) => 1.0 / (1.0 + anneal.lambda(state.step)),
        _ => 1.0,
    };
    let bend = (bent.value - column(minus, &ratio)).mul_scalar(anneal);
    let slope = match angle.gradient {
        MarginGradient::Exact => bent.slope.mul_scalar(anneal),
        MarginGradient::StraightThrough => bent.slope.zeros_like(),
    };
    let moved = bent.plus_slope * target.numbers(&target.values.value_slope);
    let moved = moved - target.numbers(&target.values.minus_slope);
    let moved = match angle.gradient {
        MarginGradient::Exact => moved.mul_scalar(anneal),
        MarginGradient::StraightThrough => moved.zeros_like(),
    };
    let (Some(norm), Some(tracked_norm), Some(vanished)) = (norm, target.norm.clone(), vanished) else {
        return target.with_norm_slope(bend.zeros_like(), moved) + with_slope(bend, slope, target.score.clone());
    };
    // The cosine of a vanished vector is 0 by definition, whatever the vector does: psi has no slope.
    let moved = (moved * norm.clone()).mask_fill(vanished.clone(), 0.0);
    let value = norm * bend.clone();
    let norm_slope = (bend - bent.cos * slope.clone()).mask_fill(vanished.clone(), 0.0);
    let slope = slope.mask_fill(vanished, -1.0);
    let by_norm = with_slope(norm_slope.zeros_like(), norm_slope, tracked_norm);
    let by_margin_value = target.with_norm_slope(by_norm.zeros_like(), moved);
    with_slope(value, slope, target.score.clone()) + by_norm + by_margin_value
}

/// `cos(phi) - cos`, continued past pi, and its derivative by `cos`.
struct Bend {
    value: Tensor<2>,
    slope: Tensor<2>,
    /// The derivative by `plus`.
    plus_slope: Tensor<2>,
    cos: Tensor<2>,
}

fn bend(angle: &AngularMargin, ratio: &Tensor<2>, plus: &[f64]) -> Bend {
    let cos = ratio.clone().clamp(-1.0, 1.0);
    let theta = cos.clone().acos();
    let phi = theta.mul_scalar(angle.times) + column(plus, ratio);
    let plain = phi.clone().cos();
    let plain_slope = sine_ratio(angle.times, &cos, &phi, plus).mul_scalar(angle.times);
    let plain_plus = phi.clone().sin().neg();
    let each = |number: &dyn Fn(f64) -> f64| column(&plus.iter().map(|&m| number(m)).collect::<Vec<f64>>(), ratio);
    let (ones, zeros) = (cos.ones_like(), cos.zeros_like());
    let (past, past_slope, past_plus) = match angle.beyond_pi {
        BeyondPi::Plain => (plain.clone(), plain_slope.clone(), plain_plus.clone()),
        BeyondPi::Continue => {
            let turn = |m: f64| (PI - m) / angle.times;
            (cos.clone() - each(&|m| 1.0 + turn(m).cos()), ones.clone(), each(&|m| -turn(m).sin() / angle.times))
        }
        BeyondPi::Extend => (cos.clone() - each(&|m| m * m.sin()), ones.clone(), each(&|m| -(m.sin() + m * m.cos()))),
        BeyondPi::Clamp => (ones.clone().neg(), zeros.clone(), zeros.clone()),
        BeyondPi::Piecewise => {
            let k = phi.clone().div_scalar(PI).ceil().sub_scalar(1.0);
            let odd = k.clone() - k.clone().div_scalar(2.0).floor().mul_scalar(2.0);
            let sign = odd.mul_scalar(-2.0).add_scalar(1.0);
            let value = sign.clone() * plain.clone() - k.mul_scalar(2.0);
            (value, sign.clone() * plain_slope.clone(), sign * plain_plus.clone())
        }
    };
    let (beyond, below) = (phi.clone().greater_elem(PI), phi.lower_elem(0.0));
    let placed = |plain: Tensor<2>, past: Tensor<2>, before: Tensor<2>| {
        plain.mask_where(beyond.clone(), past).mask_where(below.clone(), before)
    };
    // Where the angle is left as it is, nothing is to change, not even by rounding.
    let neutral: Vec<bool> = plus.iter().map(|&m| angle.times == 1.0 && m == 0.0).collect();
    let neutral = mask(neutral, ratio);
    let value = placed(plain, past, ones) - ratio.clone();
    let slope = placed(plain_slope, past_slope, zeros.clone()).sub_scalar(1.0);
    Bend {
        value: value.mask_fill(neutral.clone(), 0.0),
        slope: slope.mask_fill(neutral, 0.0),
        plus_slope: placed(plain_plus, past_plus, zeros),
        cos,
    }
}

/// `sin(phi) / sin(theta)`: the divisor floored where it alone vanishes, and the quotient of the derivatives where both do,
/// at an end of the range of theta.
fn sine_ratio(times: f64, cos: &Tensor<2>, phi: &Tensor<2>, plus: &[f64]) -> Tensor<2> {
    let least = least_sine(cos.dtype());
    let sine = (cos.clone().neg().add_scalar(1.0) * cos.clone().add_scalar(1.0)).sqrt();
    let near = sine.clone().lower_elem(least);
    let positive = cos.clone().greater_elem(0.0);
    let mut ratio = phi.clone().sin() / sine.clamp_min(least);
    for (end, side) in [(0.0, positive.clone()), (PI, positive.bool_not())] {
        let phi: Vec<f64> = plus.iter().map(|m| times * end + m).collect();
        let vanishes: Vec<bool> = phi.iter().map(|phi| phi.sin().abs() < VANISHING * phi.max(1.0)).collect();
        if vanishes.contains(&true) {
            let quotient: Vec<f64> = phi.iter().map(|phi| times * phi.cos() / end.cos()).collect();
            let here = near.clone().bool_and(side).bool_and(mask(vanishes, cos));
            ratio = ratio.mask_where(here, column(&quotient, cos));
        }
    }
    ratio
}
