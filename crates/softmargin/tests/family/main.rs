//! Tests of the loss family: golden values, the oracle, numerical derivatives and mathematical properties.

#![allow(clippy::print_stdout, reason = "each test prints how close the largest error is to its tolerance")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]
#![allow(clippy::cast_precision_loss, reason = "counts of rows and classes are small")]

mod batch_inputs;
mod bitwise_invariance;
mod combinations;
mod error_report;
mod extreme_magnitudes;
mod fused_head;
mod golden;
mod gradients;
mod head_against_oracle;
mod instruction_sets;
mod loss_request;
mod margin_values;
mod margins;
mod measures_and_smooth;
mod negatives;
mod oracle_description;
mod preset_coverage;
mod problem;
mod properties;
mod rejections;
mod row_plans;
mod spec_files;
mod special_values;
mod sub_centers;
mod tolerances;
