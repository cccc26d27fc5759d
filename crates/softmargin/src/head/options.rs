//! How a head is computed: what it remembers between its two sweeps over the classes, and how precisely it multiplies.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What is kept of the N x C scores between the first sweep over the classes and the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// [`Store`](Self::Store) where that fits into the memory that is allowed, else [`Recompute`](Self::Recompute);
    /// [`RowChunked`](Self::RowChunked) where rows are many and prototypes few. Under [`Precision::Bf16`]
    /// [`StoreHalf`](Self::StoreHalf) takes the place of the first.
    #[default]
    Auto,
    /// A number of single precision for each score: 4 N C bytes. With label smoothing, and where only the strongest
    /// negative counts, there is nothing to keep: scores are recomputed.
    Store,
    /// A bf16 number for each: 2 N C bytes. The gradient by the prototypes has their 8 bits. Else as
    /// [`Store`](Self::Store).
    StoreHalf,
    /// Nothing: scores are computed twice, a third more work.
    Recompute,
    /// The rows in chunks, whose scores are kept while they are at hand: for many rows and few prototypes, whose
    /// gradient each of up to sixteen groups of rows sums up on its own.
    RowChunked,
    /// The scores of some rows at a time, by the plain code of [`Geometry`](crate::Geometry) and [`Loss`](crate::Loss).
    /// Slow, for any input and precision: what the other modes fall back on where a score is infinite, and for soft
    /// targets and `f64`.
    Unfused,
}

/// What products are computed of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precision {
    /// Numbers of single precision.
    #[default]
    F32,
    /// Embeddings, prototypes and slopes rounded to bf16; sums, losses and gradients of single precision. The targets'
    /// own scores keep single precision. For processors with a dot product of bf16; on others it is slower than `F32`.
    Bf16,
}

/// How a [`Head`](super::Head) is computed.
///
/// ```
/// use softmargin::head::{Head, HeadOptions, Mode};
/// let loss = softmargin::presets::find("am-softmax")?.spec().build(1000)?;
/// let head = Head::with_options(loss, HeadOptions { mode: Mode::Recompute, ..HeadOptions::default() })?;
/// assert_eq!(head.options().mode, Mode::Recompute);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct HeadOptions {
    /// What is kept between the sweeps.
    pub mode: Mode,
    /// Bytes that a call may take beyond embeddings, prototypes and their gradients; 1 GiB where nothing is said. It
    /// decides what [`Mode::Auto`] keeps and how many rows [`Mode::Unfused`] takes at a time, and a mode that keeps
    /// more is refused. At least [`LEAST_MEMORY`](Self::LEAST_MEMORY), which goes to everything that is not scores.
    pub memory: u64,
    /// What products are computed of.
    pub precision: Precision,
    /// Whether log-sum-exp and entropy of each row are asked for; see
    /// [`RowStatistics`](super::RowStatistics). They cost an exponential a score.
    pub statistics: bool,
}

impl HeadOptions {
    /// What copies of the embeddings, tiles of prototypes and partial sums take, whatever the number of classes, for
    /// some hundred thousand numbers of embeddings; several times the embeddings where those are larger.
    pub const LEAST_MEMORY: u64 = 64 << 20;

    pub(super) fn check(&self) -> Result<()> {
        if self.memory >= Self::LEAST_MEMORY {
            return Ok(());
        }
        let expected = format!("at least {} bytes", Self::LEAST_MEMORY);
        let advice = "tiles and partial sums take that much, whatever the number of classes";
        Err(Error::new(ErrorKind::Spec, "memory", expected, self.memory.to_string(), advice))
    }
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self { mode: Mode::Auto, memory: 1 << 30, precision: Precision::F32, statistics: false }
    }
}
