//! Training, validation and test sets.

mod division;
mod hold_out;

pub(crate) use division::{Division, Undivided};
pub use hold_out::HoldOut;
