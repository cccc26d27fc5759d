//! A layer of the network as one fused operation on the CPU: one formula per file, and the binding to Burn's Flex
//! backend.

mod batch_normalization;
mod convolution;
mod flex;
mod lanes;
mod layer;
mod memory;
mod pooling;
mod profile;
#[cfg(test)]
mod tests;

pub use profile::{PARTS, profile};

pub(super) use flex::{LayerOptions, fits, forward};
