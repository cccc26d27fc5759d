//! The network: an encoder that turns samples into embeddings, and a head that turns embeddings into class scores.
//!
//! | file | content |
//! |---|---|
//! | `model.rs` | encoder and head: built, loaded, saved |
//! | `encoder.rs` | convolutions for images, a projection or nothing for embeddings |
//! | `convolutions.rs` | the convolutional network |
//! | `fused/` | a convolutional layer as one operation on the CPU |
//! | `initial_weight.rs` | initial weights |
//!
//! The layers are part of the configuration: [`EncoderPlan`](crate::config::EncoderPlan).

mod convolutions;
mod encoder;
mod fused;
mod initial_weight;
mod model;

pub use convolutions::Recognizer;
pub use encoder::{Encoder, Projection};
pub use fused::{PARTS, profile};
pub use model::Model;
pub(crate) use model::input_tensor;
