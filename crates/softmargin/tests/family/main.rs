//! The family against golden values, against its naive twin, against numerical derivatives and against its own laws.

#![allow(clippy::print_stdout, reason = "each test says how near to its tolerance the worst number came")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]
#![allow(clippy::cast_precision_loss, reason = "counts of rows and classes are small")]

mod coverage;
mod edges;
mod extremes;
mod fused;
mod gauge;
mod golden;
mod gradients;
mod grid;
mod head;
mod inputs;
mod instructions;
mod invariance;
mod loss_request;
mod margin_values;
mod margins;
mod measures_and_smooth;
mod negatives;
mod problem;
mod properties;
mod refusals;
mod rows;
mod spec_files;
mod sub_centers;
mod tolerances;
mod twin;
