//! The command as a user runs it: results on standard output, errors on standard error, exit codes, and what is left.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

mod documents;
mod embed;
mod evaluate;
mod helpers;
mod losses;
mod predict;
mod terminal;
mod train;
