//! The few loops over the classes of a row, each once for every instruction set.
//!
//! `sweep.rs` holds the loops, in plain code that a compiler vectorizes; `sweeps.rs` compiles them anew for each
//! instruction set and chooses among them at run time, once a batch. `work.rs` does so for loops that stand elsewhere, and
//! `vector/` has the operations of matrix products. This module alone knows of processors.

mod instruction_set;
mod sweep;
mod sweeps;
#[cfg(test)]
mod tests;
mod vector;
mod work;

pub use instruction_set::InstructionSet;
pub(crate) use sweep::{Affine, Scan, TILE};
pub use sweep::{ExpSums, GateSums, NegativeTransform};
pub(crate) use sweep::{curricular, hinge, misclassified, present, soft_hinge};
pub(crate) use sweeps::Sweeps;
#[cfg(test)]
pub(crate) use vector::to_bf16;
pub use vector::{LINE, Line, Vector};
pub(crate) use vector::{from_bf16, pair, prefetch};
pub use work::{Instructions, Work, run_on};
