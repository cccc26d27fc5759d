//! The loops over the classes of a row, compiled for every instruction set.
//!
//! `sweep.rs` has the loops, in plain code that the compiler vectorizes. `sweeps.rs` compiles them for each instruction
//! set and selects one at run time, once per batch. `work.rs` does the same for loops of other modules, and `vector/`
//! has the operations of matrix products. No other module depends on the processor.

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
