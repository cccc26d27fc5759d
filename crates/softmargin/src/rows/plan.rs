//! The properties of the rows of a batch that do not depend on scores: weights, classes, margin values.
//!
//! A row's weight is its class weight times its sample weight; an ignored row has weight 0. The class weight of a soft
//! target is the mean of the class weights under its probabilities, which for a one-hot target is the weight of its
//! class.

use super::inputs::{Learned, RowInputs, Targets};
use crate::axes::margin::Margin;
use crate::axes::margin_value::RowMargin;
use crate::axes::negatives::Negatives;
use crate::error::{Error, ErrorKind, Result};
use crate::loss::{Loss, Need, Needs};
use crate::measures;
use crate::number::Real;
use crate::reduction::Reduction;
use ndarray::ArrayView1;

/// The rows of a batch, checked: their weights, classes, margins and norms.
///
/// Created by [`Loss::plan`]. The [module](crate::rows) describes the following steps.
#[derive(Clone, Debug)]
pub struct RowPlan {
    pub(super) loss: Loss,
    pub(super) rows: Vec<PlannedRow>,
    pub(super) weight: f64,
    /// `s`, temperature included.
    pub(super) scale: f64,
    /// The parameter of the scale, before clamping.
    pub(super) scale_parameter: f64,
    pub(super) radius: Option<f64>,
    pub(super) step: u64,
    pub(super) target_mean: f64,
}

/// The properties of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedRow {
    pub(super) weight: f64,
    /// The class of a hard target; 0 for soft targets and ignored rows.
    pub(super) class: usize,
    /// The margin value of a margin on score or logit, or `plus`; and `minus`.
    pub(super) margins: [RowMargin; 2],
    /// `|x|`; 1 if the loss does not depend on it.
    pub(super) embedding_norm: f64,
    /// `|w_y|`; 1 if the loss does not depend on it.
    pub(super) target_norm: f64,
}

impl Loss {
    /// Checks the inputs of the rows of a batch, and computes their weights, classes and margin values.
    ///
    /// A loss that depends on the norms of prototypes reads them from the inputs, or, for the targets only, from
    /// [`RowPlan::set_target_norms`].
    ///
    /// # Errors
    /// If shapes disagree, a label is out of range, a value is negative or not finite, an input that the loss needs is
    /// missing, or the loss does not use an input. The message names the row.
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::rows::Learned;
    /// use softmargin::{RowInputs, presets};
    /// let loss = presets::ARCFACE.spec().with_ignored_label(-1).build(1000)?;
    /// let targets = array![2, -1];
    /// let plan = loss.plan::<f32>(&targets.view().into(), Learned::default())?;
    /// assert_eq!((plan.weights().collect::<Vec<_>>(), plan.total_weight()), (vec![1.0, 0.0], 1.0));
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn plan<F: Real>(&self, inputs: &RowInputs<'_, F>, learned: Learned) -> Result<RowPlan> {
        self.plan_rows(inputs.count(), inputs, learned)
    }

    /// Returns the plan of `rows` rows, after checking that the inputs have as many.
    pub(crate) fn plan_rows<F: Real>(
        &self,
        rows: usize,
        inputs: &RowInputs<'_, F>,
        learned: Learned,
    ) -> Result<RowPlan> {
        let needs = match self.needs().weight_norms {
            Need::Must => Needs { weight_norms: Need::May, ..*self.needs() },
            Need::May | Need::Not => *self.needs(),
        };
        inputs.check(rows, self.num_classes(), &needs, learned)?;
        self.plan_checked(inputs, learned)
    }

    /// Returns the plan of inputs that have been checked.
    pub(crate) fn plan_checked<F: Real>(&self, inputs: &RowInputs<'_, F>, learned: Learned) -> Result<RowPlan> {
        let mut rows = self.weighted_rows(inputs)?;
        let weight = total_weight(&rows)?;
        self.set_margins(&mut rows, inputs);
        let scale_parameter = learned.scale.unwrap_or_else(|| self.spec().scale.initial());
        Ok(RowPlan {
            loss: self.clone(),
            rows,
            weight,
            scale: self.spec().scale.clamp(scale_parameter) / self.spec().geometry.temperature(),
            scale_parameter,
            radius: learned.radius,
            step: inputs.state.map_or(0, |state| state.step),
            target_mean: inputs.state.map_or(0.0, |state| state.target_mean),
        })
    }

    /// Computes weight, class and norms of every row. The margin values are still to be set.
    pub(super) fn weighted_rows<F: Real>(&self, inputs: &RowInputs<'_, F>) -> Result<Vec<PlannedRow>> {
        let sample_weight = |row: usize| inputs.sample_weights.map_or(1.0, |weights| weights[row].widen());
        let embedding_norm = |row: usize| inputs.embedding_norms.map_or(1.0, |norms| norms[row].widen());
        let row = |row: usize, class_weight: f64, class: usize| PlannedRow {
            weight: class_weight * sample_weight(row),
            class,
            margins: [RowMargin::default(); 2],
            embedding_norm: embedding_norm(row),
            target_norm: inputs.weight_norms.map_or(1.0, |norms| norms[class].widen()),
        };
        let rows = match inputs.targets {
            Targets::Hard(labels) => {
                let labels = labels.iter().enumerate();
                labels
                    .map(|(index, &label)| match self.class(index, label)? {
                        Some(class) => Ok(row(index, self.class_weight(class), class)),
                        None => Ok(PlannedRow { weight: 0.0, ..row(index, 0.0, 0) }),
                    })
                    .collect::<Result<Vec<_>>>()?
            }
            Targets::Soft(targets) => {
                self.check_soft_allowed()?;
                let rows = targets.rows().into_iter().enumerate();
                rows.map(|(index, p)| Ok(row(index, self.mean_class_weight(index, p)?, 0)))
                    .collect::<Result<Vec<_>>>()?
            }
        };
        self.check_margins(inputs, &rows)?;
        Ok(rows)
    }

    /// Returns the class of a label; `None` for the ignored label.
    fn class(&self, row: usize, label: i64) -> Result<Option<usize>> {
        let ignored = self.spec().ignored_label;
        if ignored == Some(label) {
            return Ok(None);
        }
        if let Some(class) = usize::try_from(label).ok().filter(|&class| class < self.num_classes()) {
            return Ok(Some(class));
        }
        let ignored = ignored.map_or_else(String::new, |label| format!(", or {label} to ignore the row"));
        let expected = format!("a class from 0 to {}{ignored}", self.num_classes() - 1);
        let (subject, advice) = (format!("target of row {row}"), "check the labels and the number of classes");
        Err(Error::new(ErrorKind::Label, subject, expected, label.to_string(), advice))
    }

    fn class_weight(&self, class: usize) -> f64 {
        self.spec().class_weights.as_ref().map_or(1.0, |weights| weights[class])
    }

    fn mean_class_weight<F: Real>(&self, row: usize, targets: ArrayView1<'_, F>) -> Result<f64> {
        let p: Vec<f64> = targets.iter().map(|p| p.widen()).collect();
        measures::check_distribution(&format!("targets of row {row}"), &p)?;
        Ok(match &self.spec().class_weights {
            None => 1.0,
            Some(weights) => p.iter().zip(weights).map(|(p, weight)| p * weight).sum(),
        })
    }

    fn check_soft_allowed(&self) -> Result<()> {
        let spec = self.spec();
        let found = if spec.comparison.cross_entropy_options().is_none() {
            "another comparison"
        } else if spec.margin != Margin::None {
            "a margin, which belongs to a single target class"
        } else if spec.negatives != Negatives::Plain {
            "modified negatives, which depend on a single target class"
        } else if spec.regularizer.is_some_and(|term| term.is_for_correct_rows()) {
            "feature incay, which needs a single target class"
        } else {
            return Ok(());
        };
        let expected = "classes, unless the loss is softmax cross-entropy without a margin, of plain negatives";
        Err(Error::new(ErrorKind::Input, "soft targets", expected, found, "give one class per row"))
    }

    fn check_margins<F: Real>(&self, inputs: &RowInputs<'_, F>, rows: &[PlannedRow]) -> Result<()> {
        let Some(margins) = inputs.margins else { return Ok(()) };
        let valid = margins.iter().zip(rows).enumerate().filter(|(_, (_, planned))| planned.weight > 0.0);
        for (row, (value, _)) in valid {
            let spec = self.spec();
            let check = spec.margin.check_sample_margin_value(value.widen(), spec.geometry.is_bounded());
            check.map_err(|error| error.about(format!("margins[{row}]")))?;
        }
        Ok(())
    }
}

impl RowPlan {
    /// Returns the loss that the plan was created from.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Returns the number of rows N.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the weight of a row: its class weight times its sample weight, 0 if the row is ignored.
    pub fn row_weight(&self, row: usize) -> f64 {
        self.rows[row].weight
    }

    /// Returns the weights of all rows (N).
    pub fn weights(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.rows.iter().map(|row| row.weight)
    }

    /// Returns the sum of the weights.
    pub fn total_weight(&self) -> f64 {
        self.weight
    }

    /// Returns the class of a row; 0 for soft targets and ignored rows.
    pub fn class(&self, row: usize) -> usize {
        self.rows[row].class
    }

    /// Returns the classes of all rows (N); 0 for soft targets and ignored rows.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.rows.iter().map(|row| row.class)
    }

    /// Returns the scale `s` of the scores: the scale of the loss, clamped to its range, divided by the temperature.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Returns the margin values of a row: the one of a margin on score or logit, or
    /// [`plus`](crate::AngularMargin::plus); and [`minus`](crate::AngularMargin::minus). They are 0 for ignored rows
    /// and for margins without the value.
    pub fn margin_values(&self, row: usize) -> [f64; 2] {
        self.rows[row].margins.map(|margin| margin.value)
    }

    /// Returns the derivatives of [`margin_values`](Self::margin_values) with respect to the norm of the row's
    /// embedding. Under a straight-through gradient they have no effect.
    pub fn margin_derivatives(&self, row: usize) -> [f64; 2] {
        self.rows[row].margins.map(|margin| margin.slope)
    }

    /// Sets the norm of the prototype of each row's target (N), for a loss that depends on it and whose inputs lack the
    /// norms of all prototypes. Any other loss ignores the norms.
    ///
    /// # Panics
    /// If the number of norms is not N.
    pub fn set_target_norms(&mut self, norms: impl ExactSizeIterator<Item = f64>) {
        assert_eq!(norms.len(), self.rows.len(), "one norm per row");
        if self.loss.needs_weight_norms() {
            for (row, norm) in self.rows.iter_mut().zip(norms) {
                row.target_norm = norm;
            }
        }
    }

    /// Returns the factor of the loss of a row in the total of the batch, its weight included.
    ///
    /// If no row is valid, the factor is NaN under [`Reduction::MeanOrNan`].
    pub fn row_factor(&self, row: usize, reduction: Reduction) -> f64 {
        reduction.factor(self.weight) * self.rows[row].weight
    }
}

/// Returns the sum of the weights, or an error if it is neither 0 nor a normal number, and so cannot be divided by.
fn total_weight(rows: &[PlannedRow]) -> Result<f64> {
    let total: f64 = rows.iter().map(|row| row.weight).sum();
    if total == 0.0 || total.is_normal() {
        return Ok(total);
    }
    let expected = "a sum of row weights that can be divided by";
    let advice = "bring class weights and sample weights nearer to 1";
    Err(Error::new(ErrorKind::Number, "sample weights", expected, format!("{total:e}"), advice))
}
