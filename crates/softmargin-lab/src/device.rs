//! Devices, and the number of threads.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use softmargin_data::error::Error;
use std::fmt;
use std::str::FromStr;

/// A kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The CPU, all cores.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; in builds with the feature `cuda`.
    Cuda,
    /// The default GPU of the system's graphics interface; in builds with the feature `wgpu`.
    Wgpu,
}

impl DeviceChoice {
    /// All kinds, including those that this build lacks.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Wgpu];

    /// Returns the name, as `--device` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Wgpu => "wgpu",
        }
    }

    /// Opens the device.
    ///
    /// # Errors
    /// With exit code 2: this build does not support the device; the message says how to build one that does. With exit
    /// code 1: the machine has no such device.
    pub fn open(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => self.probed(|| Device::cuda(burn::tensor::DeviceIndex::Default)),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => self.probed(|| Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(all(feature = "cuda", feature = "wgpu")))]
            missing => {
                let name = missing.name();
                let advice = format!("build with it: cargo build --release --features {name}; or use --device cpu");
                Err(Error::request("--device", "a device that this build supports", name, advice))
            }
        }
    }

    /// Makes a device and checks that it computes a small sum correctly. The framework panics if it finds no driver or
    /// no GPU; that panic is caught here and becomes an error.
    #[cfg(any(feature = "cuda", feature = "wgpu", test))]
    fn probed(self, make: impl FnOnce() -> Device) -> Result<Device, Error> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let probe = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let device = make();
            let sum: f32 = burn::tensor::Tensor::<1>::ones([2], &device).sum().into_scalar();
            (device, sum)
        }));
        std::panic::set_hook(hook);
        match probe {
            Ok((device, 2.0)) => Ok(device),
            _ => {
                let advice = "install its driver, or use --device cpu";
                Err(Error::failure("--device", format!("a {self} device that works"), "none", advice))
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.name() == text)
            .ok_or_else(|| Error::request("--device", "cpu, cuda or wgpu", text, "choose one of these"))
    }
}

/// Larger numbers of threads are treated as typos.
const MAX_THREADS: usize = 1024;

/// Sets the number of threads; call it before any computation. Results are bitwise identical for any number.
///
/// # Errors
/// With exit code 2: a number out of range. With exit code 1: threads are in use already or cannot be started.
pub fn use_threads(threads: usize) -> Result<(), Error> {
    if !(1..=MAX_THREADS).contains(&threads) {
        let expected = format!("a whole number from 1 to {MAX_THREADS}");
        return Err(Error::request("--threads", expected, threads, "omit it for one thread per core"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|cause| {
        Error::failure("--threads", format!("{threads} threads that can be started"), &cause, "").with_source(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_out_of_range_is_rejected() {
        for threads in [0, 1025, usize::MAX] {
            let error = use_threads(threads).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().starts_with("--threads: expected"), "{error}");
        }
    }

    #[test]
    fn names_are_parsed_and_others_are_rejected() {
        for choice in DeviceChoice::ALL {
            assert_eq!(choice.name().parse::<DeviceChoice>().unwrap(), choice);
        }
        assert_eq!("tpu".parse::<DeviceChoice>().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_device_that_panics_is_an_error() {
        assert!(DeviceChoice::Cuda.probed(Device::flex).is_ok());
        let error = DeviceChoice::Cuda.probed(|| panic!("no driver")).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("--device cpu"), "{error}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_a_device_says_how_to_get_one_with_it() {
        let error = DeviceChoice::Cuda.open().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }
}
