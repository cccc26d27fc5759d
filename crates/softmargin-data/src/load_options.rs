//! Options for reading a data set.

use crate::images::Preparation;
use crate::memory_limit;
use crate::split::HoldOut;

/// Options for [`Dataset::load`](crate::Dataset::load). The default leaves everything to the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// The size of the prepared images.
    pub sizing: Sizing,
    /// The rule for the test set; an error where the data have one of their own. `None`: `every:5`.
    pub test_split: Option<HoldOut>,
    /// The rule for the validation set, applied to the other samples; where the data have one of their own, all but
    /// `none` is an error. `None`: `every:10`.
    pub validation_split: Option<HoldOut>,
    /// Bytes that decoded samples may take; larger sets are streamed. `None`: a quarter of the machine's memory.
    pub memory: Option<u64>,
}

impl LoadOptions {
    /// Returns the number of bytes that decoded samples may take.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.unwrap_or_else(memory_limit::default_limit)
    }
}

/// The size of the prepared images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizing {
    /// Digits and IDX images preserve their size. For an image folder, the median of the longer sides of the
    /// images outside the test set, rounded to a multiple of 4 and clamped to 8 to 64.
    #[default]
    Automatic,
    /// Squares with a side of this many pixels, 8 to 512.
    Side(usize),
    /// The size and the channels that a model was trained with.
    Prepared(Preparation),
}

/// The smallest and the largest side for [`Sizing::Side`], in pixels.
pub const SIDES: std::ops::RangeInclusive<usize> = 8..=512;
