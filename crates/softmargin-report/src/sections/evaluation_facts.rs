//! The figures of an evaluation as facts.

use crate::html::percent;
use crate::records::{EvaluationRecord, Fact};

pub(crate) fn facts(evaluation: &EvaluationRecord) -> Vec<Fact> {
    let wrong: usize = evaluation.confusions.iter().map(|confusion| confusion.count).sum();
    let without = evaluation.classes.iter().filter(|class| class.samples == 0).count();
    let mut facts = vec![
        Fact::new("result", format!("{wrong} of {} samples wrong", evaluation.samples)),
        Fact::new("loss", format!("{:.4}, with the margin, as in training", evaluation.loss)),
        Fact::new("mean recall", format!("{} over the classes that have samples", percent(evaluation.mean_recall, 2))),
        Fact::new("mean F1", format!("{} over the same", percent(evaluation.mean_f1, 2))),
    ];
    if without > 0 {
        let value = format!("{without} of {} classes have no samples here", evaluation.classes.len());
        facts.push(Fact::new("untested", value));
    }
    facts
}
