//! What a head is computed on.

use crate::batch::{Batch, Targets};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Geometry;
use crate::head::sampling::SampledClasses;
use crate::real::Real;
use crate::state::LossState;
use ndarray::{ArrayView1, ArrayView2};

/// Embeddings with everything that belongs to their rows; any strides.
///
/// ```
/// use ndarray::array;
/// use softmargin::head::{Head, HeadBatch};
/// use softmargin::{LossSpec, Reduction, presets};
/// let spec = LossSpec { ignored_label: Some(-1), ..presets::find("arcface")?.spec() };
/// let head = Head::new(spec.build(3)?);
/// let (x, w) = (array![[1.0_f32, 0.2], [0.5, -1.0]], array![[1.0_f32, 0.0], [0.0, 1.0], [-1.0, -1.0]]);
/// let (targets, weights) = (array![0, -1], array![0.5_f32, 1.0]);
/// let batch = HeadBatch::new(x.view(), targets.view()).with_sample_weights(weights.view());
/// let value = head.value(&batch, w.view(), Reduction::Sum)?;
/// assert_eq!((value.kept, value.weight, value.rows[1]), (1, 0.5, 0.0));
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HeadBatch<'a, F> {
    pub(super) embeddings: ArrayView2<'a, F>,
    pub(super) targets: Targets<'a, F>,
    pub(super) bias: Option<ArrayView1<'a, F>>,
    pub(super) sample_weights: Option<ArrayView1<'a, F>>,
    pub(super) margins: Option<ArrayView1<'a, F>>,
    pub(super) scale: Option<f64>,
    pub(super) radius: Option<f64>,
    pub(super) state: Option<&'a LossState>,
    pub(super) sampled: Option<&'a SampledClasses>,
}

impl<'a, F: Real> HeadBatch<'a, F> {
    /// Embeddings (N, D) and a class for each (N).
    pub fn new(embeddings: ArrayView2<'a, F>, targets: ArrayView1<'a, i64>) -> Self {
        Self::with_targets(embeddings, Targets::Hard(targets))
    }

    /// Embeddings (N, D) and a distribution over the classes (N, C) for each.
    pub fn soft(embeddings: ArrayView2<'a, F>, targets: ArrayView2<'a, F>) -> Self {
        Self::with_targets(embeddings, Targets::Soft(targets))
    }

    /// Embeddings (N, D) and what they are to become.
    pub fn with_targets(embeddings: ArrayView2<'a, F>, targets: Targets<'a, F>) -> Self {
        Self {
            embeddings,
            targets,
            bias: None,
            sample_weights: None,
            margins: None,
            scale: None,
            radius: None,
            state: None,
            sampled: None,
        }
    }

    /// The bias, one number a prototype (C K), for a geometry that has one.
    #[must_use]
    pub fn with_bias(self, bias: ArrayView1<'a, F>) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Loss weighting (N), 0 or above; a row of weight 0 is ignored.
    #[must_use]
    pub fn with_sample_weights(self, weights: ArrayView1<'a, F>) -> Self {
        Self { sample_weights: Some(weights), ..self }
    }

    /// The margin value of each row (N), for [`MarginValue::PerSample`](crate::MarginValue::PerSample).
    #[must_use]
    pub fn with_margins(self, margins: ArrayView1<'a, F>) -> Self {
        Self { margins: Some(margins), ..self }
    }

    /// Where a learned scale stands now.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Where the learned radius of ring loss stands now.
    #[must_use]
    pub fn with_radius(self, radius: f64) -> Self {
        Self { radius: Some(radius), ..self }
    }

    /// The state of a loss that has one.
    #[must_use]
    pub fn with_state(self, state: &'a LossState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// The classes that take part, where not all do; see [`SampledClasses`].
    #[must_use]
    pub fn with_sampled_classes(self, sampled: &'a SampledClasses) -> Self {
        Self { sampled: Some(sampled), ..self }
    }

    /// (N, D)
    pub fn shape(&self) -> (usize, usize) {
        self.embeddings.dim()
    }

    /// The same, borrowed for less long.
    pub(super) fn reborrow<'b>(self) -> HeadBatch<'b, F>
    where
        'a: 'b,
    {
        HeadBatch {
            embeddings: self.embeddings.reborrow(),
            targets: match self.targets {
                Targets::Hard(labels) => Targets::Hard(labels.reborrow()),
                Targets::Soft(targets) => Targets::Soft(targets.reborrow()),
            },
            bias: self.bias.map(|bias| bias.reborrow()),
            sample_weights: self.sample_weights.map(|weights| weights.reborrow()),
            margins: self.margins.map(|margins| margins.reborrow()),
            scale: self.scale,
            radius: self.radius,
            state: self.state,
            sampled: self.sampled,
        }
    }

    /// The batch of some scores (N, C), or of what stands for them.
    pub(super) fn of_scores<'b>(self, scores: ArrayView2<'b, F>) -> Batch<'b, F>
    where
        'a: 'b,
    {
        let HeadBatch { targets, sample_weights, margins, scale, radius, state, .. } = self.reborrow();
        Batch {
            scores,
            targets,
            sample_weights,
            margins,
            embedding_norms: None,
            weight_norms: None,
            scale,
            radius,
            state,
        }
    }

    /// Checks the shapes of embeddings, prototypes (C K, D) and bias; whatever belongs to rows is checked with the loss.
    pub(super) fn check(&self, weight: ArrayView2<'_, F>, geometry: Geometry, prototypes: usize) -> Result<()> {
        let width = self.embeddings.ncols();
        if weight.dim() != (prototypes, width) {
            let expected = format!("({prototypes}, {width}), a row for each prototype, as wide as the embeddings");
            let advice = "give arrays whose shapes agree";
            let found = format!("{:?}", weight.dim());
            return Err(Error::new(ErrorKind::Shape, "weight", expected, found, advice));
        }
        geometry.check_bias(prototypes, self.bias)
    }
}
