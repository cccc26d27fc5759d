//! The update of the moving averages of a [`LossState`] with a batch, before the step's loss is computed.
//!
//! ```text
//! T  <- momentum mean(cos_y) + (1 - momentum) T                 curricular negatives
//! mu <- momentum mean(a) + (1 - momentum) mu                    standardized margin values
//! sd <- momentum sd(a) + (1 - momentum) sd                      with a = |x| clamped to [0.001, 100]
//! ```
//!
//! Mean and standard deviation (with divisor n - 1) run over the valid rows, each with weight 1. A batch without valid
//! rows leaves the averages unchanged. A batch with a single valid row has no standard deviation, and leaves `sd`
//! unchanged.

use super::inputs::{Learned, RowInputs, Targets};
use super::plan::PlannedRow;
use crate::axes::geometry::COSINE_TOLERANCE;
use crate::axes::margin_value::bounded_norm;
use crate::error::{Error, ErrorKind, Result};
use crate::loss::{Loss, Need, Needs};
use crate::number::Real;
use crate::state::LossState;

impl Loss {
    /// Updates the moving averages of a state with the rows of a batch, given the score of each row's target (N).
    ///
    /// [`Loss::update`] and [`Head::update`](crate::head::Head::update) do so for scores and embeddings. This function
    /// is for callers that compute the loss by other means. Ignored rows have no effect. A loss without averages leaves
    /// the state unchanged.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), except that the inputs need no state; also if the number of scores is not N. The state
    /// is then unchanged.
    pub fn update_rows<F: Real>(
        &self,
        state: &mut LossState,
        inputs: &RowInputs<'_, F>,
        target_scores: &[f64],
    ) -> Result<()> {
        if target_scores.len() != inputs.count() {
            let (expected, found) = (format!("{}, one per row", inputs.count()), target_scores.len().to_string());
            let advice = "give the score of every row's target";
            return Err(Error::new(ErrorKind::Shape, "target scores", expected, found, advice));
        }
        let weight_norms = if self.needs_weight_norms() { Need::May } else { Need::Not };
        let needs = Needs { weight_norms, state: Need::May, ..*self.needs() };
        inputs.check(inputs.count(), self.num_classes(), &needs, Learned::default())?;
        self.update_with(state, inputs, |row, _| target_scores[row])
    }

    /// Updates the averages with inputs that have been checked; `score_of` returns the score of a row and a class.
    pub(crate) fn update_with<F: Real>(
        &self,
        state: &mut LossState,
        inputs: &RowInputs<'_, F>,
        score_of: impl Fn(usize, usize) -> f64,
    ) -> Result<()> {
        state.check()?;
        let rows = self.weighted_rows(inputs)?;
        if let Some(momentum) = self.spec().negatives.momentum()
            && let Some(mean) = mean(&target_cosines(inputs, &rows, score_of)?)
        {
            state.target_mean += momentum * (mean - state.target_mean);
        }
        if let Some(momentum) = self.spec().margin.norm_momentum() {
            let norms = norms(&rows);
            if let Some(mean) = mean(&norms) {
                state.norm_mean += momentum * (mean - state.norm_mean);
            }
            if let Some(std) = std(&norms) {
                state.norm_std += momentum * (std - state.norm_std);
            }
        }
        Ok(())
    }
}

/// Returns the finite cosines of the targets of the valid rows.
fn target_cosines<F: Real>(
    inputs: &RowInputs<'_, F>,
    rows: &[PlannedRow],
    score_of: impl Fn(usize, usize) -> f64,
) -> Result<Vec<f64>> {
    let Targets::Hard(_) = inputs.targets else { return Ok(Vec::new()) };
    let mut scores = Vec::with_capacity(rows.len());
    for (row, planned) in rows.iter().enumerate().filter(|(_, planned)| planned.weight > 0.0) {
        let score = score_of(row, planned.class);
        if score.is_nan() {
            let advice = "look for a division by zero, an overflow or a diverging step before this";
            let subject = format!("scores of row {row}");
            return Err(Error::new(ErrorKind::Number, subject, "numbers", "NaN", advice));
        }
        if score.is_finite() && score.abs() > 1.0 + COSINE_TOLERANCE {
            let advice = "normalize embeddings and prototypes first";
            let (subject, expected) = (format!("scores of row {row}"), "the target's score to be a cosine");
            return Err(Error::new(ErrorKind::Number, subject, expected, score.to_string(), advice));
        }
        scores.push(score);
    }
    scores.retain(|score| score.is_finite());
    Ok(scores)
}

/// Returns the clipped norms of the embeddings of the valid rows.
fn norms(rows: &[PlannedRow]) -> Vec<f64> {
    rows.iter().filter(|row| row.weight > 0.0).map(|row| bounded_norm(row.embedding_norm)).collect()
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

fn std(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers).filter(|_| numbers.len() > 1)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    Some((squares / (numbers.len() as f64 - 1.0)).sqrt())
}
