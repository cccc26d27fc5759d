//! The description of a loss: plain data, the same in Rust, in files and on the command line.

use crate::comparison::Comparison;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::loss::Loss;
use crate::margin::Margin;
use crate::negatives::Negatives;
use crate::regularizer::Regularizer;
use crate::scale::Scale;
use serde::{Deserialize, Deserializer, Serialize};

/// One point on every axis of the family; see the [crate's page](crate).
///
/// ```
/// use softmargin::{presets, LossSpec, Margin, Scale};
/// let spec = LossSpec { margin: Margin::score(0.2), scale: Scale::fixed(16.0), ..presets::find("am-softmax")?.spec() };
/// let loss = spec.build(10)?;
/// assert_eq!(loss.num_classes(), 10);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LossSpec {
    /// How scores are made.
    pub geometry: Geometry,
    /// What scores are multiplied by.
    pub scale: Scale,
    /// What becomes of the target's score.
    pub margin: Margin,
    /// What becomes of the other scores.
    #[serde(default)]
    pub negatives: Negatives,
    /// Prototypes of each class, from 1 to [`MOST`](crate::sub_centers::MOST): a property of the head, since the loss
    /// itself sees one score a class.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub sub_centers: usize,
    /// How the target is set against the others.
    pub comparison: Comparison,
    /// A term on the norms of the embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regularizer: Option<Regularizer>,
    /// Loss weighting (C): the weight of the rows of each class, 0 or above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f64>>,
    /// The label of rows that do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored_label: Option<i64>,
}

impl LossSpec {
    /// Checks every part against the others and makes the loss for `num_classes` classes.
    ///
    /// # Errors
    /// On parts that are out of range or do not go together; the message says which, and why.
    ///
    /// ```
    /// use softmargin::{presets, LossSpec, Scale};
    /// let learned = Scale::Learned { initial: 1.0, min: 0.1, max: 10.0 };
    /// let hinge = LossSpec { scale: learned, ..presets::find("crammer-singer")?.spec() };
    /// assert!(hinge.build(10).is_err(), "a hinge is proportional to its scale, which would fall to its minimum");
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    pub fn build(self, num_classes: usize) -> Result<Loss> {
        Loss::new(self, num_classes)
    }

    /// Whether a margin goes by how many samples each class has, and these counts are not known yet.
    pub fn needs_class_counts(&self) -> bool {
        self.margin.lacks_class_counts()
    }

    /// The same with the number of samples of each class (C), wherever a margin goes by them.
    ///
    /// ```
    /// use softmargin::presets;
    /// let spec = presets::find("ldam")?.spec();
    /// assert!(spec.needs_class_counts() && spec.clone().build(2).is_err());
    /// assert!(spec.with_class_counts(&[500, 20]).build(2).is_ok());
    /// # Ok::<(), softmargin::Error>(())
    /// ```
    #[must_use]
    pub fn with_class_counts(mut self, counts: &[u64]) -> Self {
        self.margin.set_class_counts(counts);
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

/// The content of a variant that has no options. Serde on its own would take any there, and ignore them.
pub(crate) fn no_options<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}
