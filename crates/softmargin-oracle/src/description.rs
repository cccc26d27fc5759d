//! The plain description of a loss, and of the batch it is given.

use crate::comparison::{Comparison, Gate};
use crate::margin::Margin;
use crate::margin_value::MarginValue;
use crate::negatives::Negatives;
use crate::regularizer::Regularizer;
use crate::state::State;

/// How a score comes from an embedding `x` and a weight `w_j`; it also decides the radius `r` of
/// an angle margin, with `cos = score / r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// `<x, w_j> + b_j`, `r = |x| |w_y|`.
    InnerProduct,
    /// `<x, w_j / |w_j|>`, `r = |x|`.
    UnitWeights,
    /// `<x / |x|, w_j / |w_j|>`, `r = 1`.
    Cosine,
}

/// How row losses become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Row losses are the answer; `loss` and the gradients are those of their sum.
    None,
    /// The sum.
    Sum,
    /// The sum divided by the sum of the kept row weights.
    Mean,
}

/// A loss of the family, every field spelled out.
#[derive(Debug, Clone, PartialEq)]
pub struct Oracle {
    /// The scale parameter.
    pub scale: f64,
    /// Only the inner product may have one other than 1; the effective scale is
    /// `scale / temperature`.
    pub temperature: f64,
    /// How scores are made.
    pub geometry: Geometry,
    /// What happens to the target's score.
    pub margin: Margin,
    /// What happens to the negatives' scores.
    pub negatives: Negatives,
    /// How the target is set against its negatives.
    pub comparison: Comparison,
    /// What bends the gap.
    pub gate: Gate,
    /// `eps` of `P = (1 - eps) e_y + eps / C`; log-sum-exp with softplus only.
    pub label_smoothing: f64,
    /// `lambda` of `lambda LSE_all^2`; log-sum-exp with softplus only.
    pub z_loss: f64,
    /// One weight a class.
    pub class_weights: Option<Vec<f64>>,
    /// One weight a row.
    pub sample_weights: Option<Vec<f64>>,
    /// Rows with this label are left out.
    pub ignored: Option<i64>,
    /// A term on the embeddings' norms.
    pub regularizer: Regularizer,
    /// How rows are reduced.
    pub reduction: Reduction,
    /// What the mean of no rows is: NaN if true, else 0.
    pub nan_when_nothing_kept: bool,
    /// K, how many weights a class has in a head; scores are those of classes.
    pub sub_centers: usize,
    /// What the loss remembers.
    pub state: State,
}

impl Oracle {
    /// `s`, by which scores are multiplied.
    pub fn effective_scale(&self) -> f64 {
        self.scale / self.temperature
    }

    /// The same loss with these counts in every margin value by frequency.
    #[must_use]
    pub fn with_class_counts(mut self, counts: &[u64]) -> Self {
        let fill = |value: &mut MarginValue| {
            if let MarginValue::ByFrequency { class_counts, .. } = value {
                *class_counts = Some(counts.to_vec());
            }
        };
        match &mut self.margin {
            Margin::None => {}
            Margin::Score(value) | Margin::Logit(value) => fill(value),
            Margin::Angle(angle) => {
                fill(&mut angle.plus);
                fill(&mut angle.minus);
            }
        }
        self
    }

    /// Whether the loss is a softmax cross-entropy, which alone has smoothing, soft targets and
    /// z-loss.
    pub fn is_cross_entropy(&self) -> bool {
        self.comparison == Comparison::LogSumExp && self.gate == Gate::Softplus
    }
}

/// What each row should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class a row, or the ignored label.
    Labels(Vec<i64>),
    /// One distribution over the classes a row, flat (N, C).
    Soft(Vec<f64>),
}

/// Scores and what belongs to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Flat (N, C), before scale and margin.
    pub scores: Vec<f64>,
    /// C.
    pub classes: usize,
    /// N labels or N distributions.
    pub targets: Targets,
    /// `|x_i|` (N), where the loss needs them.
    pub embedding_norms: Option<Vec<f64>>,
    /// `|w_j|` (C), where the loss needs them.
    pub weight_norms: Option<Vec<f64>>,
}

impl Batch {
    /// A batch without norms.
    pub fn new(scores: Vec<f64>, classes: usize, targets: Targets) -> Self {
        Self { scores, classes, targets, embedding_norms: None, weight_norms: None }
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.scores.len().checked_div(self.classes).unwrap_or(0)
    }

    /// The scores of one row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.scores[row * self.classes..(row + 1) * self.classes]
    }

    /// The label of a row, if targets are labels.
    pub fn label(&self, row: usize) -> Option<i64> {
        match &self.targets {
            Targets::Labels(labels) => Some(labels[row]),
            Targets::Soft(_) => None,
        }
    }
}
