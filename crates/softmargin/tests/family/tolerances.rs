//! Every tolerance of these tests, with its reason. The vector functions and sweeps are tested beside their code, in
//! units of the last place: `src/real.rs`, `src/simd/tests.rs`.
//!
//! Errors are counted in units of rounding, `u = 2^-24` in f32 and `2^-53` in f64, times the condition of what is
//! computed. Nothing is tuned: each number below is a count of roundings, or follows from a derivative.
//!
//! | what | allowed | reason |
//! |---|---|---|
//! | a scaled gap `t` under log-sum-exp | `u (3 ln C + additions + 8) + v (8 height + C + 8)` | an exponential of `d` has relative error `3 u abs(d)` (difference, scale and product round), and the mean of `abs(d)` under softmax is at most `ln C`; then the additions in a lane; the rest is f64, `v = 2^-53`, on numbers as large as `height`, the largest scaled score of the row |
//! | a gap under each-pair, against zero | `4 u height + v (8 height + C + 8)` | difference, shift, scale and product round in the row's own type |
//! | a gap under hardest | `v (8 height + C + 8)` | all in f64 |
//! | psi of an angle | `+ s r psi_error` | arccos and cosine in f64; a radius other than 1 rounds the cosine, which moves the angle by `v / sin(theta)` |
//! | a margin value | `+ s r v 8 (size of its terms)` | f64 on exact numbers: `h (a + mu) / sd`, `slope a`, a power or a draw |
//! | modified negatives | height and spread `reach` times as large; `+ 2 s negative error` in a gap | `t z + t - 1`: two roundings and that of `t`, on at most `2 t`; `z (T + z)`: three on `T + 1`; divided angles: 21 u in f32 (`src/real.rs`), 8 v in f64 |
//! | gradient by a modified negative | `+ want (slope error / slope)`, its natural size times `slope` | the slope multiplies what the comparison gives: one rounding of `t`; three of `T + 2 z`; 25 u of `1 / (m sin(theta))` |
//! | loss of a row | `gap error * slopes + (additions + 8) u loss` | a gate has slope at most 1 in each gap; `slopes`, the sum of the gates' slopes, is under the loss for softplus |
//! | label smoothing, z-loss, soft targets | their share of `height`, or of `2 lambda height`, in the same roundings | sums whose terms cancel have the error of their terms |
//! | gradient by a score | `want (gap error + u (3 spread + additions + 8))` | the logarithm of softplus' slope has slope at most 1 in `t`; `q_j` has the error of its exponential, `3 u abs(d_j)` |
//! | gradient by the target's score | `+ w s slopes slope_error` | psi' divides by `sin(theta)`, floored |
//! | below the smallest number | `tiny (1 + w s)` | exponentials and products that leave the range of the type |
//! | gradient by scale, norms | the sum of the rows' errors, each in units of `slopes height` | they are sums of products of slopes and scores |
//! | central differences | `1e-6 want + ROUNDING u f / h` | five points at `h` a four-thousandth of the length on which a scaled score changes a loss: truncation under 1e-9 relative; the rest is the rounding of `f` divided by `h` |
//! | one instruction set against another | twice the error that each is allowed | both are near the same exact number |
//! | a fused head against the unfused one in f32 | 1.5 times its error against f64, or of one rounding | the two sum in other orders; neither may be worse than its luck |
//! | one way to fuse against another | 1e-4 in norm | the error of a scaled score of a cosine, 64 (D + 8) u at most, goes through every slope |
//! | slopes, embeddings and prototypes of bf16 | 1e-2 in norm | 8 bits round by 2^-9 each, and unit vectors are rounded once more than what they are made of |
//! | gradients of a head | `relative()` of `HeadConditions`, times the sum of the sizes of the terms | a score is a dot product of D terms, and its error goes through everything that follows |

use crate::problem::{Aim, Problem};
use crate::twin::Want;
use crate::twin::{batch, describe};
use softmargin::{AngularMargin, Comparison, Gate, Geometry, LossSpec, Margin, Negatives, Real, Reduction, SmoothGate};
use softmargin_oracle::NormMargin;

/// Rounding of f64, in which margins, gaps and sums over rows are computed whatever the type of the scores.
pub(crate) const V: f64 = f64::EPSILON / 2.0;

/// Roundings in a short chain of operations, elementary functions (1 to 2 units each) among them.
const CHAIN: f64 = 8.0;

/// Roundings of `scale * (z - reference)`: the difference, the scale as a number of the type, the product.
const EXPONENT: f64 = 3.0;

/// Lanes of a sum and classes of a tile: a lane adds `TILE / LANES` numbers before it is widened.
const LANES: f64 = 64.0;
const TILE: f64 = 2048.0;

/// Roundings of a divided angle, and of its slope: as in `src/real.rs`.
const DIVIDED: f64 = 21.0;
const DIVIDED_SLOPE: f64 = 25.0;

/// Central differences: relative to the derivative.
pub(crate) const CENTRAL: f64 = 1e-6;
/// Steps of central differences, in units of the length on which a scaled score changes a loss.
pub(crate) const STEP: f64 = 2.5e-4;
/// Roundings of the function that differences are taken of; five points weigh it by 1.5 in all.
const ROUNDING: f64 = 32.0;

/// The error of a fused head over that of the unfused one.
pub(crate) const FUSED_AGAINST_UNFUSED: f64 = 1.5;

/// One way to compute a fused head against another, in norm.
pub(crate) const WAYS: f64 = 1e-4;

/// What bf16 costs, in norm.
pub(crate) const BF16: f64 = 1e-2;

/// Measures and smooth functions: sums of a few terms of one sign, in f64.
pub(crate) const PLAIN: f64 = 16.0 * V;

/// The type of the scores.
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

    /// The smallest number above 0.
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

/// What is allowed for every number of an answer.
pub(crate) struct Allowed {
    pub(crate) rows: Vec<f64>,
    pub(crate) total: f64,
    pub(crate) scores: Vec<f64>,
    pub(crate) scale: f64,
    pub(crate) embedding_norms: Vec<f64>,
    pub(crate) weight_norms: Vec<f64>,
    pub(crate) radius: f64,
}

/// The allowed error of a numerical derivative `want` of a function of size `f`, taken with step `h`.
pub(crate) fn of_difference(want: f64, f: f64, h: f64) -> f64 {
    CENTRAL * want.abs() + ROUNDING * V * f.abs() / h
}

/// The step for scores under a scale `s`.
pub(crate) fn step_of_scores(scale: f64) -> f64 {
    STEP / scale.max(1.0)
}

/// What a head adds to the condition of a loss.
pub(crate) struct HeadConditions {
    /// D
    pub(crate) width: usize,
    /// How many terms the longest sum of the way back has: N or C.
    pub(crate) terms: usize,
    /// The largest `s r`.
    pub(crate) scale: f64,
    /// The largest slope that a margin on the angle has, `times / sin(theta)`, and its own slope,
    /// `times^2 / sin(theta)^3`.
    pub(crate) steepness: f64,
    pub(crate) bend: f64,
}

impl HeadConditions {
    /// The error of a gradient by embeddings, prototypes or bias, relative to the sum of the sizes of its terms.
    ///
    /// A score is a dot product of D terms, so a gap is wrong by twice `s r (D + 8) u`, the target's by `psi'` times
    /// that; slopes have that as a relative error; then come the sums of the way back.
    pub(crate) fn relative(&self, precision: Precision) -> f64 {
        let score = (self.width as f64 + CHAIN) * precision.unit();
        let gap = self.scale * score * (1.0 + self.steepness);
        gap + score * self.bend + (self.terms as f64 + 2.0 * CHAIN) * precision.unit()
    }
}

/// One row's condition.
struct Row {
    /// Row weight times the reduction's factor.
    weight: f64,
    /// `s`
    scale: f64,
    /// The largest finite scaled score, the target's modified one among them.
    height: f64,
    /// The largest difference of two finite scaled scores.
    spread: f64,
    gap_error: f64,
    slope_error: f64,
    /// Upper bound of the sum of the gates' slopes.
    slopes: f64,
    /// Upper bound of `psi'`.
    steepness: f64,
    /// What label smoothing, z-loss and soft targets add to the sum of the slopes' sizes.
    extras: f64,
    additions: f64,
    negatives: NegativeErrors,
}

/// All that tolerances depend on.
pub(crate) struct Conditions<'a> {
    pub(crate) spec: &'a LossSpec,
    pub(crate) problem: &'a Problem,
    pub(crate) reduction: Reduction,
    pub(crate) precision: Precision,
}

impl Conditions<'_> {
    pub(crate) fn allowed(&self, want: &Want) -> Allowed {
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
            // Each of C terms may have left the range of the type.
            allowed.rows[index] = weight * (error + term.value) + self.precision.tiny() * (1.0 + weight * c as f64);
            allowed.total += weight * (share * error + self.share(weight) * term.value);
            self.scores(index, &row, want, &mut allowed);
            allowed.scale += self.scale_error(&row);
            self.norms(index, &row, &mut allowed);
            allowed.embedding_norms[index] += weight * self.share(weight) * term.slope;
            allowed.radius += weight * self.share(weight) * term.slope;
        }
        let last = |want: Option<f64>| u * 2.0 * want.map_or(0.0, f64::abs) + self.precision.tiny();
        allowed.total += last(Some(want.total));
        allowed.scale += last(want.scale);
        allowed.radius += last(want.radius);
        for (k, error) in allowed.embedding_norms.iter_mut().enumerate() {
            *error += last(want.embedding_norms.as_ref().map(|all| all[k]));
        }
        for (k, error) in allowed.weight_norms.iter_mut().enumerate() {
            *error += last(want.weight_norms.as_ref().map(|all| all[k]));
        }
        allowed
    }

    /// The reduction's factor for so much weight.
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
        let of_class = match (&self.spec.class_weights, &self.problem.aim) {
            (None, _) => 1.0,
            (Some(weights), Aim::Labels(labels)) => weights[labels[row] as usize],
            (Some(weights), Aim::Soft(targets)) => targets.row(row).iter().zip(weights).map(|(p, w)| p * w).sum(),
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

    /// The margin values of a row, as the twin has them: of a margin on score or logit, or `plus`; and `minus`.
    fn margin_values(&self, row: usize, class: usize) -> [MarginValueSize; 2] {
        let description = describe(self.spec, self.problem, self.reduction, self.precision.least_sine());
        let place = description.place(&batch(self.spec, self.problem), row, class);
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
            *size = MarginValueSize { value: at.value.abs(), error: CHAIN * V * terms, slope: at.by_norm.abs() };
        }
        sizes
    }

    /// What modified negatives add to the errors of a row.
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

    /// The slope of a modified negative, and its error.
    fn negative_slope(&self, row: usize, class: usize) -> (f64, f64) {
        let (u, z) = (self.precision.unit(), self.problem.scores[[row, class]]);
        let label = self.problem.label(row).filter(|label| *label != class as i64);
        let Some(label) = label.filter(|_| z.is_finite() && self.spec.negatives != Negatives::Plain) else {
            return (1.0, 0.0);
        };
        let description = describe(self.spec, self.problem, self.reduction, self.precision.least_sine());
        let place = description.place(&batch(self.spec, self.problem), row, label as usize);
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
        // Modified negatives lie within `reach` of 0, whatever they were.
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

    /// How large the gates' slopes can be in sum, from the loss of the row.
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
            // ln(1 + e^t) is above its slope everywhere.
            Gate::Softplus if loss.is_finite() => gaps.min(loss.abs()),
            Gate::Softplus => gaps,
        }
    }

    fn extras(&self, height: f64) -> f64 {
        let options = match self.spec.comparison {
            Comparison::LogSumExp { gate: SmoothGate::Softplus { label_smoothing, z_loss } } => {
                let moved = if label_smoothing > 0.0 { 1.0 } else { 0.0 };
                let c = self.problem.classes() as f64;
                // LSE_all^2 has slope 2 LSE_all, and LSE_all is at most the height and ln C.
                moved + if z_loss > 0.0 { 1.0 + 2.0 * z_loss * (height + c.ln()) } else { 0.0 }
            }
            _ => 0.0,
        };
        options + if matches!(self.problem.aim, Aim::Soft(_)) { 2.0 } else { 0.0 }
    }

    fn scores(&self, index: usize, row: &Row, want: &Want, allowed: &mut Allowed) {
        let Some(wanted) = &want.scores else { return };
        let (u, c) = (self.precision.unit(), self.problem.classes());
        let chain = u * (EXPONENT * row.spread + row.additions + CHAIN) + row.gap_error;
        let natural = row.weight * row.scale;
        for class in 0..c {
            let entry = index * c + class;
            let is_target = self.problem.label(index) == Some(class as i64);
            let (slope, slope_error) =
                if row.negatives.reach > 0.0 { self.negative_slope(index, class) } else { (1.0, 0.0) };
            let inner = if slope == 0.0 { natural * (row.slopes + row.extras) } else { wanted[entry] / slope };
            let mut error = wanted[entry].abs() * chain + self.precision.tiny() * (1.0 + natural) * (1.0 + slope.abs());
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

    /// `dL/d|x| = w s slope_y norm_slope * (the other norm)`.
    fn norms(&self, index: usize, row: &Row, allowed: &mut Allowed) {
        let Some(class) = self.problem.label(index).map(|label| label as usize) else { return };
        let chain = row.gap_error + self.precision.unit() * (row.additions + CHAIN);
        allowed.embedding_norms[index] += self.by_margin_values(index, class, row, chain);
        let Margin::Angle(_) = &self.spec.margin else { return };
        let psi = row.height / row.scale / self.radius(index, class).max(f64::MIN_POSITIVE);
        let slopes = row.slopes + row.extras;
        let error = row.weight * row.scale * slopes * ((psi.min(1e3) + row.steepness) * chain + row.slope_error);
        let of_embedding = self.problem.embedding_norms.as_ref().map_or(1.0, |norms| norms[index]);
        let of_weight = self.problem.weight_norms.as_ref().map_or(1.0, |norms| norms[class]);
        allowed.embedding_norms[index] += error * of_weight;
        allowed.weight_norms[class] += error * of_embedding;
    }

    /// `dL/d|x| = w s slope_y dpsi/dm dm/d|x|`: `dpsi/dm` is at most `2 r`, and has the error of the angle and of `m`.
    fn by_margin_values(&self, index: usize, class: usize, row: &Row, chain: f64) -> f64 {
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
                let off = a + self.problem.radius.unwrap_or(radius);
                (weight, off * off, off)
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

/// What a margin's margin value is, how far it may be off, and its slope by the norm.
#[derive(Clone, Copy, Default)]
struct MarginValueSize {
    value: f64,
    error: f64,
    slope: f64,
}

/// The size of modified negatives, and how far they may be off; 0 for plain ones.
#[derive(Clone, Copy)]
struct NegativeErrors {
    reach: f64,
    error: f64,
}

struct TermError {
    value: f64,
    slope: f64,
}

/// What a margin does to the condition of a row.
struct Psi {
    /// How far it may carry a scaled score.
    height: f64,
    /// The error of the scaled psi.
    error: f64,
    steepness: f64,
    slope_error: f64,
}

impl Conditions<'_> {
    fn psi(&self, index: usize, scale: f64) -> Psi {
        let nothing = Psi { height: 0.0, error: 0.0, steepness: 1.0, slope_error: 0.0 };
        let Some(label) = self.problem.label(index) else { return nothing };
        let class = label as usize;
        match &self.spec.margin {
            Margin::None => nothing,
            Margin::Score { .. } => {
                let [m, _] = self.margin_values(index, class);
                Psi { height: scale * m.value, error: scale * m.error, ..nothing }
            }
            Margin::Logit { .. } => {
                let [m, _] = self.margin_values(index, class);
                Psi { height: m.value, error: m.error, ..nothing }
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
        // Near a pole the angle is the square root of twice what is missing from 1.
        let angle_error = CHAIN * V + (cos_error / sine).min((2.0 * cos_error).sqrt());
        let times = angle.times;
        let steepness = (times / sine).max(1.0);
        // Piecewise goes down to -2 k - 1, k at most times + 1; at most 2 is subtracted.
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
