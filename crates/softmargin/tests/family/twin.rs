//! The same loss and batch for the naive twin, and the judgment of an answer by what is wanted.

use crate::gauge::Gauge;
use crate::problem::{Aim, Answer, Problem};
use crate::tolerances::{Conditions, Precision};
use softmargin::{
    BeyondPi, Comparison, Gate, Geometry, LossSpec, Margin, MarginGradient, MarginValue, Reduction, SmoothGate,
};
use softmargin::{LossState, Negatives, NormMargin, Regularizer};
use softmargin_oracle as oracle;

/// Exact numbers, or nearly: from a file, or from the twin. `None` is not compared.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) rows: Vec<f64>,
    pub(crate) total: f64,
    pub(crate) nothing_kept: bool,
    /// Row after row.
    pub(crate) scores: Option<Vec<f64>>,
    pub(crate) scale: Option<f64>,
    pub(crate) embedding_norms: Option<Vec<f64>>,
    pub(crate) weight_norms: Option<Vec<f64>>,
    pub(crate) radius: Option<f64>,
}

/// A loss as the twin describes it.
pub(crate) fn describe(spec: &LossSpec, problem: &Problem, reduction: Reduction, least_sine: f64) -> oracle::Oracle {
    let parameter = problem.scale.unwrap_or_else(|| spec.scale.initial());
    let (label_smoothing, z_loss) = match spec.comparison {
        Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } } => (label_smoothing, z_loss),
        _ => (0.0, 0.0),
    };
    // The twin wants soft targets that are smoothed already, but rows are weighed by what the targets were before.
    let soft = matches!(problem.aim, Aim::Soft(_));
    let label_smoothing = if soft { 0.0 } else { label_smoothing };
    oracle::Oracle {
        scale: spec.scale.clamp(parameter),
        temperature: spec.geometry.temperature(),
        geometry: match spec.geometry {
            Geometry::InnerProduct { .. } => oracle::Geometry::InnerProduct,
            Geometry::UnitWeights => oracle::Geometry::UnitWeights,
            Geometry::Cosine => oracle::Geometry::Cosine,
        },
        margin: margin(spec, problem, least_sine),
        negatives: negatives(spec.negatives, least_sine),
        comparison: match spec.comparison {
            Comparison::EachPair { .. } => oracle::Comparison::EachPair,
            Comparison::Hardest { .. } => oracle::Comparison::Hardest,
            Comparison::LogSumExp { .. } => oracle::Comparison::LogSumExp,
            Comparison::AgainstZero { .. } => oracle::Comparison::AgainstZero,
        },
        gate: match spec.comparison.gate() {
            Gate::Relu => oracle::Gate::Relu,
            Gate::Softplus => oracle::Gate::Softplus,
            Gate::Identity => oracle::Gate::Identity,
        },
        label_smoothing,
        z_loss,
        class_weights: if soft { None } else { spec.class_weights.clone() },
        sample_weights: if soft { Some(soft_row_weights(spec, problem)) } else { problem.sample_weights.clone() },
        ignored: spec.ignored_label,
        regularizer: match spec.regularizer {
            Some(Regularizer::FeatureIncay { weight }) => oracle::Regularizer::FeatureIncay { weight },
            Some(Regularizer::Ring { weight, radius }) => {
                oracle::Regularizer::Ring { weight, radius: problem.radius.unwrap_or(radius) }
            }
            Some(Regularizer::Magnitude { weight, low, high }) => oracle::Regularizer::Magnitude { weight, low, high },
            _ => oracle::Regularizer::None,
        },
        reduction: match reduction {
            Reduction::None => oracle::Reduction::None,
            Reduction::Sum => oracle::Reduction::Sum,
            Reduction::Mean | Reduction::MeanOrNan => oracle::Reduction::Mean,
        },
        nan_when_nothing_kept: reduction == Reduction::MeanOrNan,
        sub_centers: spec.sub_centers,
        state: problem.state.as_ref().map_or_else(oracle::State::initial, memory),
    }
}

/// A state as the twin has it.
pub(crate) fn memory(state: &LossState) -> oracle::State {
    oracle::State {
        step: state.step,
        seed: state.seed,
        target_mean: state.target_mean,
        norm_mean: state.norm_mean,
        norm_std: state.norm_std,
    }
}

fn negatives(negatives: Negatives, sin_floor: f64) -> oracle::Negatives {
    match negatives {
        Negatives::Misclassified { factor } => oracle::Negatives::Misclassified { factor },
        Negatives::Curricular { momentum } => oracle::Negatives::Curricular { momentum },
        Negatives::DividedAngle { by } => oracle::Negatives::DividedAngle { by, sin_floor },
        _ => oracle::Negatives::Plain,
    }
}

/// A margin value, its numbers in the twin's units.
fn margin_value<T: Copy + Into<f64>>(value: &MarginValue<T>, problem: &Problem) -> oracle::MarginValue {
    match value {
        MarginValue::One(m) => oracle::MarginValue::One((*m).into()),
        MarginValue::PerClass(all) => oracle::MarginValue::PerClass(all.iter().map(|&m| m.into()).collect()),
        MarginValue::Drawn { mean, std } => oracle::MarginValue::Drawn { mean: (*mean).into(), std: (*std).into() },
        MarginValue::ByFrequency { largest, class_counts } => {
            oracle::MarginValue::ByFrequency { largest: (*largest).into(), class_counts: class_counts.clone() }
        }
        MarginValue::FromNorm(NormMargin::Linear { low, high, norm_low, norm_high }) => {
            let (low, high, norm_low, norm_high) = (*low, *high, *norm_low, *norm_high);
            oracle::MarginValue::FromNorm(oracle::NormMargin::Linear { low, high, norm_low, norm_high })
        }
        MarginValue::FromNorm(NormMargin::Standardized { value, concentration, momentum }) => {
            let (value, concentration, momentum) = (*value, *concentration, *momentum);
            oracle::MarginValue::FromNorm(oracle::NormMargin::Standardized { value, concentration, momentum })
        }
        _ => oracle::MarginValue::PerSample(problem.margins.clone().expect("margins come with the batch")),
    }
}

/// `sum_k P_k weight_k`, times the row's own weight.
fn soft_row_weights(spec: &LossSpec, problem: &Problem) -> Vec<f64> {
    let Aim::Soft(targets) = &problem.aim else { return Vec::new() };
    let of_class = |class: usize| spec.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
    let of_row = |row: usize| problem.sample_weights.as_ref().map_or(1.0, |weights| weights[row]);
    let weigh = |row: usize| targets.row(row).iter().enumerate().map(|(k, p)| p * of_class(k)).sum::<f64>();
    (0..problem.rows()).map(|row| weigh(row) * of_row(row)).collect()
}

fn margin(spec: &LossSpec, problem: &Problem, least_sine: f64) -> oracle::Margin {
    match &spec.margin {
        Margin::None => oracle::Margin::None,
        Margin::Score { value: m } => oracle::Margin::Score(margin_value(m, problem)),
        Margin::Logit { value: m } => oracle::Margin::Logit(margin_value(m, problem)),
        Margin::Angle(angle) => oracle::Margin::Angle(oracle::Angle {
            times: angle.times,
            plus: margin_value(&angle.plus, problem),
            minus: margin_value(&angle.minus, problem),
            beyond_pi: match angle.beyond_pi {
                BeyondPi::Continue => oracle::BeyondPi::Continue,
                BeyondPi::Extend => oracle::BeyondPi::Extend,
                BeyondPi::Plain => oracle::BeyondPi::Plain,
                BeyondPi::Piecewise => oracle::BeyondPi::Piecewise,
                BeyondPi::Clamp => oracle::BeyondPi::Clamp,
            },
            gradient: match angle.gradient {
                MarginGradient::Exact => oracle::MarginGradient::Exact,
                MarginGradient::StraightThrough => oracle::MarginGradient::StraightThrough,
            },
            anneal_lambda: angle.anneal.map(|anneal| lambda(&anneal, problem)),
            sin_floor: least_sine,
        }),
    }
}

/// The schedule, written out anew: `max(min, initial (1 + rate step)^-power)`.
fn lambda(anneal: &softmargin::Anneal, problem: &Problem) -> f64 {
    let step = problem.state.as_ref().map_or(0, |state| state.step) as f64;
    let falling = anneal.initial / (anneal.power * (anneal.rate * step).ln_1p()).exp();
    falling.max(anneal.min)
}

/// A batch as the twin takes it.
pub(crate) fn batch(spec: &LossSpec, problem: &Problem) -> oracle::Batch {
    let classes = problem.classes();
    let targets = match &problem.aim {
        Aim::Labels(labels) => oracle::Targets::Labels(labels.clone()),
        Aim::Soft(targets) => {
            let smoothing = match spec.comparison {
                Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, .. } } => label_smoothing,
                _ => 0.0,
            };
            // Smoothing goes to the classes that take part.
            let smoothed = |((row, class), p): ((usize, usize), &f64)| {
                let present = problem.scores.row(row).iter().filter(|z| **z > f64::NEG_INFINITY).count();
                let takes_part = problem.scores[[row, class]] > f64::NEG_INFINITY;
                (1.0 - smoothing) * p + if takes_part { smoothing / present as f64 } else { 0.0 }
            };
            oracle::Targets::Soft(targets.indexed_iter().map(smoothed).collect())
        }
    };
    oracle::Batch {
        scores: problem.scores.iter().copied().collect(),
        classes,
        targets,
        embedding_norms: problem.embedding_norms.clone(),
        weight_norms: problem.weight_norms.clone(),
    }
}

/// What the twin says.
pub(crate) fn want(spec: &LossSpec, problem: &Problem, reduction: Reduction, least_sine: f64) -> Want {
    let description = describe(spec, problem, reduction, least_sine);
    let outcome = description.evaluate(&batch(spec, problem)).expect("the twin takes it too");
    want_of(spec, problem, outcome)
}

pub(crate) fn want_of(spec: &LossSpec, problem: &Problem, outcome: oracle::loss::Outcome) -> Want {
    Want {
        rows: outcome.row_losses,
        total: outcome.loss,
        nothing_kept: outcome.nothing_kept,
        scores: Some(outcome.grad_scores),
        scale: Some(held_inside(spec, problem, outcome.grad_scale)),
        embedding_norms: Some(outcome.grad_embedding_norms),
        weight_norms: Some(outcome.grad_weight_norms),
        radius: Some(outcome.grad_radius),
    }
}

/// A learned scale at a bound has no gradient that would carry it out (a descent goes against the gradient).
fn held_inside(spec: &LossSpec, problem: &Problem, slope: f64) -> f64 {
    let softmargin::Scale::Learned { initial, min, max } = spec.scale else { return slope };
    let parameter = problem.scale.unwrap_or(initial);
    let leaves = if slope > 0.0 { parameter <= min } else { parameter >= max };
    if leaves { 0.0 } else { slope }
}

/// Compares every number of an answer.
pub(crate) fn judge(gauge: &mut Gauge, place: &str, conditions: &Conditions<'_>, answer: &Answer, want: &Want) {
    let allowed = conditions.allowed(want);
    let precision = match conditions.precision {
        Precision::F32 => "f32",
        Precision::F64 => "f64",
    };
    if (answer.valid_rows == 0) != want.nothing_kept {
        gauge.fail(format!("{place}: valid rows: {}", answer.valid_rows));
    }
    let mut compare = |what: &str, got: &[f64], want: &[f64], allowed: &[f64]| {
        assert_eq!(got.len(), want.len(), "{place}: {what}");
        for (k, ((&got, &want), &allowed)) in got.iter().zip(want).zip(allowed).enumerate() {
            // Beyond the range of a type stands infinity, or its largest number.
            let largest = f64::from(f32::MAX);
            let beyond = conditions.precision == Precision::F32 && (want as f32).is_infinite();
            let saturated = beyond && got.abs() >= largest && got.signum() == want.signum();
            let got = if saturated { want } else { got };
            gauge.check(&format!("{what} {precision}"), || format!("{place} [{k}]"), got, want, allowed);
        }
    };
    compare("row losses", &answer.rows, &want.rows, &allowed.rows);
    compare("loss", &[answer.total], &[want.total], &[allowed.total]);
    if let Some(want) = &want.scores {
        let got: Vec<f64> = answer.scores.iter().copied().collect();
        compare("gradient by scores", &got, want, &allowed.scores);
    }
    if let Some(want) = want.scale {
        compare("gradient by scale", &[answer.scale], &[want], &[allowed.scale]);
    }
    if let (Some(want), Some(got)) = (&want.embedding_norms, &answer.embedding_norms) {
        compare("gradient by embedding norms", got, want, &allowed.embedding_norms);
    }
    if let (Some(want), Some(got)) = (&want.weight_norms, &answer.weight_norms) {
        compare("gradient by weight norms", got, want, &allowed.weight_norms);
    }
    if let Some(want) = want.radius {
        compare("gradient by radius", &[answer.radius], &[want], &[allowed.radius]);
    }
}
