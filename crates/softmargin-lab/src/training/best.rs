//! The best model so far, and when to stop looking for a better one.

/// What a model is judged by: the higher validation accuracy, then the lower validation loss, then the later epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mark {
    /// Share of the validation images that are right.
    pub(crate) accuracy: f64,
    /// Their mean loss.
    pub(crate) loss: f64,
}

impl Mark {
    /// Whether a later model with this mark takes the place of an earlier one with another.
    fn replaces(self, earlier: Self) -> bool {
        self.accuracy > earlier.accuracy || (self.accuracy == earlier.accuracy && self.loss <= earlier.loss)
    }
}

/// The best of the epochs so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Best {
    best: Option<(usize, Option<Mark>)>,
}

impl Best {
    /// Whether the model of an epoch is the best so far. Without validation images there is no mark, and the last is best.
    pub(crate) fn takes(&mut self, epoch: usize, mark: Option<Mark>) -> bool {
        let better = match (mark, self.best) {
            (Some(mark), Some((_, Some(best)))) => mark.replaces(best),
            _ => true,
        };
        if better {
            self.best = Some((epoch, mark));
        }
        better
    }

    /// The best epoch, from 1; 0 before there was any.
    pub(crate) fn epoch(&self) -> usize {
        self.best.map_or(0, |(epoch, _)| epoch)
    }

    /// The mark of the best epoch.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.best.and_then(|(_, mark)| mark)
    }

    /// Whether `patience` epochs, up to `epoch`, have brought nothing better.
    pub(crate) fn is_past(&self, epoch: usize, patience: Option<usize>) -> bool {
        self.mark().is_some() && patience.is_some_and(|patience| epoch - self.epoch() >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accuracy and loss of each epoch, and the epochs whose model was the best when they ended.
    fn taken(marks: &[(f64, f64)]) -> Vec<usize> {
        let mut best = Best::default();
        let epochs = marks.iter().enumerate().map(|(at, &(accuracy, loss))| (at + 1, Mark { accuracy, loss }));
        epochs.filter(|&(epoch, mark)| best.takes(epoch, Some(mark))).map(|(epoch, _)| epoch).collect()
    }

    #[test]
    fn accuracy_decides_then_loss_then_the_later_one() {
        assert_eq!(taken(&[(0.5, 1.0), (0.6, 2.0), (0.55, 0.1)]), [1, 2]);
        assert_eq!(taken(&[(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)]), [1, 2]);
        assert_eq!(taken(&[(1.0, 0.1), (1.0, 0.1), (1.0, 0.2)]), [1, 2]);
    }

    #[test]
    fn without_a_mark_the_last_is_best_and_patience_never_ends() {
        let mut best = Best::default();
        assert!((1..=5).all(|epoch| best.takes(epoch, None)));
        assert_eq!(best.epoch(), 5);
        assert!(!best.is_past(9, Some(1)));
    }

    #[test]
    fn patience_counts_epochs_since_the_best() {
        let mut best = Best::default();
        best.takes(3, Some(Mark { accuracy: 0.5, loss: 1.0 }));
        let past = |epoch| best.is_past(epoch, Some(2));
        assert_eq!([3, 4, 5, 6].map(past), [false, false, true, true]);
        assert!(!best.is_past(1000, None));
    }
}
