//! A checked loss, and its value and gradient on a batch.
//!
//! The work of a batch: check everything that can be refused; find each row's weight, and so what its gradient is
//! multiplied by; compute the rows, each on its own, on all threads; add up in row order. No sum crosses threads, so
//! the result has the same bits for any number of them.

use crate::batch::{Batch, Need, Needs, Targets};
use crate::buffer;
use crate::comparison::{Comparison, Row, RowFault, RowLoss, SoftRow, Work, soft_row};
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::geometry::Geometry;
use crate::margin::{Margin, ModifiedTarget, TargetContext};
use crate::measures;
use crate::real::Real;
use crate::reduction::Reduction;
use crate::regulariser::NormTerm;
use crate::simd::{InstructionSet, Sweeps};
use crate::smooth::arg_max;
use crate::spec::LossSpec;
use crate::state::LossState;
use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut1, ArrayViewMut2};
use rayon::prelude::*;
use std::borrow::Cow;

/// Scores below which threads cost more than they bring.
const WORTH_THREADS: usize = 1 << 15;

/// How far past 1 a cosine may lie and still be taken for one: what half precision makes of 1.
const COSINE_TOLERANCE: f64 = 1e-3;

/// A loss, ready to be computed: made by [`LossSpec::build`].
#[derive(Clone, Debug)]
pub struct Loss {
    spec: LossSpec,
    num_classes: usize,
    needs: Needs,
    instruction_set: InstructionSet,
}

/// The loss of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<F> {
    /// (N): the weighted loss of each row, its regulariser included; 0 for ignored rows.
    pub rows: Array1<F>,
    /// The rows, reduced. Under [`Reduction::None`] their sum, whose gradient is the one given.
    pub total: F,
    /// The sum of the rows' weights.
    pub weight: f64,
    /// Rows that counted. 0 says that a mean is one of nothing.
    pub kept: usize,
}

/// The gradient of [`Value::total`].
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<F> {
    /// By the scores (N, C), the norms held fixed.
    pub scores: Array2<F>,
    /// By a learned scale; by the fixed one where it is not learned.
    pub scale: F,
    /// By the radius of ring loss.
    pub radius: F,
    /// By the norms of the embeddings (N), where the loss looks at them.
    pub embedding_norms: Option<Array1<F>>,
    /// By the norms of the prototypes (C), where the loss looks at them.
    pub weight_norms: Option<Array1<F>>,
}

/// What a row adds to its batch.
#[derive(Clone, Copy, Debug, Default)]
struct RowOutcome {
    loss: f64,
    scale_slope: f64,
    /// By the product of the norms that the geometry keeps.
    norm_slope: f64,
    correct: bool,
}

/// What a row is compared with, and how much it counts.
#[derive(Clone, Copy, Debug)]
struct Plan {
    weight: f64,
    /// The class of a hard target; 0 for soft ones.
    class: usize,
}

impl Loss {
    pub(crate) fn new(spec: LossSpec, num_classes: usize) -> Result<Self> {
        if num_classes == 0 {
            let advice = "give the number of classes of the data";
            return Err(Error::new(ErrorKind::Spec, "num_classes", "at least 1", "0", advice));
        }
        let bounded = spec.geometry.is_bounded();
        check_number("geometry.temperature", spec.geometry.temperature(), Bound::Positive)?;
        spec.scale.check()?;
        spec.scale.check_range_over(spec.geometry.temperature())?;
        spec.margin.check(num_classes, bounded)?;
        if spec.margin.is_angular() && spec.geometry.has_bias() {
            let expected = "none with a margin on the angle";
            let advice =
                "a score with a bias is no cosine times norms: leave the bias out, or take a margin on the score";
            return Err(Error::new(ErrorKind::Spec, "geometry.bias", expected, "one", advice));
        }
        spec.comparison.check(bounded, spec.scale)?;
        if let Some(regulariser) = spec.regulariser {
            regulariser.check(spec.geometry)?;
        }
        check_class_weights(spec.class_weights.as_deref(), num_classes)?;
        let angular = spec.margin.is_angular();
        let regularised = spec.regulariser.is_some();
        let inner_product = matches!(spec.geometry, Geometry::InnerProduct { .. });
        let needs = Needs {
            num_classes,
            margins: Need::must_if(spec.margin.is_per_sample()),
            embedding_norms: Need::must_if(regularised || (angular && !bounded)),
            weight_norms: Need::must_if(angular && inner_product),
            scale: Need::may_if(spec.scale.is_learned()),
            radius: Need::may_if(spec.regulariser.and_then(|term| term.initial_radius()).is_some()),
            state: Need::must_if(spec.margin.anneal().is_some()),
        };
        Ok(Self { spec, num_classes, needs, instruction_set: InstructionSet::best() })
    }

    /// What it was made from.
    pub fn spec(&self) -> &LossSpec {
        &self.spec
    }

    /// C.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Whether batches must bring the norms of their embeddings.
    pub fn needs_embedding_norms(&self) -> bool {
        self.needs.embedding_norms == Need::Must
    }

    /// Whether batches must bring the norms of the prototypes.
    pub fn needs_weight_norms(&self) -> bool {
        self.needs.weight_norms == Need::Must
    }

    /// The state at the start of training, for a loss that has one.
    pub fn initial_state(&self) -> Option<LossState> {
        (self.needs.state == Need::Must).then(LossState::default)
    }

    /// Changes the state as one step of training does.
    pub fn update(&self, state: &mut LossState) {
        state.step += 1;
    }

    /// The same loss, computed with another instruction set; one that this machine lacks gives the portable one.
    /// Different instruction sets round differently.
    #[must_use]
    pub fn with_instruction_set(self, instruction_set: InstructionSet) -> Self {
        Self { instruction_set, ..self }
    }

    /// The loss of a batch.
    ///
    /// # Errors
    /// On shapes that disagree, labels out of range, inputs that the loss needs and does not get (or gets and has no
    /// use for), NaN, or soft targets that are not distributions. The message names the rows.
    pub fn value<F: Real>(&self, batch: &Batch<'_, F>, reduction: Reduction) -> Result<Value<F>> {
        self.run(batch, reduction, None).map(|(value, _)| value)
    }

    /// The loss of a batch and its gradients.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::{presets, Batch, Reduction};
    /// let loss = presets::find("cross-entropy")?.spec().build(2)?;
    /// let (scores, targets) = (array![[20.0_f32, 0.0]], array![0]);
    /// let (value, gradients) = loss.value_and_grad(&Batch::new(scores.view(), targets.view()), Reduction::Mean)?;
    /// assert_eq!(value.total, 2.061_153_7e-9); // the difference log-sum-exp minus z_y would be 0 here
    /// assert_eq!(gradients.scores, array![[-2.061_153_7e-9, 2.061_153_7e-9]]);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn value_and_grad<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
    ) -> Result<(Value<F>, Gradients<F>)> {
        let mut scores = buffer::zeros(batch.rows(), batch.scores.ncols());
        let (value, mut gradients) = self.run(batch, reduction, Some(scores.view_mut()))?;
        gradients.scores = scores;
        Ok((value, gradients))
    }

    /// As [`value_and_grad`](Self::value_and_grad), with the gradient by the scores written into an array (N, C) of the
    /// caller's, of any strides; the field [`Gradients::scores`] is empty then. After an error the array's content is
    /// not specified.
    ///
    /// # Errors
    /// As [`value`](Self::value); also when the array has another shape.
    pub fn value_and_grad_into<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        gradient: ArrayViewMut2<'_, F>,
    ) -> Result<(Value<F>, Gradients<F>)> {
        if gradient.dim() != batch.scores.dim() {
            let expected = format!("{:?}, as the scores", batch.scores.dim());
            let found = format!("{:?}", gradient.dim());
            return Err(Error::new(
                ErrorKind::Shape,
                "gradient",
                expected,
                found,
                "give an array shaped like the scores",
            ));
        }
        self.run(batch, reduction, Some(gradient))
    }

    /// How much each row counts: the weight of its class times its own, 0 where it is ignored. For callers that compute
    /// the loss by other means, on a GPU say: everything is refused here that [`value`](Self::value) would refuse
    /// without looking at the scores, which may be a single zero, broadcast.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn row_weights<F: Real>(&self, batch: &Batch<'_, F>) -> Result<Vec<f64>> {
        batch.check(&self.needs)?;
        Ok(self.plan(batch)?.iter().map(|plan| plan.weight).collect())
    }

    fn run<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        gradient: Option<ArrayViewMut2<'_, F>>,
    ) -> Result<(Value<F>, Gradients<F>)> {
        batch.check(&self.needs)?;
        let plans = self.plan(batch)?;
        let weight: f64 = plans.iter().map(|plan| plan.weight).sum();
        let outcomes = self.rows(batch, &plans, reduction.factor(weight), gradient)?;
        Ok(self.collect(batch, reduction, &plans, weight, &outcomes))
    }

    fn scale_parameter<F>(&self, batch: &Batch<'_, F>) -> f64 {
        batch.scale.unwrap_or_else(|| self.spec.scale.initial())
    }

    /// `s`, the temperature included.
    fn scale<F>(&self, batch: &Batch<'_, F>) -> f64 {
        self.spec.scale.clamp(self.scale_parameter(batch)) / self.spec.geometry.temperature()
    }

    /// The weight and the class of every row.
    fn plan<F: Real>(&self, batch: &Batch<'_, F>) -> Result<Vec<Plan>> {
        let sample_weight = |row: usize| batch.sample_weights.map_or(1.0, |weights| weights[row].widen());
        let plans = match batch.targets {
            Targets::Hard(labels) => labels
                .iter()
                .enumerate()
                .map(|(row, &label)| self.plan_hard(row, label, sample_weight(row)))
                .collect::<Result<Vec<Plan>>>()?,
            Targets::Soft(targets) => {
                self.check_soft_allowed()?;
                let rows = targets.rows().into_iter().enumerate();
                rows.map(|(row, p)| self.plan_soft(row, p, sample_weight(row))).collect::<Result<Vec<Plan>>>()?
            }
        };
        self.check_margins(batch, &plans)?;
        Ok(plans)
    }

    fn plan_hard(&self, row: usize, label: i64, sample_weight: f64) -> Result<Plan> {
        if self.spec.ignored_label == Some(label) {
            return Ok(Plan { weight: 0.0, class: 0 });
        }
        let class = usize::try_from(label).ok().filter(|&class| class < self.num_classes);
        let Some(class) = class else {
            let ignored =
                self.spec.ignored_label.map_or_else(String::new, |label| format!(", or {label} to ignore the row"));
            let expected = format!("a class from 0 to {}{ignored}", self.num_classes - 1);
            let advice = "check the labels and the number of classes";
            return Err(Error::new(
                ErrorKind::Label,
                format!("target of row {row}"),
                expected,
                label.to_string(),
                advice,
            ));
        };
        let class_weight = self.spec.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
        Ok(Plan { weight: class_weight * sample_weight, class })
    }

    fn plan_soft<F: Real>(&self, row: usize, targets: ArrayView1<'_, F>, sample_weight: f64) -> Result<Plan> {
        let p: Vec<f64> = targets.iter().map(|p| p.widen()).collect();
        measures::check_distribution(&format!("targets of row {row}"), &p)?;
        let class_weight = match &self.spec.class_weights {
            None => 1.0,
            Some(weights) => p.iter().zip(weights).map(|(p, weight)| p * weight).sum(),
        };
        Ok(Plan { weight: class_weight * sample_weight, class: 0 })
    }

    fn check_soft_allowed(&self) -> Result<()> {
        let found = if self.spec.comparison.cross_entropy_options().is_none() {
            "another comparison"
        } else if self.spec.margin != Margin::None {
            "a margin, which needs the one class that it belongs to"
        } else if self.spec.regulariser.is_some_and(|term| term.is_for_correct_rows()) {
            "feature incay, which needs to know the right class"
        } else {
            return Ok(());
        };
        let expected = "classes, unless the loss is softmax cross-entropy without a margin";
        Err(Error::new(ErrorKind::Input, "soft targets", expected, found, "give one class a row"))
    }

    fn check_margins<F: Real>(&self, batch: &Batch<'_, F>, plans: &[Plan]) -> Result<()> {
        let Some(margins) = batch.margins else { return Ok(()) };
        let kept = margins.iter().zip(plans).enumerate().filter(|(_, (_, plan))| plan.weight > 0.0);
        for (row, (amount, _)) in kept {
            let check = self.spec.margin.check_sample_amount(amount.widen(), self.spec.geometry.is_bounded());
            check.map_err(|error| error.about(format!("margins[{row}]")))?;
        }
        Ok(())
    }

    /// Computes all rows.
    fn rows<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        plans: &[Plan],
        factor: f64,
        gradient: Option<ArrayViewMut2<'_, F>>,
    ) -> Result<Vec<RowOutcome>> {
        let kernel = Kernel {
            loss: self,
            batch,
            sweeps: Sweeps::of(self.instruction_set),
            scale: self.scale(batch),
            step: batch.state.map_or(0, |state| state.step),
            factor,
        };
        let mut gradient = gradient;
        let mut gradients: Vec<Option<ArrayViewMut1<'_, F>>> = match &mut gradient {
            Some(gradient) => gradient.rows_mut().into_iter().map(Some).collect(),
            None => plans.iter().map(|_| None).collect(),
        };
        let compute = |room: &mut Room<F>, (row, gradient): (usize, &mut Option<ArrayViewMut1<'_, F>>)| {
            kernel.row(row, plans[row], room, gradient.as_mut())
        };
        let outcomes: Vec<std::result::Result<RowOutcome, RowFault>> = if batch.scores.len() < WORTH_THREADS {
            let mut room = Room::new();
            gradients.iter_mut().enumerate().map(|task| compute(&mut room, task)).collect()
        } else {
            let rows_per_task = (WORTH_THREADS / 4).div_ceil(self.num_classes);
            let tasks = gradients.par_iter_mut().enumerate().with_min_len(rows_per_task);
            tasks.map_init(Room::new, compute).collect()
        };
        explain_faults(&outcomes)?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Adds the rows up, in order, in f64.
    fn collect<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        plans: &[Plan],
        weight: f64,
        outcomes: &[RowOutcome],
    ) -> (Value<F>, Gradients<F>) {
        let factor = reduction.factor(weight);
        let kept = plans.iter().filter(|plan| plan.weight > 0.0).count();
        let mut rows: Vec<f64> = plans.iter().zip(outcomes).map(|(plan, row)| plan.weight * row.loss).collect();
        let sum: f64 = rows.iter().sum();
        let scale_slope: f64 = plans.iter().zip(outcomes).map(|(plan, row)| plan.weight * row.scale_slope).sum();
        let mut total = if kept == 0 && reduction != Reduction::MeanOrNan { 0.0 } else { sum * factor };
        let mut norms = NormGradients::of(self, batch, plans, factor, outcomes);
        let terms = self.norm_terms(batch, plans, outcomes);
        let concerned: f64 = plans.iter().zip(&terms).filter_map(|(plan, term)| term.map(|_| plan.weight)).sum();
        let mut radius_slope = 0.0;
        if concerned > 0.0 {
            let factor = reduction.factor(concerned);
            for (row, (plan, term)) in plans.iter().zip(&terms).enumerate() {
                let Some(term) = term else { continue };
                rows[row] += plan.weight * term.value;
                total += factor * plan.weight * term.value;
                radius_slope += factor * plan.weight * term.radius_slope;
                if let Some(by_norm) = &mut norms.embeddings {
                    by_norm[row] += factor * plan.weight * term.norm_slope;
                }
            }
        }
        let by_scale = if kept == 0 { 0.0 } else { factor * scale_slope / self.spec.geometry.temperature() };
        let round = |numbers: Vec<f64>| Array1::from_iter(numbers.into_iter().map(F::round_from));
        let value = Value { rows: round(rows), total: F::round_from(total), weight, kept };
        let gradients = Gradients {
            scores: Array2::zeros((0, 0)),
            scale: F::round_from(self.spec.scale.parameter_slope(self.scale_parameter(batch), by_scale)),
            radius: F::round_from(radius_slope),
            embedding_norms: norms.embeddings.map(round),
            weight_norms: norms.weights.map(round),
        };
        (value, gradients)
    }

    /// The regulariser's term of every row that it concerns.
    fn norm_terms<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        plans: &[Plan],
        outcomes: &[RowOutcome],
    ) -> Vec<Option<NormTerm>> {
        let (Some(regulariser), Some(norms)) = (self.spec.regulariser, batch.embedding_norms) else {
            return vec![None; plans.len()];
        };
        let radius = batch.radius.or_else(|| regulariser.initial_radius()).unwrap_or_default();
        let all = !regulariser.is_for_correct_rows();
        let rows = plans.iter().zip(outcomes).zip(norms);
        rows.map(|((plan, row), norm)| {
            (plan.weight > 0.0 && (all || row.correct)).then(|| regulariser.apply(norm.widen(), radius))
        })
        .collect()
    }
}

/// Gradients by the norms, where the loss looks at them.
struct NormGradients {
    embeddings: Option<Vec<f64>>,
    weights: Option<Vec<f64>>,
}

impl NormGradients {
    fn of<F: Real>(loss: &Loss, batch: &Batch<'_, F>, plans: &[Plan], factor: f64, outcomes: &[RowOutcome]) -> Self {
        let mut norms = Self {
            embeddings: loss.needs_embedding_norms().then(|| vec![0.0; plans.len()]),
            weights: loss.needs_weight_norms().then(|| vec![0.0; loss.num_classes]),
        };
        for (row, (plan, outcome)) in plans.iter().zip(outcomes).enumerate().filter(|(_, (plan, _))| plan.weight > 0.0)
        {
            let slope = factor * plan.weight * outcome.norm_slope;
            // r = |x| or r = |x| |w_y|: the slope by one norm has the other as its factor.
            let of_embedding = batch.embedding_norms.map_or(1.0, |norms| norms[row].widen());
            let of_weight = batch.weight_norms.map_or(1.0, |norms| norms[plan.class].widen());
            if let Some(embeddings) = &mut norms.embeddings {
                embeddings[row] += slope * of_weight;
            }
            if let Some(weights) = &mut norms.weights {
                weights[plan.class] += slope * of_embedding;
            }
        }
        norms
    }
}

/// Room that a thread uses again for each of its rows.
struct Room<F> {
    work: Work<F>,
    /// The gradient of a row whose own is strided.
    gradient: Vec<F>,
}

impl<F: Real> Room<F> {
    fn new() -> Self {
        Self { work: Work::new(), gradient: Vec::new() }
    }
}

/// All that the rows of a batch share.
struct Kernel<'a, 'b, F> {
    loss: &'a Loss,
    batch: &'a Batch<'b, F>,
    sweeps: Sweeps<F>,
    scale: f64,
    step: u64,
    factor: f64,
}

impl<F: Real> Kernel<'_, '_, F> {
    fn row(
        &self,
        row: usize,
        plan: Plan,
        room: &mut Room<F>,
        gradient: Option<&mut ArrayViewMut1<'_, F>>,
    ) -> std::result::Result<RowOutcome, RowFault> {
        let Some(gradient) = gradient else { return self.contiguous_row(row, plan, &mut room.work, None) };
        if let Some(slice) = gradient.as_slice_mut() {
            return self.contiguous_row(row, plan, &mut room.work, Some(slice));
        }
        room.gradient.resize(gradient.len(), F::zero());
        let outcome = self.contiguous_row(row, plan, &mut room.work, Some(&mut room.gradient))?;
        gradient.assign(&ArrayView1::from(&room.gradient));
        Ok(outcome)
    }

    fn contiguous_row(
        &self,
        row: usize,
        plan: Plan,
        work: &mut Work<F>,
        gradient: Option<&mut [F]>,
    ) -> std::result::Result<RowOutcome, RowFault> {
        let scores = contiguous(self.batch.scores.row(row));
        if plan.weight == 0.0 {
            return ignored_row(&scores, gradient);
        }
        match self.batch.targets {
            Targets::Hard(_) => self.hard_row(row, plan, &scores, work, gradient),
            Targets::Soft(targets) => {
                let targets = contiguous(targets.row(row));
                let factor = self.factor * plan.weight;
                let soft = SoftRow { scores: &scores, targets: &targets, scale: self.scale, factor };
                let outcome = soft_row(self.loss.spec.comparison, &self.sweeps, &soft, work, gradient)?;
                Ok(RowOutcome { loss: outcome.loss, scale_slope: outcome.rivals_scale_slope, ..RowOutcome::default() })
            }
        }
    }

    fn hard_row(
        &self,
        row: usize,
        plan: Plan,
        scores: &[F],
        work: &mut Work<F>,
        gradient: Option<&mut [F]>,
    ) -> std::result::Result<RowOutcome, RowFault> {
        let modified = self.modified_target(row, plan, scores[plan.class])?;
        let comparison: Comparison = self.loss.spec.comparison;
        let row = Row { scores, target: plan.class, modified, scale: self.scale, factor: self.factor * plan.weight };
        let RowLoss { loss, target_slope, rivals_scale_slope } = comparison.row(&self.sweeps, &row, work, gradient)?;
        let target_score = scores[plan.class].widen();
        let target_scale_slope = if target_slope == 0.0 || target_score.is_infinite() {
            0.0
        } else {
            target_slope * (target_score + modified.scale_shift)
        };
        let incay = self.loss.spec.regulariser.is_some_and(|term| term.is_for_correct_rows());
        Ok(RowOutcome {
            loss,
            scale_slope: rivals_scale_slope + target_scale_slope,
            // Under the cosine r is 1, whatever the norms are that a regulariser looks at.
            norm_slope: if self.loss.spec.geometry.is_bounded() {
                0.0
            } else {
                target_slope * self.scale * modified.norm_slope
            },
            correct: incay && arg_max(scores) == Some(plan.class),
        })
    }

    fn modified_target(&self, row: usize, plan: Plan, score: F) -> std::result::Result<ModifiedTarget, RowFault> {
        let margin = &self.loss.spec.margin;
        let score = score.widen();
        if score.is_infinite() {
            return Ok(ModifiedTarget::UNCHANGED);
        }
        let norm = if self.loss.spec.geometry.is_bounded() {
            1.0
        } else {
            let of_embedding = self.batch.embedding_norms.map_or(1.0, |norms| norms[row].widen());
            of_embedding * self.batch.weight_norms.map_or(1.0, |norms| norms[plan.class].widen())
        };
        if margin.is_angular() && score.abs() > norm * (1.0 + COSINE_TOLERANCE) {
            return Err(RowFault::NotACosine(score));
        }
        Ok(margin.apply(&TargetContext {
            score,
            class: plan.class,
            scale: self.scale,
            norm,
            amount: self.batch.margins.map_or(0.0, |margins| margins[row].widen()),
            step: self.step,
            least_sine: F::LEAST_SINE,
        }))
    }
}

/// A row that does not count has no loss, but it must be sound: in a head, its zero slopes would meet its NaN.
fn ignored_row<F: Real>(scores: &[F], gradient: Option<&mut [F]>) -> std::result::Result<RowOutcome, RowFault> {
    if let Some(gradient) = gradient {
        gradient.fill(F::zero());
    }
    if scores.iter().any(|score| score.is_nan()) { Err(RowFault::Nan) } else { Ok(RowOutcome::default()) }
}

/// A row as a slice, copied only where its elements do not lie side by side.
fn contiguous<F: Real>(row: ArrayView1<'_, F>) -> Cow<'_, [F]> {
    match row.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(row.to_vec()),
    }
}

fn check_class_weights(weights: Option<&[f64]>, num_classes: usize) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != num_classes {
        let expected = format!("{num_classes} numbers, one a class");
        let advice = "give as many weights as classes";
        return Err(Error::new(ErrorKind::Spec, "class_weights", expected, weights.len().to_string(), advice));
    }
    for (class, &weight) in weights.iter().enumerate() {
        check_number(&format!("class_weights[{class}]"), weight, Bound::NotNegative)?;
    }
    Ok(())
}

/// One error for all the rows that have the fault of the first.
fn explain_faults(outcomes: &[std::result::Result<RowOutcome, RowFault>]) -> Result<()> {
    const NAMED: usize = 5;
    let Some(first) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) else { return Ok(()) };
    let alike = |fault: &RowFault| std::mem::discriminant(fault) == std::mem::discriminant(first);
    let rows: Vec<usize> = outcomes
        .iter()
        .enumerate()
        .filter_map(|(row, outcome)| outcome.as_ref().err().filter(|fault| alike(fault)).map(|_| row))
        .collect();
    let names: Vec<String> = rows.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if rows.len() > NAMED { format!(" and {} more", rows.len() - NAMED) } else { String::new() };
    let subject = format!("scores of row {}{more}", names.join(", "));
    Err(match first {
        RowFault::Nan => {
            let advice = "look for a division by zero, an overflow or a diverging step before this";
            Error::new(ErrorKind::Number, subject, "numbers", "NaN", advice)
        }
        RowFault::Contradiction => {
            let found = "plus infinity there and at another class";
            let advice = "mask classes with minus infinity";
            Error::new(ErrorKind::Number, subject, "a target's score below infinity", found, advice)
        }
        RowFault::NotACosine(score) => {
            let expected = "the target's score to be a cosine times the norms that were given";
            let advice = "normalise embeddings and prototypes first, or give the norms that the scores were made with";
            Error::new(ErrorKind::Number, subject, expected, format!("{score}"), advice)
        }
    })
}
