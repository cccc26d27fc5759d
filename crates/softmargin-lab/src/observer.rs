//! Events of a training run, for progress displays. Nothing is printed here.

use crate::run::{EpochRecord, UnfinishedRun};
use std::path::PathBuf;

/// A run before its first step.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// The data, in a sentence.
    pub data: String,
    /// The training, validation and test set, in a sentence.
    pub split: String,
    /// Remarks on the data.
    pub notes: Vec<String>,
    /// The name of the loss.
    pub loss: String,
    /// The number of training samples.
    pub train_images: usize,
    /// The number of validation samples; 0 without a validation set.
    pub validation_images: usize,
    /// The number of test samples.
    pub test_images: usize,
    /// The number of classes.
    pub classes: usize,
    /// The number of trained parameters.
    pub parameters: usize,
    /// The number of epochs.
    pub epochs: usize,
    /// The number of samples in all epochs together.
    pub images: usize,
    /// The directory that contains the run until it is moved into its place.
    pub draft: PathBuf,
    /// Earlier runs beside it that were killed.
    pub unfinished: Vec<UnfinishedRun>,
}

/// One step of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// Samples since the start.
    pub images: usize,
    /// The mean loss of the epoch so far.
    pub loss: f64,
    /// The accuracy on the samples of the epoch so far.
    pub accuracy: f64,
}

/// Receives training events.
pub trait Observer {
    /// Called before the first step.
    fn begins(&mut self, outline: &Outline) {
        let _ = outline;
    }
    /// Called after each step.
    fn stepped(&mut self, step: &Step) {
        let _ = step;
    }
    /// Called after each epoch.
    fn finished_epoch(&mut self, epoch: &EpochRecord) {
        let _ = epoch;
    }
    /// Called after the last epoch, before the test set is used for the first time.
    fn test_begins(&mut self) {}
    /// Called before each step; `true` ends training with the best model so far.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
