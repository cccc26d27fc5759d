//! The error of this crate: a chart that could not be drawn.

use std::fmt;

/// A chart that could not be drawn.
#[derive(Debug)]
pub(crate) struct Error {
    chart: String,
    cause: String,
}

impl Error {
    pub(crate) fn new(chart: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { chart: chart.into(), cause: cause.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chart of {}: expected finite values that can be drawn, found {}", self.chart, self.cause)
    }
}

impl std::error::Error for Error {}
