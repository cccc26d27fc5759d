//! The loss family a second time: naive, in `f64`, straight from the formulas.
//!
//! Nothing here is shared with crate `softmargin`; that is what makes agreement between the two
//! worth something. No vector instructions, no fusion, no reuse of intermediate results: every
//! file states one part of the equation
//!
//! ```text
//! loss = gate( comparison_{j != y}( s * negative(score_j) ) - s * psi(score_y) )
//! ```
//!
//! | file | part |
//! |---|---|
//! | `measures` | self-information, entropy, cross-entropy, Kullback-Leibler |
//! | `smooth` | softplus, logistic, log-sum-exp, softmax |
//! | `margin` | `psi` and its derivatives |
//! | `value` | how large a margin is: by class, row, frequency or norm, or drawn |
//! | `random` | the normal draws |
//! | `negatives` | what becomes of the scores `j != y` |
//! | `state` | what changes from step to step |
//! | `comparison` | comparison and gate of one row |
//! | `row` | the loss of one row: comparison, margin, smoothing, z-loss, infinities |
//! | `regularizer` | feature incay, ring, magnitude |
//! | `loss` | the batch: weights, ignored rows, reduction |
//! | `surrogate` | the function whose true derivative a straight-through gradient is |
//! | `head` | scores from embeddings and weights, and the chain rule back |
//! | `difference` | numerical derivatives |
//! | `presets` | the published losses by name |
//!
//! Matrices are flat slices, row after row.
//!
//! ```
//! use softmargin_oracle::{Batch, Targets, preset};
//!
//! let batch = Batch::new(vec![20.0, 0.0], 2, Targets::Labels(vec![0]));
//! let outcome = preset("cross-entropy").unwrap().evaluate(&batch).unwrap();
//! assert!((outcome.loss - 2.061153620314381e-9).abs() < 1e-22);
//! ```

pub mod comparison;
pub mod description;
pub mod difference;
pub mod error;
pub mod head;
pub mod loss;
pub mod margin;
pub mod margin_value;
pub mod measures;
pub mod negatives;
pub mod presets;
pub mod random;
pub mod regularizer;
pub mod row;
pub mod smooth;
pub mod state;
pub mod surrogate;

pub use comparison::{Comparison, Gate};
pub use description::{Batch, Geometry, Oracle, Reduction, Targets};
pub use difference::{central_difference, five_point_difference};
pub use error::OracleError;
pub use head::{Head, HeadOutcome};
pub use loss::Outcome;
pub use margin::{Angle, BeyondPi, Margin, MarginGradient};
pub use margin_value::{MarginValue, NormMargin};
pub use negatives::Negatives;
pub use presets::{PRESET_NAMES, preset, sphereface_anneal_lambda};
pub use regularizer::Regularizer;
pub use state::State;
pub use surrogate::Surrogate;
