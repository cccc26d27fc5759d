//! NumPy's array files: read whole, read row by row, written.

mod array;
mod labels;
mod layout;
mod rows;
pub mod writer;

pub use array::NpyArray;
pub(crate) use labels::Labels;
pub(crate) use rows::NpyRows;

#[cfg(test)]
mod tests;
