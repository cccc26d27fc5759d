//! The options of a head: what it stores between its two sweeps over the classes, and the precision of its products.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The storage of the N x C scores between the first sweep over the classes and the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// [`RowChunked`](Self::RowChunked) for many rows and few prototypes; else [`Store`](Self::Store) (under
    /// [`Precision::Bf16`] [`StoreHalf`](Self::StoreHalf)) if the scores fit into [`HeadOptions::memory`]; else
    /// [`Recompute`](Self::Recompute).
    #[default]
    Auto,
    /// Stores an f32 value per score: 4 N C bytes. Losses with label smoothing, and those that compare with the hardest
    /// negative only, cannot use stored values: they run as [`Recompute`](Self::Recompute).
    Store,
    /// Stores a bf16 value per score: 2 N C bytes. The gradient with respect to the prototypes has the precision of
    /// bf16, 8 bits. Otherwise as [`Store`](Self::Store).
    StoreHalf,
    /// Stores nothing. Scores are computed twice, which is a third more work.
    Recompute,
    /// Runs both sweeps on one chunk of rows at a time, for many rows and few prototypes. Each of up to sixteen groups
    /// of chunks has its own sum of the gradient with respect to the prototypes.
    RowChunked,
    /// Computes the scores of some rows at a time with [`Geometry`](crate::Geometry) and [`Loss`](crate::Loss). This is
    /// slow, but takes any input: the other modes fall back on it for infinite scores, soft targets and `f64`.
    Unfused,
}

/// The precision of the matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Factors (embeddings, prototypes and derivatives) rounded to bf16; sums, losses and gradients in single
    /// precision. The scores of the targets are not rounded to bf16. For processors with a dot product of bf16; on
    /// others it is slower than `F32`.
    Bf16,
}

/// Options of a [`Head`](super::Head).
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
    /// The storage between the sweeps. The default is [`Mode::Auto`].
    pub mode: Mode,
    /// The bytes that a call may use in addition to embeddings, prototypes and their gradients. The default is 1 GiB,
    /// the minimum [`LEAST_MEMORY`](Self::LEAST_MEMORY), which is reserved for everything except scores. The memory
    /// decides what [`Mode::Auto`] stores and how many rows [`Mode::Unfused`] computes at a time. A mode that needs
    /// more is an error.
    pub memory: u64,
    /// The precision of the products. The default is [`Precision::F32`].
    pub precision: Precision,
    /// True to compute log-sum-exp and entropy of each row, which costs an exponential per score; see
    /// [`RowStatistics`](super::RowStatistics). The default is false.
    pub statistics: bool,
}

impl HeadOptions {
    /// The memory of copies of the embeddings, tiles of prototypes and partial sums, for any number of classes and for
    /// embeddings of some hundred thousand values. Larger embeddings use several times their own size.
    pub const LEAST_MEMORY: u64 = 64 << 20;

    pub(super) fn check(&self) -> Result<()> {
        if self.memory >= Self::LEAST_MEMORY {
            return Ok(());
        }
        let expected = format!("at least {} bytes", Self::LEAST_MEMORY);
        let advice = "tiles and partial sums take that much for any number of classes";
        Err(Error::new(ErrorKind::Spec, "memory", expected, self.memory.to_string(), advice))
    }
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self { mode: Mode::Auto, memory: 1 << 30, precision: Precision::F32, statistics: false }
    }
}
