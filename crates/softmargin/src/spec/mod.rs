//! The description of a loss: plain data, the same in Rust, in files and on the command line.

use crate::axes::comparison::Comparison;
use crate::axes::geometry::Geometry;
use crate::axes::margin::Margin;
use crate::axes::negatives::Negatives;
use crate::axes::regularizer::Regularizer;
use crate::axes::scale::Scale;
use serde::{Deserialize, Serialize};

/// One point on every axis of the family; see the [crate's page](crate).
///
/// ```
/// use softmargin::{Margin, presets};
/// let spec = presets::AM_SOFTMAX.spec().with_scale(16.0).with_margin(Margin::score(0.2));
/// let loss = spec.build(10)?;
/// assert_eq!(loss.num_classes(), 10);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct LossSpec {
    /// The computation of the scores from embeddings and prototypes.
    pub geometry: Geometry,
    /// The factor of the scores.
    pub scale: Scale,
    /// The modification of the target's score.
    pub margin: Margin,
    /// The modification of the scores of the negatives.
    #[serde(default)]
    pub negatives: Negatives,
    /// The number K of prototypes per class, from 1 to [`MOST`](crate::axes::sub_centers::MOST). It is a property of
    /// the head: the loss itself receives one score per class. The default is 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub sub_centers: usize,
    /// The comparison of the target with the negatives.
    pub comparison: Comparison,
    /// A term on the norms of the embeddings. The default is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regularizer: Option<Regularizer>,
    /// Loss weighting (C): the weight of the rows of each class, 0 or above. By default all weights are 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f64>>,
    /// The label of ignored rows. By default no label is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored_label: Option<i64>,
}

impl LossSpec {
    /// Returns the same spec with another geometry.
    #[must_use]
    pub fn with_geometry(self, geometry: Geometry) -> Self {
        Self { geometry, ..self }
    }

    /// Returns the same spec with another scale; a number stands for a fixed one.
    #[must_use]
    pub fn with_scale(self, scale: impl Into<Scale>) -> Self {
        Self { scale: scale.into(), ..self }
    }

    /// Returns the same spec with another margin.
    #[must_use]
    pub fn with_margin(self, margin: Margin) -> Self {
        Self { margin, ..self }
    }

    /// Returns the same spec with other negatives.
    #[must_use]
    pub fn with_negatives(self, negatives: Negatives) -> Self {
        Self { negatives, ..self }
    }

    /// Returns the same spec with another number K of prototypes per class.
    #[must_use]
    pub fn with_sub_centers(self, sub_centers: usize) -> Self {
        Self { sub_centers, ..self }
    }

    /// Returns the same spec with another comparison.
    #[must_use]
    pub fn with_comparison(self, comparison: Comparison) -> Self {
        Self { comparison, ..self }
    }

    /// Returns the same spec with a regularizer, or with none.
    #[must_use]
    pub fn with_regularizer(self, regularizer: impl Into<Option<Regularizer>>) -> Self {
        Self { regularizer: regularizer.into(), ..self }
    }

    /// Returns the same spec with a weight for each class (C), or with none.
    #[must_use]
    pub fn with_class_weights(self, weights: impl Into<Option<Vec<f64>>>) -> Self {
        Self { class_weights: weights.into(), ..self }
    }

    /// Returns the same spec with a label whose rows are ignored, or with none.
    #[must_use]
    pub fn with_ignored_label(self, label: impl Into<Option<i64>>) -> Self {
        Self { ignored_label: label.into(), ..self }
    }

    /// Returns true if a margin value depends on the class frequencies, and the class counts are missing.
    pub fn needs_class_counts(&self) -> bool {
        self.margin.lacks_class_counts()
    }

    /// Returns the same spec with the number of samples of each class (C). They are set in every margin value by class
    /// frequency; other losses ignore them.
    ///
    /// ```
    /// use softmargin::presets;
    /// let spec = presets::LDAM.spec();
    /// assert!(spec.needs_class_counts() && spec.clone().build(2).is_err());
    /// assert!(spec.with_class_counts(&[500, 20]).build(2).is_ok());
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    #[must_use]
    pub fn with_class_counts(mut self, counts: &[u64]) -> Self {
        self.margin.set_class_counts(counts);
        self
    }

    /// Returns the same spec with the number of samples of each class (C), set only in margin values by class frequency
    /// that have no counts.
    pub(crate) fn with_missing_class_counts(mut self, counts: &[u64]) -> Self {
        self.margin.set_missing_class_counts(counts);
        self
    }
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_one(count: &usize) -> bool {
    *count == 1
}
