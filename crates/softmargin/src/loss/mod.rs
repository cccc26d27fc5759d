//! A checked loss, and its value and gradient on a batch.
//!
//! The work of a batch: check everything that can be refused; find each row's weight, and so what its gradient is
//! multiplied by; compute the rows, each on its own, on all threads; add up in row order. No sum crosses threads, so
//! the result has the same bits for any number of them.

mod margin_values;
mod plan;
mod rows;
mod totals;
mod update;

use crate::batch::{Batch, Need, Needs};
use crate::buffer;
use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::geometry::Geometry;
use crate::real::Real;
use crate::reduction::Reduction;
use crate::simd::InstructionSet;
use crate::spec::LossSpec;
use crate::state::LossState;
use crate::sub_centers;
pub(crate) use margin_values::RowMarginPairs;
pub use margin_values::RowMargins;
use ndarray::{Array1, Array2, ArrayViewMut2};
pub(crate) use plan::Plan;
pub(crate) use rows::{RowOutcome, without_faults};

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
    /// (N): the weighted loss of each row, its regularizer included; 0 for ignored rows.
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
    /// By the norms of the embeddings (N), where the loss looks at them: through margins on the angle, margin values that the norm
    /// decides, and regularizers.
    pub embedding_norms: Option<Array1<F>>,
    /// By the norms of the prototypes (C), where the loss looks at them.
    pub weight_norms: Option<Array1<F>>,
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
        if let Some(regularizer) = spec.regularizer {
            regularizer.check(spec.geometry)?;
        }
        check_class_weights(spec.class_weights.as_deref(), num_classes)?;
        spec.negatives.check(spec.geometry)?;
        let needs = needs(&spec, num_classes);
        check_sub_centers(spec.sub_centers, needs.weight_norms == Need::Must)?;
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

    pub(crate) fn needs(&self) -> &Needs {
        &self.needs
    }

    pub(crate) fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// The state at the start of training, for a loss that has one: annealed or drawn margins, averages of norms or of the
    /// targets' cosines.
    pub fn initial_state(&self) -> Option<LossState> {
        (self.needs.state == Need::Must).then(LossState::default)
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
        batch.check(&self.needs)?;
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
        // Before any memory is taken: shapes that disagree may be of any size.
        batch.check(&self.needs)?;
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
        batch.check(&self.needs)?;
        self.run(batch, reduction, Some(gradient))
    }

    /// How much each row counts: the weight of its class times its own, 0 where it is ignored. For callers that compute
    /// the loss by other means, on a GPU say: everything is refused here that [`value`](Self::value) would refuse
    /// without looking at the scores, which may be a single zero, broadcast.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    ///
    /// ```
    /// use ndarray::{arr0, array};
    /// use softmargin::{presets, Batch, LossSpec};
    /// let spec = LossSpec { ignored_label: Some(-1), ..presets::find("arcface")?.spec() };
    /// let (zero, targets) = (arr0(0.0_f32), array![2, -1]);
    /// let scores = zero.broadcast((2, 1000)).expect("a single number takes any shape");
    /// assert_eq!(spec.build(1000)?.row_weights(&Batch::new(scores, targets.view()))?, [1.0, 0.0]);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn row_weights<F: Real>(&self, batch: &Batch<'_, F>) -> Result<Vec<f64>> {
        batch.check(&self.needs)?;
        let (plans, _) = self.plan(batch)?;
        Ok(plans.iter().map(|plan| plan.weight).collect())
    }

    /// Computes a batch that has been checked.
    fn run<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        gradient: Option<ArrayViewMut2<'_, F>>,
    ) -> Result<(Value<F>, Gradients<F>)> {
        let (plans, weight) = self.plan(batch)?;
        let values = self.values(batch, &plans);
        let outcomes = without_faults(self.rows(batch, &plans, &values, reduction.factor(weight), gradient))?;
        Ok(self.collect(batch, reduction, &plans, weight, &outcomes))
    }

    fn scale_parameter<F>(&self, batch: &Batch<'_, F>) -> f64 {
        batch.scale.unwrap_or_else(|| self.spec.scale.initial())
    }

    /// `s`, the temperature included.
    pub(crate) fn scale<F>(&self, batch: &Batch<'_, F>) -> f64 {
        self.spec.scale.clamp(self.scale_parameter(batch)) / self.spec.geometry.temperature()
    }
}

/// What the parts of a loss look at, beside scores and targets.
fn needs(spec: &LossSpec, num_classes: usize) -> Needs {
    let (angular, bounded) = (spec.margin.is_angular(), spec.geometry.is_bounded());
    let regularized = spec.regularizer.is_some();
    let inner_product = matches!(spec.geometry, Geometry::InnerProduct { .. });
    let averages = spec.negatives.momentum().is_some() || spec.margin.norm_momentum().is_some();
    Needs {
        num_classes,
        margins: Need::must_if(spec.margin.is_per_sample()),
        embedding_norms: Need::must_if(regularized || spec.margin.is_from_norm() || (angular && !bounded)),
        weight_norms: Need::must_if(angular && inner_product),
        scale: Need::may_if(spec.scale.is_learned()),
        radius: Need::may_if(spec.regularizer.and_then(|term| term.initial_radius()).is_some()),
        state: Need::must_if(averages || spec.margin.is_drawn() || spec.margin.anneal().is_some()),
    }
}

/// Several prototypes a class do not go with an angle that the norm of the class's one prototype is a part of.
fn check_sub_centers(count: usize, needs_weight_norms: bool) -> Result<()> {
    sub_centers::check(count)?;
    if count == 1 || !needs_weight_norms {
        return Ok(());
    }
    let expected = "1 with a margin on the angle of inner products";
    let advice = "take cosines or unit weights, whose scores do not depend on the norms of prototypes";
    Err(Error::new(ErrorKind::Spec, "sub_centers", expected, count.to_string(), advice))
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
