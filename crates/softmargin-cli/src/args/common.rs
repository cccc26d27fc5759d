//! The flags of every subcommand.

use super::value_parsers::{device, whole};
use clap::Args;
use softmargin_lab::{DeviceChoice, Error, device::use_threads};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every subcommand")]
pub(crate) struct Common {
    /// Where to compute [default: cpu]
    #[arg(long, global = true, value_name = "DEVICE", value_parser = device())]
    pub(crate) device: Option<DeviceChoice>,
    /// Number of threads; results are bitwise identical for any number [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
    /// Print only the result and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    /// Applies the flags that affect the whole process. The device is checked even if the subcommand computes nothing.
    ///
    /// # Errors
    /// If the number of threads is out of range or the device cannot be used.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        if let Some(threads) = self.threads {
            use_threads(threads)?;
        }
        self.device.map_or(Ok(()), |device| device.open().map(|_| ()))
    }

    /// Returns the chosen device; the CPU by default.
    pub(crate) fn device(&self) -> DeviceChoice {
        self.device.unwrap_or_default()
    }
}
