//! Results as the plain records of the report.

use crate::predictor::Evaluation;
use crate::run::{EpochRecord, Stopped};
use softmargin_data::Dataset;
use softmargin_data::wording::printable;
use softmargin_report::{ClassRecord, ConfusionRecord, Ending, EpochPoint, EvaluationRecord, Fact};

/// Converts an evaluation with the names of its classes (C).
pub(super) fn evaluation_record(names: &[String], evaluation: &Evaluation) -> EvaluationRecord {
    let classification = &evaluation.classification;
    let classes = names.iter().zip(&classification.classes).map(|(name, class)| ClassRecord {
        name: printable(name).into_owned(),
        samples: class.support,
        correct: class.correct,
        precision: class.precision(),
        recall: class.recall(),
        f1: class.f1(),
    });
    let confusions = classification.errors.iter().map(|error| ConfusionRecord {
        class: error.class,
        predicted: error.predicted,
        count: error.count,
    });
    EvaluationRecord {
        samples: classification.samples,
        accuracy: classification.accuracy,
        loss: evaluation.loss,
        mean_recall: classification.mean_recall(),
        mean_f1: classification.mean_f1(),
        classes: classes.collect(),
        confusions: confusions.collect(),
    }
}

/// Lists the facts about the data of a run.
pub(super) fn data_facts(data: &Dataset) -> Vec<Fact> {
    let mut facts = vec![Fact::new("data", printable(&data.description)), Fact::new("split", &data.split)];
    facts.extend(data.notes.iter().map(|note| Fact::new("note", printable(note))));
    facts
}

pub(super) fn epoch_point(epoch: &EpochRecord) -> EpochPoint {
    EpochPoint {
        epoch: epoch.epoch,
        loss: epoch.loss,
        accuracy: epoch.accuracy,
        validation_loss: epoch.validation_loss,
        validation_accuracy: epoch.validation_accuracy,
    }
}

pub(super) fn ending(stopped: Stopped) -> Ending {
    match stopped {
        Stopped::Finished => Ending::Finished,
        Stopped::Early => Ending::Early,
        Stopped::Interrupted => Ending::Interrupted,
        Stopped::Failed => Ending::Failed,
    }
}
