//! The best model so far, and when to stop looking for a better one.
//!
//! The best model is that of the highest validation accuracy, on ties the later one. The loss does not decide between
//! them: with a margin a handful of samples make most of it, and it would choose early models, from before the learning
//! rate has fallen. It does count for the patience, which would otherwise end as soon as all samples are right.

/// What a model makes of the validation samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    /// Share of them that are right.
    pub(super) accuracy: f64,
    /// Their mean loss.
    pub(super) loss: f64,
}

/// The best of the epochs so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Best {
    /// The best epoch, from 1, and its mark.
    best: Option<(usize, Option<Mark>)>,
    /// The least loss of any epoch.
    least_loss: Option<f64>,
    /// The last epoch that had a higher accuracy or a lower loss than all before it.
    improved: usize,
}

impl Best {
    /// Whether the model of an epoch is the best so far. Without validation samples there is no mark, and the last is best.
    pub(super) fn takes(&mut self, epoch: usize, mark: Option<Mark>) -> bool {
        let (better, as_good) = match (mark, self.mark()) {
            (Some(mark), Some(best)) => (mark.accuracy > best.accuracy, mark.accuracy >= best.accuracy),
            _ => (true, true),
        };
        let loss = mark.map(|mark| mark.loss);
        let lower = loss.is_some_and(|loss| self.least_loss.is_none_or(|least| loss < least));
        if lower {
            self.least_loss = loss;
        }
        if better || lower {
            self.improved = epoch;
        }
        if as_good {
            self.best = Some((epoch, mark));
        }
        as_good
    }

    /// The best epoch, from 1; 0 before there was any.
    pub(super) fn epoch(&self) -> usize {
        self.best.map_or(0, |(epoch, _)| epoch)
    }

    /// The mark of the best epoch.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.best.and_then(|(_, mark)| mark)
    }

    /// Whether `patience` epochs, up to `epoch`, have brought neither a higher accuracy nor a lower loss.
    pub(super) fn is_past(&self, epoch: usize, patience: Option<usize>) -> bool {
        self.mark().is_some() && patience.is_some_and(|patience| epoch >= self.improved + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epochs whose model was the best when they ended, by accuracy and loss of each; and what is known at the end.
    fn taken(marks: &[(f64, f64)]) -> (Vec<usize>, Best) {
        let mut best = Best::default();
        let epochs = marks.iter().enumerate().map(|(at, &(accuracy, loss))| (at + 1, Mark { accuracy, loss }));
        let taken = epochs.filter(|&(epoch, mark)| best.takes(epoch, Some(mark))).map(|(epoch, _)| epoch).collect();
        (taken, best)
    }

    #[test]
    fn accuracy_decides_and_then_the_later_one() {
        assert_eq!(taken(&[(0.5, 1.0), (0.6, 2.0), (0.55, 0.1)]).0, [1, 2]);
        assert_eq!(taken(&[(0.5, 1.0), (0.5, 2.0), (0.4, 0.1), (0.5, 3.0)]).0, [1, 2, 4]);
    }

    #[test]
    fn without_a_mark_the_last_is_best_and_patience_never_ends() {
        let mut best = Best::default();
        assert!((1..=5).all(|epoch| best.takes(epoch, None)));
        assert_eq!(best.epoch(), 5);
        assert!(!best.is_past(9, Some(1)));
    }

    #[test]
    fn patience_counts_epochs_since_anything_got_better() {
        let past = |marks: &[(f64, f64)]| taken(marks).1.is_past(marks.len(), Some(2));
        assert!(!past(&[(0.5, 1.0), (0.5, 1.0)]));
        assert!(past(&[(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]), "as good is no better");
        assert!(!past(&[(0.5, 1.0), (0.5, 1.0), (0.4, 0.9)]), "the loss fell");
        assert!(!past(&[(0.5, 1.0), (0.5, 1.0), (0.6, 2.0)]), "the accuracy rose");
        assert!(past(&[(0.5, 1.0), (0.6, 0.5), (0.5, 0.6), (0.55, 0.7)]));
        assert!(!taken(&[(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]).1.is_past(1000, None));
    }
}
