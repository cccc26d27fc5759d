//! Plain descriptions of a loss and of a batch.

use crate::comparison::{Comparison, Gate};
use crate::margin::Margin;
use crate::margin_value::MarginValue;
use crate::negatives::Negatives;
use crate::regularizer::Regularizer;
use crate::state::State;

/// How a score is computed from an embedding `x` and a prototype `w_j`.
///
/// It also determines the radius `r` of an angle margin, with `cos = score / r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// `<x, w_j> + b_j`, `r = |x| |w_y|`.
    InnerProduct,
    /// `<x, w_j / |w_j|>`, `r = |x|`.
    UnitWeights,
    /// `<x / |x|, w_j / |w_j|>`, `r = 1`.
    Cosine,
}

/// How the row losses are reduced to one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// No reduction: the row losses are the result; `loss` and the gradients are those of their sum.
    None,
    /// The sum.
    Sum,
    /// The sum divided by the sum of the weights of the valid rows.
    Mean,
}

/// A loss of the family, with every option as a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Oracle {
    /// The scale parameter.
    pub scale: f64,
    /// Temperature; the effective scale is `scale / temperature`. It must be 1 unless the geometry is the inner
    /// product.
    pub temperature: f64,
    /// How scores are computed.
    pub geometry: Geometry,
    /// How the target's score is modified.
    pub margin: Margin,
    /// How the negatives' scores are modified.
    pub negatives: Negatives,
    /// How the target is compared with its negatives.
    pub comparison: Comparison,
    /// Function applied to the gaps.
    pub gate: Gate,
    /// `eps` of `P = (1 - eps) e_y + eps / C`; log-sum-exp with softplus only.
    pub label_smoothing: f64,
    /// `lambda` of `lambda LSE_all^2`; log-sum-exp with softplus only.
    pub z_loss: f64,
    /// One weight per class.
    pub class_weights: Option<Vec<f64>>,
    /// One weight per row.
    pub sample_weights: Option<Vec<f64>>,
    /// Rows with this label are ignored.
    pub ignored: Option<i64>,
    /// Penalty on the norms of the embeddings.
    pub regularizer: Regularizer,
    /// How the row losses are reduced.
    pub reduction: Reduction,
    /// If true, the mean over no valid rows is NaN, otherwise 0.
    pub nan_without_valid_rows: bool,
    /// K, the number of prototypes per class in a head. Scores have one column per class.
    pub sub_centers: usize,
    /// Values that the loss carries from step to step.
    pub state: State,
}

impl Oracle {
    /// Returns `s`, the factor of the scores.
    pub fn effective_scale(&self) -> f64 {
        self.scale / self.temperature
    }

    /// Returns the same loss with these counts in every margin value that depends on class frequency.
    #[must_use]
    pub fn with_class_counts(mut self, counts: &[u64]) -> Self {
        let fill = |margin_value: &mut MarginValue| {
            if let MarginValue::ByFrequency { class_counts, .. } = margin_value {
                *class_counts = Some(counts.to_vec());
            }
        };
        match &mut self.margin {
            Margin::None => {}
            Margin::Score(margin_value) | Margin::Logit(margin_value) => fill(margin_value),
            Margin::Angle(angle) => {
                fill(&mut angle.plus);
                fill(&mut angle.minus);
            }
        }
        self
    }

    /// Returns true for softmax cross-entropy, the only loss with label smoothing, soft targets and z-loss.
    pub fn is_cross_entropy(&self) -> bool {
        self.comparison == Comparison::LogSumExp && self.gate == Gate::Softplus
    }
}

/// Targets of the rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class per row, or the ignored label.
    Labels(Vec<i64>),
    /// One distribution over the classes per row, flat (N, C).
    Soft(Vec<f64>),
}

/// Scores, targets and norms of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Scores before scale and margin, flat (N, C).
    pub scores: Vec<f64>,
    /// C, the number of classes.
    pub classes: usize,
    /// N labels or N distributions.
    pub targets: Targets,
    /// `|x_i|` (N), if the loss needs them.
    pub embedding_norms: Option<Vec<f64>>,
    /// `|w_j|` (C), if the loss needs them.
    pub weight_norms: Option<Vec<f64>>,
}

impl Batch {
    /// Creates a batch without norms.
    pub fn new(scores: Vec<f64>, classes: usize, targets: Targets) -> Self {
        Self { scores, classes, targets, embedding_norms: None, weight_norms: None }
    }

    /// Returns N, the number of rows.
    pub fn rows(&self) -> usize {
        self.scores.len().checked_div(self.classes).unwrap_or(0)
    }

    /// Returns the scores of one row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.scores[row * self.classes..(row + 1) * self.classes]
    }

    /// Returns the label of a row, or `None` for soft targets.
    pub fn label(&self, row: usize) -> Option<i64> {
        match &self.targets {
            Targets::Labels(labels) => Some(labels[row]),
            Targets::Soft(_) => None,
        }
    }
}
