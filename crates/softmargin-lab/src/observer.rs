//! What a caller is told while training goes on. Nothing here is printed.

use serde::Serialize;
use std::path::PathBuf;

/// What is about to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// The data, in a sentence.
    pub data: String,
    /// Which samples train, validate and test, in a sentence.
    pub split: String,
    /// What the reader should know of the data.
    pub notes: Vec<String>,
    /// The loss by name.
    pub loss: String,
    /// Images to train with.
    pub train_images: usize,
    /// Images that the best model is chosen by; 0 where none are held out.
    pub validation_images: usize,
    /// Images to test with.
    pub test_images: usize,
    /// Classes.
    pub classes: usize,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Passes over the data.
    pub epochs: usize,
    /// Images in all the passes together.
    pub images: usize,
    /// The directory that holds the run until it is moved into its place.
    pub workshop: PathBuf,
}

/// One step of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From 1.
    pub epoch: usize,
    /// Images since the start.
    pub images: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Share of the epoch's images so far whose highest score was that of their class.
    pub accuracy: f64,
}

/// One pass over the training data; a line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss over the pass, with the margin and on changed images.
    pub loss: f64,
    /// Share of images whose highest score was that of their class, as they were when the network saw them.
    pub accuracy: f64,
    /// Mean loss over the validation images after the pass, with the margin; `None` where there are none.
    pub validation_loss: Option<f64>,
    /// Share of the validation images whose highest score was that of their class; `None` where there are none.
    pub validation_accuracy: Option<f64>,
    /// At the end of the pass.
    pub learning_rate: f64,
    /// Images a second, over the pass.
    pub images_per_second: f64,
    /// Since training began.
    pub seconds: f64,
}

/// Somebody who is told.
pub trait Observer {
    /// Before the first step.
    fn begins(&mut self, outline: &Outline) {
        let _ = outline;
    }
    /// After each step.
    fn stepped(&mut self, step: &Step) {
        let _ = step;
    }
    /// After each pass.
    fn finished_epoch(&mut self, epoch: &Epoch) {
        let _ = epoch;
    }
    /// After the last pass, before the test data are looked at for the first time.
    fn tests(&mut self) {}
    /// Asked before each step: whether training is to end here, with the best model so far.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
