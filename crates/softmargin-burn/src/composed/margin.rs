//! What a margin takes from the target's score: one number a row, with its slopes written down.

use super::{column, least_sine, mask, not_composed, with_slope};
use burn::tensor::Tensor;
use softmargin::{Amount, AngularMargin, BeyondPi, LossState, Margin, MarginGradient, Radians, Result};
use std::f64::consts::PI;

/// A sine this small is one of a multiple of pi.
const VANISHING: f64 = 1e-12;

/// Everything that a margin may look at, as columns (N, 1).
pub(super) struct Target<'a> {
    /// `z_y`
    pub(super) score: Tensor<2>,
    /// The product of the norms that the geometry keeps; `None` where that is 1.
    pub(super) norm: Option<Tensor<2>>,
    /// The class of each row; 0 for ignored ones.
    pub(super) classes: &'a [usize],
    /// The amount of each row, where amounts come with the batch; 0 for ignored rows.
    pub(super) amounts: Option<&'a [f64]>,
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

pub(super) fn shift(margin: &Margin, target: &Target<'_>) -> Result<Shift> {
    match margin {
        Margin::None => Ok(Shift::default()),
        Margin::Score { amount } => {
            let score = column(&target.each(amount, |m| *m)?, &target.score).neg();
            Ok(Shift { score: Some(score), logit: None })
        }
        Margin::Logit { amount } => {
            let logit = column(&target.each(amount, |m| *m)?, &target.score);
            Ok(Shift { score: None, logit: Some(logit) })
        }
        Margin::Angle(angle) => Ok(Shift { score: Some(angular(angle, target)?), logit: None }),
    }
}

impl Target<'_> {
    /// The amount of every row.
    fn each<T>(&self, amount: &Amount<T>, number: impl Fn(&T) -> f64) -> Result<Vec<f64>> {
        match amount {
            Amount::One(m) => Ok(vec![number(m); self.classes.len()]),
            Amount::PerClass(all) => Ok(self.classes.iter().map(|&class| number(&all[class])).collect()),
            Amount::PerSample => Ok(self.amounts.unwrap_or_default().to_vec()),
            _ => Err(not_composed("margin.amount", "an amount that is made for each batch")),
        }
    }
}

fn angular(angle: &AngularMargin, target: &Target<'_>) -> Result<Tensor<2>> {
    let plus = target.each(&angle.plus, |m: &Radians| m.0)?;
    let minus = target.each(&angle.minus, |m| *m)?;
    let score = target.score.clone().detach();
    let norm = target.norm.clone().map(Tensor::detach);
    let vanished = norm.clone().map(|norm| norm.equal_elem(0.0));
    let ratio = match (norm.clone(), vanished.clone()) {
        (Some(norm), Some(vanished)) => score / norm.mask_fill(vanished, 1.0),
        _ => score,
    };
    let bent = bend(angle, &ratio, &plus)?;
    let anneal = match (&angle.anneal, target.state) {
        (Some(anneal), Some(state)) => 1.0 / (1.0 + anneal.lambda(state.step)),
        _ => 1.0,
    };
    let bend = (bent.value - column(&minus, &ratio)).mul_scalar(anneal);
    let slope = match angle.gradient {
        MarginGradient::Exact => bent.slope.mul_scalar(anneal),
        MarginGradient::StraightThrough => bent.slope.zeros_like(),
    };
    let (Some(norm), Some(tracked_norm), Some(vanished)) = (norm, target.norm.clone(), vanished) else {
        return Ok(with_slope(bend, slope, target.score.clone()));
    };
    // The cosine of a vanished vector is 0 by definition, whatever the vector does: psi has no slope.
    let value = norm * bend.clone();
    let norm_slope = (bend - bent.cos * slope.clone()).mask_fill(vanished.clone(), 0.0);
    let slope = slope.mask_fill(vanished, -1.0);
    Ok(with_slope(value, slope, target.score.clone()) + with_slope(norm_slope.zeros_like(), norm_slope, tracked_norm))
}

/// `cos(phi) - cos`, continued past pi, and its derivative by `cos`.
struct Bend {
    value: Tensor<2>,
    slope: Tensor<2>,
    cos: Tensor<2>,
}

fn bend(angle: &AngularMargin, ratio: &Tensor<2>, plus: &[f64]) -> Result<Bend> {
    let cos = ratio.clone().clamp(-1.0, 1.0);
    let theta = cos.clone().acos();
    let phi = theta.mul_scalar(angle.times) + column(plus, ratio);
    let plain = phi.clone().cos();
    let plain_slope = sine_ratio(angle.times, &cos, &phi, plus).mul_scalar(angle.times);
    let beyond = phi.clone().greater_elem(PI);
    let each = |number: &dyn Fn(f64) -> f64| column(&plus.iter().map(|&m| number(m)).collect::<Vec<f64>>(), ratio);
    let ones = cos.ones_like();
    let (past, past_slope) = match angle.beyond_pi {
        BeyondPi::Plain => (plain.clone(), plain_slope.clone()),
        BeyondPi::Continue => (cos.clone() - each(&|m| 1.0 + ((PI - m) / angle.times).cos()), ones),
        BeyondPi::Extend => (cos.clone() - each(&|m| m * m.sin()), ones),
        BeyondPi::Clamp => (ones.clone().neg(), ones.zeros_like()),
        BeyondPi::Piecewise => {
            let k = phi.div_scalar(PI).ceil().sub_scalar(1.0);
            let odd = k.clone() - k.clone().div_scalar(2.0).floor().mul_scalar(2.0);
            let sign = odd.mul_scalar(-2.0).add_scalar(1.0);
            (sign.clone() * plain.clone() - k.mul_scalar(2.0), sign * plain_slope.clone())
        }
    };
    let value = plain.mask_where(beyond.clone(), past) - ratio.clone();
    let slope = plain_slope.mask_where(beyond, past_slope).sub_scalar(1.0);
    // Where the angle is left as it is, nothing is to change, not even by rounding.
    let neutral: Vec<bool> = plus.iter().map(|&m| angle.times == 1.0 && m == 0.0).collect();
    if neutral.contains(&true) {
        let neutral = mask(neutral, ratio);
        return Ok(Bend { value: value.mask_fill(neutral.clone(), 0.0), slope: slope.mask_fill(neutral, 0.0), cos });
    }
    Ok(Bend { value, slope, cos })
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
