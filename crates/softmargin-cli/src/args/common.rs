//! Flags of every subcommand.

use super::{device, whole};
use clap::Args;
use softmargin_lab::{DeviceChoice, Error, device::use_threads};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every subcommand")]
pub(crate) struct Common {
    /// Where to compute [default: cpu]
    #[arg(long, global = true, value_name = "DEVICE", value_parser = device())]
    pub(crate) device: Option<DeviceChoice>,
    /// Threads to compute with; the result is the same for any number [default: one a core]
    #[arg(long, global = true, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    pub(crate) threads: Option<usize>,
    /// Say nothing but the result and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    /// Makes the flags take effect that concern the whole process; a device that is not there is refused, whether the
    /// subcommand computes or not.
    ///
    /// # Errors
    /// On a number of threads out of range and a device that cannot be used.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        if let Some(threads) = self.threads {
            use_threads(threads)?;
        }
        self.device.map_or(Ok(()), |device| device.open().map(|_| ()))
    }

    /// The device asked for, or the processor.
    pub(crate) fn device(&self) -> DeviceChoice {
        self.device.unwrap_or_default()
    }
}
