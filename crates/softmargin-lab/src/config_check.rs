//! What a configuration that comes from a file must hold before anything is built from it.
//!
//! A request is checked when it is made; a file may have been changed since it was written. Here nothing is allocated and
//! every product saturates, so that no number in the file can stop the program.

use crate::augmentation::Augmentation;
use crate::config::{Config, MAX_BATCH, MAX_EMBEDDING, MAX_EPOCHS, Recipe};
use crate::data::Normalisation;
use crate::network::{Convolution, Plan};
use std::fmt;

/// A part of a configuration that cannot be.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What was expected, of which part.
    pub(crate) expected: String,
    /// What is there.
    pub(crate) found: String,
}

const MAX_CONVOLUTIONS: usize = 64;
const MAX_CHANNELS: usize = 4096;
/// Values of one layer for one image: 256 MiB, sixteen times what the default network makes of the largest image.
const MAX_LAYER: usize = 1 << 26;

fn expect(holds: bool, expected: impl fmt::Display, found: impl fmt::Debug) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault { expected: expected.to_string(), found: format!("{found:?}") }) }
}

fn within(name: &str, value: usize, least: usize, most: usize) -> Result<(), Fault> {
    expect((least..=most).contains(&value), format!("{name} from {least} to {most}"), value)
}

impl Config {
    /// Checks all that building and using the model relies on.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        expect(self.classes >= 1, "one class at least", self.classes)?;
        let seen = self.input.shape();
        let expected = format!("network.image to be the {seen:?} of input");
        expect(self.network.image == seen, expected, self.network.image)?;
        self.network.check()?;
        self.normalisation.check()?;
        self.training.check()?;
        let built = self.loss.spec.clone().build(self.classes);
        built.map(|_| ()).map_err(|error| Fault {
            expected: format!("loss.spec.{} to be {}", error.subject(), error.expected()),
            found: error.found().to_owned(),
        })
    }

    /// Numbers that the file of the model holds at least.
    pub(crate) fn weights(&self) -> usize {
        let prototypes = self.classes.saturating_mul(self.loss.spec.sub_centres);
        self.network.weights().saturating_add(prototypes.saturating_mul(self.network.embedding))
    }
}

impl Plan {
    fn check(&self) -> Result<(), Fault> {
        within("network.embedding", self.embedding, 1, MAX_EMBEDDING)?;
        within("the count of network.convolutions", self.convolutions.len(), 1, MAX_CONVOLUTIONS)?;
        let [mut channels, mut height, mut width] = self.image;
        for convolution in &self.convolutions {
            convolution.check(channels)?;
            channels = convolution.channels;
            [height, width] = convolution.before_pool([height, width]);
            within("values of a layer", channels.saturating_mul(height).saturating_mul(width), 1, MAX_LAYER)?;
            [height, width] = convolution.after_pool([height, width]);
        }
        expect(height > 0 && width > 0, "convolutions that leave one row and column at least", [height, width])
    }
}

impl Convolution {
    fn check(&self, inputs: usize) -> Result<(), Fault> {
        within("channels of a convolution", self.channels, 1, MAX_CHANNELS)?;
        within("stride of a convolution", self.stride, 1, 2)?;
        let same = self.channels == inputs && self.stride == 1 && !self.pool;
        expect(same || !self.skip, "a skip only where channels and size stay the same", self)
    }
}

impl Normalisation {
    fn check(self) -> Result<(), Fault> {
        let sound = self.mean.is_finite() && self.deviation.is_finite() && self.deviation > 0.0;
        expect(sound, "a finite mean and a finite deviation above 0 in normalisation", self)
    }
}

impl Recipe {
    fn check(&self) -> Result<(), Fault> {
        within("training.epochs", self.epochs, 1, MAX_EPOCHS)?;
        within("training.batch-size", self.batch_size, 2, MAX_BATCH)?;
        let rate = self.learning_rate;
        expect(rate.is_finite() && rate > 0.0, "training.learning-rate to be finite and above 0", rate)?;
        let shares = [self.warm_up, self.momentum, self.weight_decay];
        let sound = shares.iter().all(|share| (0.0..1.0).contains(share));
        expect(sound, "training's warm-up, momentum and weight-decay from 0 up to, not including, 1", shares)?;
        self.augmentation.check()
    }
}

impl Augmentation {
    fn check(self) -> Result<(), Fault> {
        let amounts = [self.unchanged, self.rotation, self.scale, self.shift, self.shear, self.contrast];
        let sound = amounts.iter().all(|amount| amount.is_finite() && *amount >= 0.0);
        expect(sound, "amounts of training.augmentation that are finite, 0 or above", amounts)
    }
}
