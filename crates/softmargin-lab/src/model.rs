//! Network and head: what is trained, saved, loaded and used.

use crate::config::Config;
use crate::encoder::Encoder;
use crate::error::Error;
use crate::network::initial_weight;
use crate::run_dir::{MODEL, Run, STATE, broken};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_store::{ModuleSnapshot, SafetensorsStore};
use softmargin_burn::{MarginHead, MarginHeadConfig};
use std::path::Path;

/// The stream of random numbers that the prototypes are drawn from; no layer of a network has this number.
const PROTOTYPES: u64 = u32::MAX as u64;

/// An encoder that turns samples into embeddings, and a head that turns embeddings into class scores.
#[derive(Module, Debug)]
pub struct Model {
    /// Samples to embeddings.
    pub network: Encoder,
    /// Embeddings to scores and loss.
    pub head: MarginHead,
}

impl Model {
    /// A model as it is before training.
    ///
    /// # Errors
    /// When the loss of the configuration does not fit its number of classes.
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

    /// The model of a run.
    ///
    /// # Errors
    /// When the file of the model is broken or belongs to another configuration.
    pub fn load(run: &Run, device: &Device) -> Result<Self, Error> {
        let mut model = Self::new(&run.config, device)?;
        let mut store = SafetensorsStore::from_bytes(Some(run.model.clone()));
        model
            .load_from(&mut store)
            .map_err(|cause| broken(Path::new(MODEL), "the weights of the model in config.toml", brief(&cause)))?;
        match (&run.checkpoint.loss_state, model.head.state()) {
            (None, None) => {}
            (Some(state), Some(_)) => {
                state.check()?;
                model.head.set_state(state.clone());
            }
            (Some(_), None) => return Err(broken(Path::new(STATE), "no state, as the loss has none", "one")),
            (None, Some(_)) => return Err(broken(Path::new(STATE), "the state of the loss", "none")),
        }
        Ok(model)
    }

    /// The model as the content of a file in the safetensors format.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        // The store writes its metadata in the order of a hash table: with one entry, the same model has the same bytes.
        let mut store = SafetensorsStore::from_bytes(None).clear_metadata().metadata("producer", "softmargin");
        let unwritable = |cause: String| Error::failure(MODEL, "a model that can be written", cause, "");
        self.save_into(&mut store).map_err(|cause| unwritable(cause.to_string()))?;
        store.get_bytes().map_err(|cause| unwritable(cause.to_string()))
    }

    /// Embeddings (N, D) of inputs (N, channels, height, width).
    pub fn embeddings(&self, inputs: Tensor<4>) -> Tensor<2> {
        self.network.forward(inputs)
    }
}

/// Values as a tensor (N, channels, height, width).
pub(crate) fn input(
    values: Vec<f32>,
    count: usize,
    [channels, height, width]: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [count, channels, height, width]), device)
}

/// The first words of a message that goes on for a screen.
fn brief(cause: &impl std::fmt::Display) -> String {
    const LENGTH: usize = 160;
    let text = cause.to_string().replace('\n', " ");
    if text.chars().count() <= LENGTH { text } else { text.chars().take(LENGTH).chain("...".chars()).collect() }
}
