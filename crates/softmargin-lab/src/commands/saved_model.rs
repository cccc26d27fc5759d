//! The model of a run directory, ready for inference.

use crate::config::Config;
use crate::network::Model;
use crate::predictor::Predictor;
use crate::run::Checkpoint;
use burn::tensor::Device;
use softmargin_data::error::Error;

/// Loads the model of a run on a device: its configuration, the content of `model.safetensors` and the checkpoint.
///
/// # Errors
/// If the file of the model is damaged or belongs to another configuration.
pub(super) fn predictor(
    config: Config,
    weights: Vec<u8>,
    checkpoint: &Checkpoint,
    device: Device,
) -> Result<Predictor, Error> {
    let model = Model::load(&config, weights, checkpoint.loss_state.as_ref(), &device)?;
    Ok(Predictor::new(model, config, device))
}
