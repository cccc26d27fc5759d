//! A loss over given scores: its value and gradient.
//!
//! A batch is computed in four steps: check all inputs; plan the rows, so that each gradient is written with its final
//! factor; compute the rows independently, on all threads; add up in row order. No sum crosses threads, so results are
//! bitwise identical for any number of threads.

mod batch;
mod comparison;
mod faults;
mod kernel;
mod transformed_negatives;

pub use batch::Batch;
pub(crate) use comparison::multiplier;
pub(crate) use faults::without_faults;
pub(crate) use kernel::ScoredRows;

use crate::axes::geometry::ScoreGradients;
use crate::buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::loss::{Loss, Need, Needs};
use crate::number::Real;
use crate::reduction::Reduction;
use crate::rows::{RowPlan, RowTotals, Value, rounded};
use crate::state::LossState;
use ndarray::{Array1, Array2, ArrayViewMut2};

/// The gradient of [`Value::total`].
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<F> {
    /// With respect to the scores (N, C), with the norms held fixed.
    pub scores: Array2<F>,
    /// With respect to everything else.
    pub rows: RowGradients<F>,
}

/// The gradient of [`Value::total`] with respect to everything but the scores.
#[derive(Clone, Debug, PartialEq)]
pub struct RowGradients<F> {
    /// With respect to the scale, learned or fixed.
    pub scale: F,
    /// With respect to the radius of ring loss; 0 for other losses.
    pub radius: F,
    /// With respect to the norms of the embeddings (N), if the loss depends on them: through margins on the angle,
    /// margin values from the norm, or regularizers.
    pub embedding_norms: Option<Array1<F>>,
    /// With respect to the norms of the prototypes (C), if the loss depends on them.
    pub weight_norms: Option<Array1<F>>,
}

impl<F> From<Gradients<F>> for ScoreGradients<F> {
    fn from(gradients: Gradients<F>) -> Self {
        let Gradients { scores, rows: RowGradients { embedding_norms, weight_norms, .. } } = gradients;
        Self { scores, embedding_norms, weight_norms }
    }
}

impl<F: Real> RowGradients<F> {
    pub(crate) fn of(totals: &RowTotals, plan: &RowPlan) -> Self {
        Self {
            scale: F::round_from(totals.scale),
            radius: F::round_from(totals.radius),
            embedding_norms: totals.embedding_norms.as_deref().map(rounded),
            weight_norms: totals.weight_norms(plan).as_deref().map(rounded),
        }
    }
}

impl Loss {
    /// Computes the loss of a batch.
    ///
    /// # Errors
    /// If shapes disagree, a label is out of range, an input that the loss needs is missing, the loss does not use an
    /// input, a score is NaN, or a soft target is not a distribution. The message names the rows.
    pub fn value<F: Real>(&self, batch: &Batch<'_, F>, reduction: Reduction) -> Result<Value<F>> {
        batch.check(self, self.needs())?;
        self.run(batch, reduction, None).map(|(value, _)| value)
    }

    /// Computes the loss of a batch and its gradients.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::{Batch, Reduction, presets};
    /// let loss = presets::CROSS_ENTROPY.spec().build(2)?;
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
        // Checked before allocating: shapes that disagree may be of any size.
        batch.check(self, self.needs())?;
        let (rows, classes) = batch.shape();
        let mut scores = buffer::zeros(rows, classes);
        let (value, rows) = self.run(batch, reduction, Some(scores.view_mut()))?;
        Ok((value, Gradients { scores, rows }))
    }

    /// Computes the loss of a batch and its gradients, and writes the gradient with respect to the scores into an array
    /// (N, C) of any strides. After an error, the content of the array is unspecified.
    ///
    /// # Errors
    /// As [`value`](Self::value); also if the array has another shape.
    pub fn value_and_grad_into<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        gradient: ArrayViewMut2<'_, F>,
    ) -> Result<(Value<F>, RowGradients<F>)> {
        if gradient.dim() != batch.shape() {
            let (expected, found) = (format!("{:?}, like the scores", batch.shape()), format!("{:?}", gradient.dim()));
            let advice = "give an array shaped like the scores";
            return Err(Error::new(ErrorKind::Shape, "gradient", expected, found, advice));
        }
        batch.check(self, self.needs())?;
        self.run(batch, reduction, Some(gradient))
    }

    /// Updates the moving averages of a state with a batch.
    ///
    /// Call it in training before the loss of the step; [`LossState::advance`] counts the step afterwards. A loss
    /// without averages leaves the state unchanged.
    ///
    /// # Errors
    /// As [`value`](Self::value), except that only the scores of the targets are read and the batch needs no state. The
    /// state is then unchanged.
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::{Batch, Reduction, RowInputs, presets};
    /// let loss = presets::CURRICULARFACE.spec().build(2)?;
    /// let mut state = loss.initial_state().expect("curricularface has a moving average");
    /// let (cosines, targets) = (array![[0.8_f32, 0.1], [0.3, 0.4]], array![0, 1]);
    /// loss.update(&mut state, &Batch::new(cosines.view(), targets.view()))?;
    /// assert!((state.target_mean - 0.01 * 0.6).abs() < 1e-8);
    /// let rows = RowInputs::new(targets.view()).with_state(&state);
    /// let value = loss.value(&Batch::new(cosines.view(), rows), Reduction::Mean)?;
    /// state.advance();
    /// assert_eq!(state.step, 1);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn update<F: Real>(&self, state: &mut LossState, batch: &Batch<'_, F>) -> Result<()> {
        let needs = Needs { state: Need::May, ..*self.needs() };
        batch.check(self, &needs)?;
        self.update_with(state, &batch.rows, |row, class| batch.scores[[row, class]].widen())
    }

    /// Computes a batch that has been checked.
    fn run<F: Real>(
        &self,
        batch: &Batch<'_, F>,
        reduction: Reduction,
        gradient: Option<ArrayViewMut2<'_, F>>,
    ) -> Result<(Value<F>, RowGradients<F>)> {
        let plan = self.plan_checked(&batch.rows, batch.learned)?;
        let (targets, scores) = (batch.rows.targets.reborrow(), batch.scores.reborrow());
        let rows = ScoredRows { plan: &plan, targets, first: 0, scores };
        let outcomes = without_faults(rows.compute(reduction, gradient))?;
        let totals = plan.totals(&outcomes, reduction);
        Ok((totals.value(), RowGradients::of(&totals, &plan)))
    }
}
