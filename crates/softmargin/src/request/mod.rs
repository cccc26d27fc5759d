//! A loss by name: the preset, an overlay of parts, scale, margin and class counts, resolved to one [`LossSpec`].
//!
//! The command, the Python package and every file format describe a loss as a [`LossRequest`]. It is resolved here and
//! nowhere else, in this order; a later step overrides an earlier one:
//!
//! 1. the [spec](crate::presets::Preset::spec) of the preset, [`DEFAULT_LOSS`] if none is named;
//! 2. the [`Overlay`], merged table by table;
//! 3. scale and margin, [by number](crate::presets::Preset::with_numbers);
//! 4. the class counts, for margin values by class frequency that have no counts.
//!
//! ```
//! use softmargin::request::LossRequest;
//!
//! let request: LossRequest = toml::from_str(
//!     "name = 'arcface'
//!      scale = 32
//!      spec = { sub-centers = 3, margin = { beyond-pi = 'extend' } }",
//! )?;
//! let loss = request.resolve()?.build(10)?;
//! assert_eq!((loss.spec().scale.initial(), loss.spec().sub_centers), (32.0, 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`LossSpec`]: crate::LossSpec

mod check_name;
mod loss_request;
mod overlay;
mod renamed;

pub use loss_request::{DEFAULT_LOSS, LossRequest, ResolvedLoss};
pub use overlay::Overlay;
pub use renamed::{RENAMED, current_name};
