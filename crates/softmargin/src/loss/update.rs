//! Taking a batch into the averages of a [`LossState`], before the step's loss is computed with it.
//!
//! ```text
//! T  <- momentum mean(cos_y) + (1 - momentum) T                 curricular negatives
//! mu <- momentum mean(a) + (1 - momentum) mu                    standardized margin values, a = |x| kept from 0.001 to 100
//! sd <- momentum sd(a) + (1 - momentum) sd                      with n - 1 in the divisor
//! ```
//!
//! Over the rows that count, each once. A batch without any leaves the averages; one of a single row has no deviation,
//! and leaves that.

use super::Loss;
use super::plan::Plan;
use crate::batch::{Batch, Need, Needs, Targets};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::COSINE_TOLERANCE;
use crate::margin_value::bounded_norm;
use crate::real::Real;
use crate::state::LossState;

impl Loss {
    /// Takes a batch into the averages that the loss looks at. Called in training, before the step's loss; after the step
    /// [`LossState::advance`] counts it. A loss without averages leaves the state as it is.
    ///
    /// Of the scores only those of the targets are looked at: a caller that has these alone may give a column (N, 1),
    /// broadcast.
    ///
    /// # Errors
    /// As [`value`](Self::value), but of the scores only those of the targets are looked at, and the batch need not bring a
    /// state. The state is then as it was.
    ///
    /// ```
    /// use ndarray::array;
    /// use softmargin::{presets, Batch, Reduction};
    /// let loss = presets::find("curricularface")?.spec().build(2)?;
    /// let mut state = loss.initial_state().expect("it has an average");
    /// let (cosines, targets) = (array![[0.8_f32, 0.1], [0.3, 0.4]], array![0, 1]);
    /// let batch = Batch::new(cosines.view(), targets.view());
    /// loss.update(&mut state, &batch)?;
    /// assert!((state.target_mean - 0.01 * 0.6).abs() < 1e-8);
    /// let value = loss.value(&batch.with_state(&state), Reduction::Mean)?;
    /// state.advance();
    /// assert_eq!(state.step, 1);
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn update<F: Real>(&self, state: &mut LossState, batch: &Batch<'_, F>) -> Result<()> {
        batch.check(&Needs { state: Need::May, ..self.needs })?;
        state.check()?;
        let (plans, _) = self.plan(batch)?;
        if let Some(momentum) = self.spec.negatives.momentum()
            && let Some(mean) = mean(&target_cosines(batch, &plans)?)
        {
            state.target_mean += momentum * (mean - state.target_mean);
        }
        if let Some(momentum) = self.spec.margin.norm_momentum() {
            let norms = norms(batch, &plans);
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

/// The finite cosines of the targets of the rows that count.
fn target_cosines<F: Real>(batch: &Batch<'_, F>, plans: &[Plan]) -> Result<Vec<f64>> {
    let Targets::Hard(_) = batch.targets else { return Ok(Vec::new()) };
    let mut scores = Vec::with_capacity(plans.len());
    for (row, plan) in plans.iter().enumerate().filter(|(_, plan)| plan.weight > 0.0) {
        let score = batch.scores[[row, plan.class]].widen();
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

/// The norms of the rows that count.
fn norms<F: Real>(batch: &Batch<'_, F>, plans: &[Plan]) -> Vec<f64> {
    let all = batch.embedding_norms.into_iter().flatten().zip(plans);
    all.filter(|(_, plan)| plan.weight > 0.0).map(|(norm, _)| bounded_norm(norm.widen())).collect()
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

fn std(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers).filter(|_| numbers.len() > 1)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    Some((squares / (numbers.len() as f64 - 1.0)).sqrt())
}
