//! Encoder and head: what is trained, saved, loaded and used.

use super::encoder::Encoder;
use super::initial_weight::initial_weight;
use crate::config::Config;
use crate::run::{MODEL, STATE, damaged};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_store::{ModuleSnapshot, SafetensorsStore};
use softmargin::LossState;
use softmargin_burn::{MarginHead, MarginHeadConfig};
use softmargin_data::error::Error;
use std::path::Path;

/// The stream of random numbers for the prototypes; no layer of an encoder has this number.
const PROTOTYPES: u64 = u32::MAX as u64;

/// An encoder that turns samples into embeddings, and a head that turns embeddings into class scores.
#[derive(Module, Debug)]
pub struct Model {
    /// Turns samples into embeddings.
    pub network: Encoder,
    /// Turns embeddings into scores and a loss.
    pub head: MarginHead,
}

impl Model {
    /// Creates a model before training.
    ///
    /// # Errors
    /// If the loss of the configuration does not fit its number of classes.
    pub fn new(config: &Config, device: &Device) -> Result<Self, Error> {
        let (embedding, seed) = (config.network.embedding(), config.training.seed);
        let head = MarginHeadConfig::new(embedding, config.data.classes).with_loss(config.loss.spec.clone());
        let mut head = head.try_init(device)?;
        head.weight = initial_weight(head.weight.dims(), embedding, seed, PROTOTYPES, device);
        if let Some(state) = head.state().cloned() {
            head.set_state(state.with_seed(seed));
        }
        Ok(Self { network: Encoder::new(&config.network, seed, device), head })
    }

    /// Loads the model of a configuration with saved weights (the content of `model.safetensors`) and, if its loss has
    /// one, the saved state of the loss.
    ///
    /// # Errors
    /// If the weights or the state are damaged or belong to another configuration.
    pub fn load(
        config: &Config,
        weights: Vec<u8>,
        loss_state: Option<&LossState>,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut model = Self::new(config, device)?;
        let mut store = SafetensorsStore::from_bytes(Some(weights));
        model
            .load_from(&mut store)
            .map_err(|cause| damaged(Path::new(MODEL), "the weights of the model in config.toml", brief(&cause)))?;
        match (loss_state, model.head.state()) {
            (None, None) => {}
            (Some(state), Some(_)) => {
                state.check()?;
                model.head.set_state(state.clone());
            }
            (Some(_), None) => return Err(damaged(Path::new(STATE), "no state, since the loss has none", "a state")),
            (None, Some(_)) => return Err(damaged(Path::new(STATE), "the state of the loss", "none")),
        }
        Ok(model)
    }

    /// Returns the model as the content of a file in the safetensors format.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        // The store writes its metadata in the order of a hash table. With one entry, equal models have equal bytes.
        let mut store = SafetensorsStore::from_bytes(None).clear_metadata().metadata("producer", "softmargin");
        let unwritable = |cause: String| Error::failure(MODEL, "a model that can be written", cause, "");
        self.save_into(&mut store).map_err(|cause| unwritable(cause.to_string()))?;
        store.get_bytes().map_err(|cause| unwritable(cause.to_string()))
    }

    /// Computes the embeddings (N, D) of inputs (N, channels, height, width).
    pub fn embeddings(&self, inputs: Tensor<4>) -> Tensor<2> {
        self.network.forward(inputs)
    }
}

/// Returns values as a tensor (N, channels, height, width).
pub(crate) fn input_tensor(
    values: Vec<f32>,
    count: usize,
    [channels, height, width]: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [count, channels, height, width]), device)
}

/// Returns the beginning of a long message, on one line.
fn brief(cause: &impl std::fmt::Display) -> String {
    const LENGTH: usize = 160;
    let text = cause.to_string().replace('\n', " ");
    if text.chars().count() <= LENGTH { text } else { text.chars().take(LENGTH).chain("...".chars()).collect() }
}
