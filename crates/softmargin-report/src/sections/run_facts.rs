//! The data and the training of a run.

use crate::html::percent;
use crate::records::{Ending, Fact, TrainingRecord};
use crate::sections::facts;

pub(crate) fn section(data: &[Fact], training: &TrainingRecord) -> String {
    let count = training.epochs.len();
    let epochs = if count == 1 { "epoch" } else { "epochs" };
    let own = [
        Fact::new("training", format!("{count} {epochs}, {:.1} s in all", training.seconds)),
        Fact::new("model", saved_model(training)),
        Fact::new("speed", format!("{:.0} samples/s", training.samples_per_second)),
        Fact::new("parameters", training.parameters.to_string()),
    ];
    facts::section(&[data, &own].concat())
}

/// Describes which model was saved, and why training ended where it did.
fn saved_model(training: &TrainingRecord) -> String {
    let by = match training.validation_accuracy {
        Some(accuracy) => format!(", validation accuracy {}", percent(accuracy, 2)),
        None => ", the last: there is no validation set".into(),
    };
    let ended = match training.ending {
        Ending::Finished => "",
        Ending::Early => "; stopped early",
        Ending::Interrupted => "; interrupted",
        Ending::Failed => "; training failed",
    };
    format!("of epoch {}{by}{ended}", training.best_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_said_with_how_training_ended() {
        let mut training = TrainingRecord {
            epochs: Vec::new(),
            seconds: 2.0,
            best_epoch: 3,
            validation_accuracy: Some(0.5),
            ending: Ending::Early,
            samples_per_second: 10.0,
            parameters: 7,
        };
        assert_eq!(saved_model(&training), "of epoch 3, validation accuracy 50.00 %; stopped early");
        training.validation_accuracy = None;
        training.ending = Ending::Finished;
        assert_eq!(saved_model(&training), "of epoch 3, the last: there is no validation set");
        assert!(section(&[Fact::new("data", "x")], &training).contains("0 epochs, 2.0 s in all"));
    }
}
