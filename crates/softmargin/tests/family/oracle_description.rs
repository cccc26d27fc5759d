//! Translation of losses and batches for the oracle, and comparison of an evaluation with expected values.

use crate::error_report::ErrorReport;
use crate::problem::{Evaluation, Problem, ProblemTargets};
use crate::tolerances::{Conditions, Precision};
use softmargin::{
    BeyondPi, Comparison, Gate, Geometry, LossSpec, Margin, MarginGradient, MarginValue, Reduction, SmoothGate,
};
use softmargin::{LossState, Negatives, NormMargin, Regularizer};
use softmargin_oracle as oracle;

/// Expected values from a golden file or from the oracle; `None` is not compared.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) rows: Vec<f64>,
    pub(crate) total: f64,
    pub(crate) no_valid_rows: bool,
    /// Row-major.
    pub(crate) scores: Option<Vec<f64>>,
    pub(crate) scale: Option<f64>,
    pub(crate) embedding_norms: Option<Vec<f64>>,
    pub(crate) weight_norms: Option<Vec<f64>>,
    pub(crate) radius: Option<f64>,
}

/// Translates a loss for the oracle.
pub(crate) fn describe(spec: &LossSpec, problem: &Problem, reduction: Reduction, least_sine: f64) -> oracle::Oracle {
    let parameter = problem.scale.unwrap_or_else(|| spec.scale.initial());
    let (label_smoothing, z_loss) = match spec.comparison {
        Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } } => (label_smoothing, z_loss),
        _ => (0.0, 0.0),
    };
    // The oracle takes smoothed soft targets, but row weights follow from the targets before smoothing.
    let soft = matches!(problem.targets, ProblemTargets::Soft(_));
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
        nan_without_valid_rows: reduction == Reduction::MeanOrNan,
        sub_centers: spec.sub_centers,
        state: problem.state.as_ref().map_or_else(oracle::State::initial, oracle_state),
    }
}

/// Translates a state for the oracle.
pub(crate) fn oracle_state(state: &LossState) -> oracle::State {
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

/// Translates a margin value for the oracle.
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

/// Returns `sum_k P_k weight_k` times the sample weight, for each row.
fn soft_row_weights(spec: &LossSpec, problem: &Problem) -> Vec<f64> {
    let ProblemTargets::Soft(targets) = &problem.targets else { return Vec::new() };
    let of_class = |class: usize| spec.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
    let of_row = |row: usize| problem.sample_weights.as_ref().map_or(1.0, |weights| weights[row]);
    let class_weight = |row: usize| targets.row(row).iter().enumerate().map(|(k, p)| p * of_class(k)).sum::<f64>();
    (0..problem.rows()).map(|row| class_weight(row) * of_row(row)).collect()
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

/// Returns the annealing weight `max(min, initial (1 + rate step)^-power)`, independently of the core.
fn lambda(anneal: &softmargin::Anneal, problem: &Problem) -> f64 {
    let step = problem.state.as_ref().map_or(0, |state| state.step) as f64;
    let falling = anneal.initial / (anneal.power * (anneal.rate * step).ln_1p()).exp();
    falling.max(anneal.min)
}

/// Translates a batch for the oracle.
pub(crate) fn batch(spec: &LossSpec, problem: &Problem) -> oracle::Batch {
    let classes = problem.classes();
    let targets = match &problem.targets {
        ProblemTargets::Labels(labels) => oracle::Targets::Labels(labels.clone()),
        ProblemTargets::Soft(targets) => {
            let smoothing = match spec.comparison {
                Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, .. } } => label_smoothing,
                _ => 0.0,
            };
            // Smoothing is distributed over the unmasked classes.
            let smoothed = |((row, class), p): ((usize, usize), &f64)| {
                let present = problem.scores.row(row).iter().filter(|z| **z > f64::NEG_INFINITY).count();
                let is_unmasked = problem.scores[[row, class]] > f64::NEG_INFINITY;
                (1.0 - smoothing) * p + if is_unmasked { smoothing / present as f64 } else { 0.0 }
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

/// Returns the values computed by the oracle.
pub(crate) fn expected_by_oracle(
    spec: &LossSpec,
    problem: &Problem,
    reduction: Reduction,
    least_sine: f64,
) -> Expected {
    let description = describe(spec, problem, reduction, least_sine);
    let output = description.evaluate(&batch(spec, problem)).expect("the oracle accepts the input");
    expected_from(spec, problem, output)
}

pub(crate) fn expected_from(spec: &LossSpec, problem: &Problem, output: oracle::loss::LossOutput) -> Expected {
    Expected {
        rows: output.row_losses,
        total: output.loss,
        no_valid_rows: output.no_valid_rows,
        scores: Some(output.grad_scores),
        scale: Some(bounded_scale_gradient(spec, problem, output.grad_scale)),
        embedding_norms: Some(output.grad_embedding_norms),
        weight_norms: Some(output.grad_weight_norms),
        radius: Some(output.grad_radius),
    }
}

/// Returns the gradient of a learned scale; at a bound it is 0 if a descent step would leave the range.
fn bounded_scale_gradient(spec: &LossSpec, problem: &Problem, slope: f64) -> f64 {
    let softmargin::Scale::Learned { initial, min, max } = spec.scale else { return slope };
    let parameter = problem.scale.unwrap_or(initial);
    let leaves = if slope > 0.0 { parameter <= min } else { parameter >= max };
    if leaves { 0.0 } else { slope }
}

/// Compares every value of an evaluation.
pub(crate) fn compare_with_expected(
    report: &mut ErrorReport,
    place: &str,
    conditions: &Conditions<'_>,
    result: &Evaluation,
    want: &Expected,
) {
    let allowed = conditions.allowed(want);
    let precision = match conditions.precision {
        Precision::F32 => "f32",
        Precision::F64 => "f64",
    };
    if (result.valid_rows == 0) != want.no_valid_rows {
        report.fail(format!("{place}: valid rows: {}", result.valid_rows));
    }
    let mut compare = |what: &str, got: &[f64], want: &[f64], allowed: &[f64]| {
        assert_eq!(got.len(), want.len(), "{place}: {what}");
        for (k, ((&got, &want), &allowed)) in got.iter().zip(want).zip(allowed).enumerate() {
            // A value beyond the range of f32 may be infinity or the largest finite number.
            let largest = f64::from(f32::MAX);
            let beyond = conditions.precision == Precision::F32 && (want as f32).is_infinite();
            let saturated = beyond && got.abs() >= largest && got.signum() == want.signum();
            let got = if saturated { want } else { got };
            report.check(&format!("{what} {precision}"), || format!("{place} [{k}]"), got, want, allowed);
        }
    };
    compare("row losses", &result.rows, &want.rows, &allowed.rows);
    compare("loss", &[result.total], &[want.total], &[allowed.total]);
    if let Some(want) = &want.scores {
        let got: Vec<f64> = result.scores.iter().copied().collect();
        compare("gradient of scores", &got, want, &allowed.scores);
    }
    if let Some(want) = want.scale {
        compare("gradient of scale", &[result.scale], &[want], &[allowed.scale]);
    }
    if let (Some(want), Some(got)) = (&want.embedding_norms, &result.embedding_norms) {
        compare("gradient of embedding norms", got, want, &allowed.embedding_norms);
    }
    if let (Some(want), Some(got)) = (&want.weight_norms, &result.weight_norms) {
        compare("gradient of weight norms", got, want, &allowed.weight_norms);
    }
    if let Some(want) = want.radius {
        compare("gradient of radius", &[result.radius], &[want], &[allowed.radius]);
    }
}
