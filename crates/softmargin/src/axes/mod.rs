//! The axes of a loss: one file per axis, with its formulas, its choices as plain data, and the check of its
//! parameters.

pub(crate) mod comparison;
pub(crate) mod gate;
pub(crate) mod geometry;
pub(crate) mod margin;
pub(crate) mod margin_value;
pub(crate) mod negatives;
mod no_options;
pub(crate) mod regularizer;
pub(crate) mod scale;
pub mod sub_centers;
