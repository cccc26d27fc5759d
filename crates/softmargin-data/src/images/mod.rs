//! Image files: decoded, and prepared as inputs of a model.

mod decoded_image;
mod image_file;
mod ink;
mod letterbox;
mod preparation;

pub(crate) use decoded_image::DecodedImage;
pub(crate) use image_file::{ImageHeader, has_image_signature};
pub use ink::Ink;
pub(crate) use preparation::MAX_SIDE;
pub use preparation::Preparation;
