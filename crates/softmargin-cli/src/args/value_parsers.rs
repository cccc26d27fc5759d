//! Parsers of the values of flags.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use softmargin_lab::DeviceChoice;
use std::str::FromStr;

/// Parses an integer; clap names the flag, and ranges are checked with the rest of the request.
pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a whole number, 0 or above, found {text:?}"))
}

/// Parses a number.
pub(super) fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("expected a number such as 0.5, found {text:?}"))
}

/// Parses the name of a device.
pub(super) fn device() -> impl TypedValueParser<Value = DeviceChoice> {
    PossibleValuesParser::new(DeviceChoice::ALL.map(DeviceChoice::name)).try_map(|name| name.parse::<DeviceChoice>())
}
