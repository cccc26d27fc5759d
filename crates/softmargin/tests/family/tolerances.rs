//! All tolerances of these tests, with their reasons. The unit tests of the vector functions and sweeps have tolerances in
//! units in the last place: `src/number.rs`, `src/simd/tests.rs`.
//!
//! Errors are measured in units of rounding, `u = 2^-24` in f32 and `2^-53` in f64, times the condition of the computed
//! value. No tolerance is tuned: each number below is a count of roundings or follows from a derivative.
//!
//! | value | allowed error | reason |
//! |---|---|---|
//! | a scaled gap `t` under log-sum-exp | `u (3 ln C + additions + 8) + v (8 height + C + 8)` | an exponential of `d` has relative error `3 u abs(d)` (difference, scale and product round), and the mean of `abs(d)` under softmax is at most `ln C`; then the additions in a lane follow; the rest is computed in f64, `v = 2^-53`, on values up to `height`, the largest scaled score of the row |
//! | a gap under each-pair or against zero | `4 u height + v (8 height + C + 8)` | difference, shift, scale and product round in the type of the row |
//! | a gap under hardest | `v (8 height + C + 8)` | everything is computed in f64 |
//! | psi of an angle | `+ s r psi_error` | arccos and cosine are computed in f64; a radius other than 1 rounds the cosine, which changes the angle by `v / sin(theta)` |
//! | a margin value | `+ s r v 8 (size of its terms)` | f64 arithmetic on exact inputs: `h (a + mu) / sd`, `slope a`, a power or a draw |
//! | modified negatives | height and spread are `reach` times as large; `+ 2 s negative error` in a gap | `t z + t - 1`: two roundings and that of `t`, of values up to `2 t`; `z (T + z)`: three roundings of values up to `T + 1`; divided angles: 21 u in f32 (`src/number.rs`), 8 v in f64 |
//! | gradient with respect to a modified negative | `+ want (slope error / slope)`, its natural size times `slope` | the slope multiplies the derivative of the comparison: one rounding of `t`; three roundings of `T + 2 z`; 25 u of `1 / (m sin(theta))` |
//! | loss of a row | `gap error * slopes + (additions + 8) u loss` | a gate has a slope of at most 1 in each gap; `slopes`, the sum of the slopes of the gates, is less than the loss for softplus |
//! | label smoothing, z-loss, soft targets | their share of `height` or of `2 lambda height`, with the same roundings | sums whose terms cancel have the error of their terms |
//! | gradient with respect to a score | `want (gap error + u (3 spread + additions + 8))` | the logarithm of the derivative of softplus has a slope of at most 1 in `t`; `q_j` has the error of its exponential, `3 u abs(d_j)` |
//! | gradient with respect to the target's score | `+ w s slopes slope_error` | psi' divides by `sin(theta)`, which is bounded below |
//! | values below the smallest number of the type | `tiny (1 + w s)` | exponentials and products underflow |
//! | gradients with respect to scale and norms | the sum of the errors of the rows, each in units of `slopes height` | these gradients are sums of products of slopes and scores |
//! | central differences | `1e-6 want + ROUNDING u f / h` | five points with `h` equal to 1/4000 of the length on which a scaled score changes a loss: the relative truncation error is below 1e-9; the rest is the rounding error of `f` divided by `h` |
//! | one instruction set compared with another | twice the tolerance of each | both approximate the same exact value |
//! | error of a fused head in f32 | 1.5 times the error of the unfused head in f32, or 1.5 roundings; both errors relative to f64 | the two heads sum in different orders, so their errors differ randomly |
//! | one variant of the fused head compared with another | 1e-4 in norm | the error of a scaled cosine, at most 64 (D + 8) u, affects every slope |
//! | slopes, embeddings and prototypes in bf16 | 1e-2 in norm | a bf16 value has a rounding error of 2^-9, and unit vectors are rounded once more than the vectors |
//! | gradients of a head | `relative()` of `HeadConditions` times the sum of the sizes of the terms | a score is a dot product of D terms, and its error propagates through all later steps |

use crate::oracle_description::Expected;
use crate::oracle_description::{batch, describe};
use crate::problem::{Problem, ProblemTargets};
use softmargin::{AngularMargin, Comparison, Gate, Geometry, LossSpec, Margin, Negatives, Real, Reduction, SmoothGate};
use softmargin_oracle::NormMargin;

/// Unit of rounding of f64. Margins, gaps and sums over rows are computed in f64 for every type of scores.
pub(crate) const V: f64 = f64::EPSILON / 2.0;

/// Roundings in a short chain of operations, including elementary functions (1 to 2 units each).
const CHAIN: f64 = 8.0;

/// Roundings of `scale * (z - reference)`: the difference, the conversion of the scale, the product.
const EXPONENT: f64 = 3.0;

/// Lanes of a sum and classes of a tile: a lane adds `TILE / LANES` values before the conversion to f64.
const LANES: f64 = 64.0;
const TILE: f64 = 2048.0;

/// Roundings of a divided angle and of its derivative, as in `src/number.rs`.
const DIVIDED: f64 = 21.0;
const DIVIDED_SLOPE: f64 = 25.0;

/// Error of central differences, relative to the derivative.
pub(crate) const CENTRAL: f64 = 1e-6;
/// Step of central differences, in units of the length on which a scaled score changes a loss.
pub(crate) const STEP: f64 = 2.5e-4;
/// Roundings of the differentiated function; the absolute weights of the five points sum to 1.5.
const ROUNDING: f64 = 32.0;

/// Allowed ratio of the error of a fused head to that of the unfused head.
pub(crate) const FUSED_AGAINST_UNFUSED: f64 = 1.5;

/// Allowed relative difference between variants of the fused head, in norm.
pub(crate) const BETWEEN_VARIANTS: f64 = 1e-4;

/// Allowed relative error in bf16, in norm.
pub(crate) const BF16: f64 = 1e-2;

/// Relative tolerance of measures and smooth functions, which are f64 sums of a few terms of one sign.
pub(crate) const PLAIN: f64 = 16.0 * V;

/// Type of the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F64,
}

impl Precision {
    pub(crate) const ALL: [Self; 2] = [Self::F32, Self::F64];

    pub(crate) fn unit(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::EPSILON / 2.0),
            Self::F64 => V,
        }
    }

    /// Returns the smallest positive number.
    fn tiny(self) -> f64 {
        match self {
            Self::F32 => f64::from(f32::from_bits(1)),
            Self::F64 => f64::from_bits(1),
        }
    }

    pub(crate) fn least_sine(self) -> f64 {
        match self {
            Self::F32 => f32::LEAST_SINE,
            Self::F64 => f64::LEAST_SINE,
        }
    }
}

/// Allowed errors of all values of an evaluation.
pub(crate) struct Allowed {
    pub(crate) rows: Vec<f64>,
    pub(crate) total: f64,
    pub(crate) scores: Vec<f64>,
    pub(crate) scale: f64,
    pub(crate) embedding_norms: Vec<f64>,
    pub(crate) weight_norms: Vec<f64>,
    pub(crate) radius: f64,
}

/// Returns the allowed error of a numerical derivative `want` of a function of size `f` with step `h`.
pub(crate) fn of_difference(want: f64, f: f64, h: f64) -> f64 {
    CENTRAL * want.abs() + ROUNDING * V * f.abs() / h
}

/// Returns the difference step for scores with scale `s`.
pub(crate) fn step_of_scores(scale: f64) -> f64 {
    STEP / scale.max(1.0)
}

/// Quantities of a head that determine the error of its gradients.
pub(crate) struct HeadConditions {
    /// D, the embedding dimension.
    pub(crate) width: usize,
    /// Number of terms in the longest sum of the backward pass: N or C.
    pub(crate) terms: usize,
    /// Largest `s r`.
    pub(crate) scale: f64,
    /// Largest derivative of an angle margin, `times / sin(theta)`.
    pub(crate) steepness: f64,
    /// Largest second derivative of an angle margin, `times^2 / sin(theta)^3`.
    pub(crate) curvature: f64,
}

impl HeadConditions {
    /// Returns the error of a gradient with respect to embeddings, prototypes or bias, relative to the sum of the sizes of
    /// its terms.
    ///
    /// A score is a dot product of D terms with the error `s r (D + 8) u`; the error of the target's score is `psi'` times
    /// as large. Their sum is the relative error of the slopes, to which the sums of the backward pass add.
    pub(crate) fn relative(&self, precision: Precision) -> f64 {
        let score = (self.width as f64 + CHAIN) * precision.unit();
        let gap = self.scale * score * (1.0 + self.steepness);
        gap + score * self.curvature + (self.terms as f64 + 2.0 * CHAIN) * precision.unit()
    }
}

/// Condition of one row.
struct Row {
    /// Row weight times the factor of the reduction.
    weight: f64,
    /// `s`, the effective scale.
    scale: f64,
    /// Largest finite scaled score, including the target's score after the margin.
    height: f64,
    /// Largest difference of two finite scaled scores.
    spread: f64,
    gap_error: f64,
    slope_error: f64,
    /// Upper bound of the sum of the slopes of the gates.
    slopes: f64,
    /// Upper bound of `psi'`.
    steepness: f64,
    /// Contribution of label smoothing, z-loss and soft targets to the sum of the absolute slopes.
    extras: f64,
    additions: f64,
    negatives: NegativeErrors,
}

/// Everything that the tolerances depend on.
pub(crate) struct Conditions<'a> {
    pub(crate) spec: &'a LossSpec,
    pub(crate) problem: &'a Problem,
    pub(crate) reduction: Reduction,
    pub(crate) precision: Precision,
}

impl Conditions<'_> {
    pub(crate) fn allowed(&self, want: &Expected) -> Allowed {
        let u = self.precision.unit();
        let (n, c) = (self.problem.rows(), self.problem.classes());
        let weights: Vec<f64> = (0..n).map(|row| self.weight(row)).collect();
        let share = self.share(weights.iter().sum());
        let mut allowed = Allowed {
            rows: vec![0.0; n],
            total: 0.0,
            scores: vec![0.0; n * c],
            scale: 0.0,
            embedding_norms: vec![0.0; n],
            weight_norms: vec![0.0; c],
            radius: 0.0,
        };
        for (index, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let loss = want.rows[index] / weight;
            let row = self.row(index, weight * share, loss);
            let error = row.gap_error * (row.slopes + row.extras)
                + u * (row.additions + CHAIN) * (loss.abs() + row.extras * row.height);
            let term = self.regularizer_error(index);
            // Each of C terms may underflow.
            allowed.rows[index] = weight * (error + term.value) + self.precision.tiny() * (1.0 + weight * c as f64);
            allowed.total += weight * (share * error + self.share(weight) * term.value);
            self.scores(index, &row, want, &mut allowed);
            allowed.scale += self.scale_error(&row);
            self.norms(index, &row, &mut allowed);
            allowed.embedding_norms[index] += weight * self.share(weight) * term.slope;
            allowed.radius += weight * self.share(weight) * term.slope;
        }
        let final_rounding = |want: Option<f64>| u * 2.0 * want.map_or(0.0, f64::abs) + self.precision.tiny();
        allowed.total += final_rounding(Some(want.total));
        allowed.scale += final_rounding(want.scale);
        allowed.radius += final_rounding(want.radius);
        for (k, error) in allowed.embedding_norms.iter_mut().enumerate() {
            *error += final_rounding(want.embedding_norms.as_ref().map(|all| all[k]));
        }
        for (k, error) in allowed.weight_norms.iter_mut().enumerate() {
            *error += final_rounding(want.weight_norms.as_ref().map(|all| all[k]));
        }
        allowed
    }

    /// Returns the factor of the reduction for this total weight.
    fn share(&self, weight: f64) -> f64 {
        match self.reduction {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean | Reduction::MeanOrNan => {
                if weight > 0.0 {
                    1.0 / weight
                } else {
                    0.0
                }
            }
        }
    }

    fn weight(&self, row: usize) -> f64 {
        let label = self.problem.label(row);
        if label.is_some() && label == self.spec.ignored_label {
            return 0.0;
        }
        let of_sample = self.problem.sample_weights.as_ref().map_or(1.0, |weights| weights[row]);
        let of_class = match (&self.spec.class_weights, &self.problem.targets) {
            (None, _) => 1.0,
            (Some(weights), ProblemTargets::Labels(labels)) => weights[labels[row] as usize],
            (Some(weights), ProblemTargets::Soft(targets)) => {
                targets.row(row).iter().zip(weights).map(|(p, w)| p * w).sum()
            }
        };
        of_sample * of_class
    }

    fn scale(&self) -> f64 {
        let parameter = self.problem.scale.unwrap_or_else(|| self.spec.scale.initial());
        self.spec.scale.clamp(parameter) / self.spec.geometry.temperature()
    }

    fn radius(&self, row: usize, class: usize) -> f64 {
        let of_embedding = self.problem.embedding_norms.as_ref().map_or(1.0, |norms| norms[row]);
        let of_weight = self.problem.weight_norms.as_ref().map_or(1.0, |norms| norms[class]);
        match self.spec.geometry {
            Geometry::Cosine => 1.0,
            Geometry::UnitWeights => of_embedding,
            Geometry::InnerProduct { .. } => of_embedding * of_weight,
        }
    }

    /// Returns the sizes of the margin values of a row, from the oracle: the value of a score or logit margin or `plus`, and
    /// `minus`.
    fn margin_values(&self, row: usize, class: usize) -> [MarginValueSize; 2] {
        let description = describe(self.spec, self.problem, self.reduction, self.precision.least_sine());
        let place = description.row_context(&batch(self.spec, self.problem), row, class);
        let mut sizes = [MarginValueSize::default(); 2];
        for (size, (value, role)) in sizes.iter_mut().zip(description.margin.margin_values()) {
            let at = value.at(place, role);
            let terms = match value {
                softmargin_oracle::MarginValue::Drawn { mean, std } => mean + CHAIN * std,
                softmargin_oracle::MarginValue::FromNorm(NormMargin::Linear { low, high, norm_low, norm_high }) => {
                    low + high + (high - low).abs() / (norm_high - norm_low) * place.norm.min(*norm_high)
                }
                softmargin_oracle::MarginValue::FromNorm(NormMargin::Standardized { value, concentration, .. }) => {
                    let sum = place.norm.min(100.0) + place.state.norm_mean;
                    value * (2.0 + concentration * sum / (place.state.norm_std + 0.001))
                }
                _ => at.value.abs(),
            };
            *size = MarginValueSize { value: at.value.abs(), error: CHAIN * V * terms, slope: at.grad_norm.abs() };
        }
        sizes
    }

    /// Returns the contribution of modified negatives to the errors of a row.
    fn negatives(&self) -> NegativeErrors {
        let u = self.precision.unit();
        match self.spec.negatives {
            Negatives::Misclassified { factor } => NegativeErrors { reach: 2.0 * factor, error: 6.0 * u * factor },
            Negatives::Curricular { .. } => {
                let reach = 1.0 + self.target_mean().abs();
                NegativeErrors { reach, error: 4.0 * u * reach }
            }
            Negatives::DividedAngle { .. } => NegativeErrors { reach: 1.0, error: DIVIDED * u },
            _ => NegativeErrors { reach: 0.0, error: 0.0 },
        }
    }

    fn target_mean(&self) -> f64 {
        self.problem.state.as_ref().map_or(0.0, |state| state.target_mean)
    }

    /// Returns the derivative of a modified negative and its error.
    fn negative_slope(&self, row: usize, class: usize) -> (f64, f64) {
        let (u, z) = (self.precision.unit(), self.problem.scores[[row, class]]);
        let label = self.problem.label(row).filter(|label| *label != class as i64);
        let Some(label) = label.filter(|_| z.is_finite() && self.spec.negatives != Negatives::Plain) else {
            return (1.0, 0.0);
        };
        let description = describe(self.spec, self.problem, self.reduction, self.precision.least_sine());
        let place = description.row_context(&batch(self.spec, self.problem), row, label as usize);
        let target = self.problem.scores[[row, label as usize]];
        let slope = description.negatives.modify(z, description.threshold(target, place)).slope;
        let error = match self.spec.negatives {
            Negatives::Misclassified { .. } => u * slope,
            Negatives::Curricular { .. } => 3.0 * u * (2.0 + self.target_mean().abs()),
            Negatives::DividedAngle { by } => {
                let sine = ((1.0 - z) * (1.0 + z)).max(0.0).sqrt().max(self.precision.least_sine());
                DIVIDED_SLOPE * u * (slope + if z < 0.0 { 1.0 / (by * sine) } else { 0.0 })
            }
            _ => 0.0,
        };
        (slope, error)
    }

    fn row(&self, index: usize, weight: f64, loss: f64) -> Row {
        let (u, c) = (self.precision.unit(), self.problem.classes() as f64);
        let scale = self.scale();
        let finite: Vec<f64> =
            self.problem.scores.row(index).iter().filter(|z| z.is_finite()).map(|z| scale * z).collect();
        let (low, high) = finite.iter().fold((0.0_f64, 0.0_f64), |(low, high), &z| (low.min(z), high.max(z)));
        let psi = self.psi(index, scale);
        let negatives = self.negatives();
        // Modified negatives are at most `reach` from 0 for any original score.
        let (low, high) = (low.min(-scale * negatives.reach), high.max(scale * negatives.reach));
        let height = high.max(-low) + psi.height;
        let lowest = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let lowest = if negatives.reach > 0.0 { low } else { lowest };
        let spread = (high - lowest.min(high)).min(2.0 * height);
        let additions = (c.min(TILE) / LANES).ceil();
        let rounded = match self.spec.comparison {
            Comparison::LogSumExp { .. } => u * (EXPONENT * c.ln() + additions + CHAIN),
            Comparison::EachPair { .. } | Comparison::AgainstZero { .. } => 4.0 * u * height,
            Comparison::Hardest { .. } => 0.0,
        };
        Row {
            weight,
            scale,
            height,
            spread,
            gap_error: rounded + V * (CHAIN * height + c + CHAIN) + psi.error + 2.0 * scale * negatives.error,
            slope_error: psi.slope_error,
            slopes: self.slopes(loss),
            steepness: psi.steepness,
            extras: self.extras(height),
            additions,
            negatives,
        }
    }

    /// Returns an upper bound of the sum of the slopes of the gates, from the loss of the row.
    fn slopes(&self, loss: f64) -> f64 {
        let c = self.problem.classes() as f64;
        let gaps = match self.spec.comparison {
            Comparison::EachPair { .. } | Comparison::AgainstZero { .. } => c,
            Comparison::Hardest { .. } | Comparison::LogSumExp { .. } => 1.0,
        };
        match self.spec.comparison.gate() {
            Gate::Identity => gaps,
            Gate::Relu if loss > 0.0 => gaps,
            Gate::Relu => 0.0,
            // ln(1 + e^t) exceeds its derivative everywhere.
            Gate::Softplus if loss.is_finite() => gaps.min(loss.abs()),
            Gate::Softplus => gaps,
        }
    }

    fn extras(&self, height: f64) -> f64 {
        let options = match self.spec.comparison {
            Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } } => {
                let smoothing = if label_smoothing > 0.0 { 1.0 } else { 0.0 };
                let c = self.problem.classes() as f64;
                // The derivative of LSE_all^2 is 2 LSE_all, and LSE_all is at most the height plus ln C.
                smoothing + if z_loss > 0.0 { 1.0 + 2.0 * z_loss * (height + c.ln()) } else { 0.0 }
            }
            _ => 0.0,
        };
        options + if matches!(self.problem.targets, ProblemTargets::Soft(_)) { 2.0 } else { 0.0 }
    }

    fn scores(&self, index: usize, row: &Row, want: &Expected, allowed: &mut Allowed) {
        let Some(expected) = &want.scores else { return };
        let (u, c) = (self.precision.unit(), self.problem.classes());
        let chain = u * (EXPONENT * row.spread + row.additions + CHAIN) + row.gap_error;
        let natural = row.weight * row.scale;
        for class in 0..c {
            let entry = index * c + class;
            let is_target = self.problem.label(index) == Some(class as i64);
            let (slope, slope_error) =
                if row.negatives.reach > 0.0 { self.negative_slope(index, class) } else { (1.0, 0.0) };
            let inner = if slope == 0.0 { natural * (row.slopes + row.extras) } else { expected[entry] / slope };
            let mut error =
                expected[entry].abs() * chain + self.precision.tiny() * (1.0 + natural) * (1.0 + slope.abs());
            error += natural * row.extras * chain * slope.abs() + inner.abs() * slope_error;
            if is_target {
                error += natural * row.slopes * row.slope_error;
            }
            allowed.scores[entry] = error;
        }
    }

    fn scale_error(&self, row: &Row) -> f64 {
        let chain = row.gap_error + self.precision.unit() * (row.additions + CHAIN);
        let height = row.height / row.scale;
        let temperature = self.spec.geometry.temperature();
        2.0 * row.weight * (row.slopes + row.extras) * height * chain / temperature
    }

    /// Adds the error of `dL/d|x| = w s slope_y norm_slope * (the other norm)`.
    fn norms(&self, index: usize, row: &Row, allowed: &mut Allowed) {
        let Some(class) = self.problem.label(index).map(|label| label as usize) else { return };
        let chain = row.gap_error + self.precision.unit() * (row.additions + CHAIN);
        allowed.embedding_norms[index] += self.margin_value_gradient_error(index, class, row, chain);
        let Margin::Angle(_) = &self.spec.margin else { return };
        let psi = row.height / row.scale / self.radius(index, class).max(f64::MIN_POSITIVE);
        let slopes = row.slopes + row.extras;
        let error = row.weight * row.scale * slopes * ((psi.min(1e3) + row.steepness) * chain + row.slope_error);
        let of_embedding = self.problem.embedding_norms.as_ref().map_or(1.0, |norms| norms[index]);
        let of_weight = self.problem.weight_norms.as_ref().map_or(1.0, |norms| norms[class]);
        allowed.embedding_norms[index] += error * of_weight;
        allowed.weight_norms[class] += error * of_embedding;
    }

    /// Returns the error of `dL/d|x| = w s slope_y dpsi/dm dm/d|x|`. `dpsi/dm` is at most `2 r` and has the error of the
    /// angle and of `m`.
    fn margin_value_gradient_error(&self, index: usize, class: usize, row: &Row, chain: f64) -> f64 {
        let values = self.margin_values(index, class);
        let (slope, error) = (values[0].slope + values[1].slope, values[0].error + values[1].error);
        let unit = if let Margin::Logit { .. } = self.spec.margin { 1.0 } else { row.scale };
        let of_psi = 2.0 * chain + row.slope_error + error + 2.0 * CHAIN * V;
        row.weight * unit * (row.slopes + row.extras) * slope * self.radius(index, class) * of_psi
    }

    fn regularizer_error(&self, row: usize) -> TermError {
        let (Some(term), Some(norms)) = (self.spec.regularizer, &self.problem.embedding_norms) else {
            return TermError { value: 0.0, slope: 0.0 };
        };
        let a = norms[row];
        let (weight, size, slope) = match term {
            softmargin::Regularizer::Ring { weight, radius } => {
                let distance = a + self.problem.radius.unwrap_or(radius);
                (weight, distance * distance, distance)
            }
            softmargin::Regularizer::Magnitude { weight, low, high } => {
                let a = a.clamp(low, high);
                (weight, a / (high * high) + 1.0 / a, 1.0 / (high * high) + 1.0 / (a * a))
            }
            softmargin::Regularizer::FeatureIncay { weight } if a > 0.0 => (weight, 1.0 / (a * a), 2.0 / (a * a * a)),
            _ => (0.0, 0.0, 0.0),
        };
        TermError { value: CHAIN * V * weight * size, slope: CHAIN * V * weight * slope }
    }
}

/// Size of a margin value, its error, and its derivative with respect to the norm.
#[derive(Clone, Copy, Default)]
struct MarginValueSize {
    value: f64,
    error: f64,
    slope: f64,
}

/// Size and error of modified negatives; 0 for plain ones.
#[derive(Clone, Copy)]
struct NegativeErrors {
    reach: f64,
    error: f64,
}

/// Errors of a regularizer's value and derivative.
struct TermError {
    value: f64,
    slope: f64,
}

/// Contribution of a margin to the condition of a row.
struct Psi {
    /// Largest change of a scaled score.
    height: f64,
    /// Error of the scaled psi.
    error: f64,
    steepness: f64,
    slope_error: f64,
}

impl Conditions<'_> {
    fn psi(&self, index: usize, scale: f64) -> Psi {
        let no_margin = Psi { height: 0.0, error: 0.0, steepness: 1.0, slope_error: 0.0 };
        let Some(label) = self.problem.label(index) else { return no_margin };
        let class = label as usize;
        match &self.spec.margin {
            Margin::None => no_margin,
            Margin::Score { .. } => {
                let [m, _] = self.margin_values(index, class);
                Psi { height: scale * m.value, error: scale * m.error, ..no_margin }
            }
            Margin::Logit { .. } => {
                let [m, _] = self.margin_values(index, class);
                Psi { height: m.value, error: m.error, ..no_margin }
            }
            Margin::Angle(angle) => self.angle(angle, index, class, scale),
        }
    }

    fn angle(&self, angle: &AngularMargin, index: usize, class: usize, scale: f64) -> Psi {
        let radius = self.radius(index, class);
        let score = self.problem.scores[[index, class]];
        let cos = if radius > 0.0 { (score / radius).clamp(-1.0, 1.0) } else { 0.0 };
        let sine = ((1.0 - cos) * (1.0 + cos)).sqrt().max(self.precision.least_sine());
        let cos_error = if self.spec.geometry == Geometry::Cosine { 0.0 } else { V };
        // Near a pole the angle is sqrt(2 (1 - cos)).
        let angle_error = CHAIN * V + (cos_error / sine).min((2.0 * cos_error).sqrt());
        let times = angle.times;
        let steepness = (times / sine).max(1.0);
        // Piecewise decreases to -2 k - 1 with k at most times + 1; `minus` subtracts at most 2.
        let lowest = 2.0 * times + 5.0;
        let [plus, minus] = self.margin_values(index, class);
        Psi {
            height: scale * radius * lowest,
            error: scale * radius * (times * angle_error + CHAIN * V + plus.error + minus.error),
            steepness,
            slope_error: steepness * (times * angle_error + CHAIN * V + plus.error + cos_error / (sine * sine)),
        }
    }
}
