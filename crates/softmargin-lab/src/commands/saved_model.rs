//! The model of a run directory, ready for inference.

use crate::error::Error;
use crate::network::Model;
use crate::predictor::Predictor;
use crate::run::Run;
use burn::tensor::Device;

/// Loads the model of a run onto a device.
///
/// # Errors
/// If the file of the model is damaged or belongs to another configuration.
pub(super) fn predictor(run: &Run, device: Device) -> Result<Predictor, Error> {
    let model = Model::load(&run.config, run.model.clone(), run.checkpoint.loss_state.as_ref(), &device)?;
    Ok(Predictor::new(model, run.config.clone(), device))
}
