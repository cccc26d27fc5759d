//! Shared by the tests: cases over the whole family, and their comparison with the core crate.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod cases;
mod compare;

pub use cases::{CLASSES, COUNTS, Case, Problem, ROWS, WIDTH, cases, numbers, preset};
pub use compare::{
    Answer, F32, F64, Question, ask, assert_close, core, core_head, core_row_by_row, device, head, targets, tensor,
};
