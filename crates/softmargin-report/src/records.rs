//! The input of the pages: structs of strings, numbers and vectors.

/// A name and its value, as a page lists them. Both are plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Fact {
    /// Creates a fact.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// The page of a training run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// The title, plain text.
    pub title: String,
    /// The facts about the data.
    pub data: Vec<Fact>,
    /// The course and the result of training.
    pub training: TrainingRecord,
    /// The result on the test set, if there is one.
    pub test: Option<EvaluationRecord>,
    /// The configuration as text.
    pub configuration: String,
    /// The parts that the run lacks because something failed, each with its cause; plain text.
    pub missing: Vec<String>,
}

/// The page of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationPage {
    /// The title, plain text.
    pub title: String,
    /// The facts about the model and the samples.
    pub facts: Vec<Fact>,
    /// The result.
    pub evaluation: EvaluationRecord,
}

/// The course and the result of training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingRecord {
    /// The completed epochs, in order.
    pub epochs: Vec<EpochPoint>,
    /// The seconds from reading the data to the end of the test.
    pub seconds: f64,
    /// The epoch of the saved model, from 1.
    pub best_epoch: usize,
    /// The validation accuracy of the saved model, from 0 to 1; `None` without a validation set.
    pub validation_accuracy: Option<f64>,
    /// The reason why training ended.
    pub ending: Ending,
    /// The training speed.
    pub samples_per_second: f64,
    /// The number of trained parameters.
    pub parameters: usize,
}

/// The reason why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After the last epoch.
    Finished,
    /// The validation results stopped improving.
    Early,
    /// The user interrupted it.
    Interrupted,
    /// An epoch failed.
    Failed,
}

/// One epoch of the training curves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPoint {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// The mean training loss.
    pub loss: f64,
    /// The training accuracy, from 0 to 1.
    pub accuracy: f64,
    /// The mean validation loss; `None` without a validation set.
    pub validation_loss: Option<f64>,
    /// The validation accuracy, from 0 to 1; `None` without a validation set.
    pub validation_accuracy: Option<f64>,
}

/// The result of a model on labeled samples.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationRecord {
    /// The number of samples.
    pub samples: usize,
    /// From 0 to 1.
    pub accuracy: f64,
    /// The mean loss.
    pub loss: f64,
    /// From 0 to 1.
    pub mean_recall: f64,
    /// From 0 to 1.
    pub mean_f1: f64,
    /// (C): the classes, in the order of their indices.
    pub classes: Vec<ClassRecord>,
    /// The confusions that occurred, in the order of the class.
    pub confusions: Vec<ConfusionRecord>,
}

/// The result of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRecord {
    /// The name, plain text.
    pub name: String,
    /// The number of samples of the class.
    pub samples: usize,
    /// Those of them that were predicted as the class.
    pub correct: usize,
    /// From 0 to 1; `None` where it is undefined.
    pub precision: Option<f64>,
    /// From 0 to 1; `None` where it is undefined.
    pub recall: Option<f64>,
    /// From 0 to 1; `None` where it is undefined.
    pub f1: Option<f64>,
}

/// Samples of one class that were predicted as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfusionRecord {
    /// The index of the class.
    pub class: usize,
    /// The index of the class that they were predicted as.
    pub predicted: usize,
    /// The number of samples.
    pub count: usize,
}
