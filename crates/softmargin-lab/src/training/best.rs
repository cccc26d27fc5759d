//! The best epoch so far, and when to stop waiting for a better one.
//!
//! The best epoch is the one with the highest validation accuracy, the latest on ties. The loss does not break ties:
//! with a margin a handful of samples dominate it, and it would choose early epochs, before the learning rate has
//! fallen. It does count for the patience, which would otherwise end as soon as all samples are right.

/// The result of a model on the validation set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ValidationResult {
    /// The accuracy, from 0 to 1.
    pub(crate) accuracy: f64,
    /// The mean loss.
    pub(crate) loss: f64,
}

/// The best of the epochs so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BestEpoch {
    /// The best epoch, from 1, and its result.
    best: Option<(usize, Option<ValidationResult>)>,
    /// The least loss of any epoch.
    least_loss: Option<f64>,
    /// The last epoch with a higher accuracy or a lower loss than all before it.
    improved: usize,
}

impl BestEpoch {
    /// Adds an epoch, and returns whether it is the best so far. Without a validation set the last epoch is the best.
    pub(crate) fn update(&mut self, epoch: usize, result: Option<ValidationResult>) -> bool {
        let (better, as_good) = match (result, self.result()) {
            (Some(result), Some(best)) => (result.accuracy > best.accuracy, result.accuracy >= best.accuracy),
            _ => (true, true),
        };
        let loss = result.map(|result| result.loss);
        let lower = loss.is_some_and(|loss| self.least_loss.is_none_or(|least| loss < least));
        if lower {
            self.least_loss = loss;
        }
        if better || lower {
            self.improved = epoch;
        }
        if as_good {
            self.best = Some((epoch, result));
        }
        as_good
    }

    /// Returns the best epoch, from 1; 0 before there was any.
    pub(crate) fn epoch(&self) -> usize {
        self.best.map_or(0, |(epoch, _)| epoch)
    }

    /// Returns the result of the best epoch.
    pub(crate) fn result(&self) -> Option<ValidationResult> {
        self.best.and_then(|(_, result)| result)
    }

    /// Returns whether the last `patience` epochs, up to `epoch`, had neither a higher accuracy nor a lower loss.
    pub(crate) fn is_exhausted(&self, epoch: usize, patience: Option<usize>) -> bool {
        self.result().is_some() && patience.is_some_and(|patience| epoch >= self.improved + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the epochs that were the best when they ended, for these accuracies and losses; and the state at the
    /// end.
    fn taken(results: &[(f64, f64)]) -> (Vec<usize>, BestEpoch) {
        let mut best = BestEpoch::default();
        let epochs =
            results.iter().enumerate().map(|(at, &(accuracy, loss))| (at + 1, ValidationResult { accuracy, loss }));
        let taken =
            epochs.filter(|&(epoch, result)| best.update(epoch, Some(result))).map(|(epoch, _)| epoch).collect();
        (taken, best)
    }

    #[test]
    fn accuracy_decides_and_then_the_later_one() {
        assert_eq!(taken(&[(0.5, 1.0), (0.6, 2.0), (0.55, 0.1)]).0, [1, 2]);
        assert_eq!(taken(&[(0.5, 1.0), (0.5, 2.0), (0.4, 0.1), (0.5, 3.0)]).0, [1, 2, 4]);
    }

    #[test]
    fn without_validation_the_last_is_best_and_patience_never_ends() {
        let mut best = BestEpoch::default();
        assert!((1..=5).all(|epoch| best.update(epoch, None)));
        assert_eq!(best.epoch(), 5);
        assert!(!best.is_exhausted(9, Some(1)));
    }

    #[test]
    fn patience_counts_epochs_since_anything_got_better() {
        let past = |results: &[(f64, f64)]| taken(results).1.is_exhausted(results.len(), Some(2));
        assert!(!past(&[(0.5, 1.0), (0.5, 1.0)]));
        assert!(past(&[(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]), "as good is no better");
        assert!(!past(&[(0.5, 1.0), (0.5, 1.0), (0.4, 0.9)]), "the loss fell");
        assert!(!past(&[(0.5, 1.0), (0.5, 1.0), (0.6, 2.0)]), "the accuracy rose");
        assert!(past(&[(0.5, 1.0), (0.6, 0.5), (0.5, 0.6), (0.55, 0.7)]));
        assert!(!taken(&[(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]).1.is_exhausted(1000, None));
    }
}
