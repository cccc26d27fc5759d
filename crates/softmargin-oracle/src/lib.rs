//! Naive reference implementation of the loss family in `f64`, straight from the formulas.
//!
//! The oracle shares no code with the crate `softmargin`, so that agreement between the two is evidence. It has no
//! vector instructions, no fusion and no reuse of intermediate results. Every file states one part of the equation
//!
//! ```text
//! loss = gate( comparison_{j != y}( s * negative(score_j) ) - s * psi(score_y) )
//! ```
//!
//! | file | part |
//! |---|---|
//! | `measures` | self-information, entropy, cross-entropy, Kullback-Leibler |
//! | `smooth` | softplus, logistic, log-sum-exp, softmax |
//! | `description` | the description of a loss and of a batch |
//! | `margin` | `psi` and its derivatives |
//! | `margin_value` | the size of a margin: constant, per class, per row, from frequency or norm, or drawn |
//! | `random` | normal random numbers |
//! | `negatives` | modification of the scores `j != y` |
//! | `state` | values carried from step to step |
//! | `comparison` | comparison and gate of one row |
//! | `row` | the loss of one row: comparison, margin, smoothing, z-loss, infinities |
//! | `regularizer` | feature incay, ring, magnitude |
//! | `loss` | the loss of a batch: weights, ignored rows, reduction |
//! | `surrogate` | the function whose derivative is a straight-through gradient |
//! | `head` | scores from embeddings and prototypes, and their gradients |
//! | `difference` | numerical derivatives |
//! | `presets` | the published losses by name |
//!
//! Matrices are flat slices in row-major order.
//!
//! ```
//! use softmargin_oracle::{Batch, Targets, preset};
//!
//! let batch = Batch::new(vec![20.0, 0.0], 2, Targets::Labels(vec![0]));
//! let output = preset("cross-entropy").unwrap().evaluate(&batch).unwrap();
//! assert!((output.loss - 2.061153620314381e-9).abs() < 1e-22);
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
pub use head::{Head, HeadOutput};
pub use loss::LossOutput;
pub use margin::{Angle, BeyondPi, Margin, MarginGradient};
pub use margin_value::{MarginValue, NormMargin};
pub use negatives::Negatives;
pub use presets::{PRESET_NAMES, preset, sphereface_anneal_lambda};
pub use regularizer::Regularizer;
pub use state::State;
pub use surrogate::Surrogate;
