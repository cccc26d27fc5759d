//! Before any row is computed: its class, and how much it counts.
//!
//! A row's weight is the weight of its class times its own; that of an ignored row is 0. Under a soft target the weights
//! of the classes are averaged with its probabilities, which for a one-hot target is the same.

use super::Loss;
use crate::batch::{Batch, Targets};
use crate::error::{Error, ErrorKind, Result};
use crate::margin::Margin;
use crate::measures;
use crate::negatives::Negatives;
use crate::real::Real;
use ndarray::ArrayView1;

/// What a row is compared with, and how much it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) weight: f64,
    /// The class of a hard target; 0 for soft ones.
    pub(crate) class: usize,
}

impl Loss {
    /// The weight and the class of every row, and the sum of the weights.
    pub(crate) fn plan<F: Real>(&self, batch: &Batch<'_, F>) -> Result<(Vec<Plan>, f64)> {
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
        let weight = total_weight(&plans)?;
        Ok((plans, weight))
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
        } else if self.spec.negatives != Negatives::Plain {
            "modified negatives, which are those of one class"
        } else if self.spec.regularizer.is_some_and(|term| term.is_for_correct_rows()) {
            "feature incay, which needs to know the right class"
        } else {
            return Ok(());
        };
        let expected = "classes, unless the loss is softmax cross-entropy without a margin, of plain negatives";
        Err(Error::new(ErrorKind::Input, "soft targets", expected, found, "give one class a row"))
    }

    fn check_margins<F: Real>(&self, batch: &Batch<'_, F>, plans: &[Plan]) -> Result<()> {
        let Some(margins) = batch.margins else { return Ok(()) };
        let kept = margins.iter().zip(plans).enumerate().filter(|(_, (_, plan))| plan.weight > 0.0);
        for (row, (value, _)) in kept {
            let check = self.spec.margin.check_sample_margin_value(value.widen(), self.spec.geometry.is_bounded());
            check.map_err(|error| error.about(format!("margins[{row}]")))?;
        }
        Ok(())
    }
}

/// The sum of the weights; one that cannot be divided by is refused.
fn total_weight(plans: &[Plan]) -> Result<f64> {
    let total: f64 = plans.iter().map(|plan| plan.weight).sum();
    if total == 0.0 || total.is_normal() {
        return Ok(total);
    }
    let expected = "a sum of row weights that can be divided by";
    let advice = "bring class weights and sample weights nearer to 1";
    Err(Error::new(ErrorKind::Number, "sample weights", expected, format!("{total:e}"), advice))
}
