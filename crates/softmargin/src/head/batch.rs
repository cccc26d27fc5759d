//! Embeddings with the inputs of their rows, and the parameters of a head.

use crate::axes::geometry::Geometry;
use crate::error::{Error, ErrorKind, Result};
use crate::head::sampling::SampledClasses;
use crate::loss::Loss;
use crate::number::Real;
use crate::rows::{Learned, RowInputs};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

/// A batch of embeddings (N, D), of any strides, with the inputs of its rows.
///
/// ```
/// use ndarray::array;
/// use softmargin::head::{Head, HeadBatch};
/// use softmargin::{Reduction, RowInputs, presets};
/// let head = Head::new(presets::ARCFACE.spec().with_ignored_label(-1).build(3)?);
/// let (x, w) = (array![[1.0_f32, 0.2], [0.5, -1.0]], array![[1.0_f32, 0.0], [0.0, 1.0], [-1.0, -1.0]]);
/// let (targets, weights) = (array![0, -1], array![0.5_f32, 1.0]);
/// let rows = RowInputs::new(targets.view()).with_sample_weights(weights.view());
/// let value = head.value(&HeadBatch::new(x.view(), rows), w.view(), Reduction::Sum)?;
/// assert_eq!((value.valid_rows, value.weight, value.rows[1]), (1, 0.5, 0.0));
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HeadBatch<'a, F> {
    pub(super) embeddings: ArrayView2<'a, F>,
    pub(super) rows: RowInputs<'a, F>,
    pub(super) sampled: Option<&'a SampledClasses>,
}

impl<'a, F: Real> HeadBatch<'a, F> {
    /// Creates a batch of embeddings (N, D) and the inputs of their rows: [`RowInputs`] without norms, which the head
    /// computes, or a view of labels (N) if the loss needs nothing else.
    pub fn new(embeddings: ArrayView2<'a, F>, rows: impl Into<RowInputs<'a, F>>) -> Self {
        Self { embeddings, rows: rows.into(), sampled: None }
    }

    /// Sets the sampled classes of a step. By default all classes take part. See [`SampledClasses`].
    #[must_use]
    pub fn with_sampled_classes(self, sampled: &'a SampledClasses) -> Self {
        Self { sampled: Some(sampled), ..self }
    }

    /// Returns the shape (N, D) of the embeddings.
    pub fn shape(&self) -> (usize, usize) {
        self.embeddings.dim()
    }

    /// Returns the same batch, borrowed for a shorter time.
    pub(super) fn reborrow<'b>(self) -> HeadBatch<'b, F>
    where
        'a: 'b,
    {
        HeadBatch { embeddings: self.embeddings.reborrow(), rows: self.rows.reborrow(), sampled: self.sampled }
    }

    /// Returns an error if norms are given, which the head computes.
    pub(super) fn check(&self) -> Result<()> {
        let norms = [
            ("embedding norms", self.rows.embedding_norms.is_some()),
            ("weight norms", self.rows.weight_norms.is_some()),
        ];
        match norms.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => {
                let (expected, advice) = ("none: a head computes them", format!("leave the {name} out"));
                Err(Error::new(ErrorKind::Input, name, expected, "some", advice))
            }
            None => Ok(()),
        }
    }
}

/// The parameters of a head: prototypes and, if the loss has them, a bias, a learned scale and a learned radius.
///
/// A view of the prototypes converts into `HeadParameters`, for a head without other parameters.
///
/// ```
/// use ndarray::array;
/// use softmargin::head::{Head, HeadBatch, HeadParameters};
/// use softmargin::{Reduction, presets};
/// let head = Head::new(presets::CROSS_ENTROPY.spec().build(2)?);
/// let (x, w, bias, targets) = (array![[1.0_f32]], array![[1.0_f32], [0.0]], array![0.5_f32, 0.0], array![0]);
/// let parameters = HeadParameters::new(w.view()).with_bias(bias.view());
/// let value = head.value(&HeadBatch::new(x.view(), targets.view()), parameters, Reduction::Mean)?;
/// assert!((value.total - (-1.5_f32).exp().ln_1p()).abs() < 1e-6);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HeadParameters<'a, F> {
    pub(super) weight: ArrayView2<'a, F>,
    pub(super) bias: Option<ArrayView1<'a, F>>,
    pub(super) learned: Learned,
}

impl<'a, F: Real> HeadParameters<'a, F> {
    /// Creates parameters with prototypes (C K, D), K per class.
    pub fn new(weight: ArrayView2<'a, F>) -> Self {
        Self { weight, bias: None, learned: Learned::default() }
    }

    /// Sets the bias, one value per prototype (C K), for a geometry that has one.
    #[must_use]
    pub fn with_bias(self, bias: ArrayView1<'a, F>) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Sets the parameter of a learned scale. By default it is the initial value of the spec.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { learned: self.learned.with_scale(scale), ..self }
    }

    /// Sets the learned radius of ring loss. By default it is the initial value of the spec.
    #[must_use]
    pub fn with_radius(self, radius: f64) -> Self {
        Self { learned: self.learned.with_radius(radius), ..self }
    }

    /// Returns the same parameters, borrowed for a shorter time.
    pub(super) fn reborrow<'b>(self) -> HeadParameters<'b, F>
    where
        'a: 'b,
    {
        HeadParameters {
            weight: self.weight.reborrow(),
            bias: self.bias.map(ArrayView1::reborrow),
            learned: self.learned,
        }
    }

    /// Checks the shapes, and that a bias is given if and only if the geometry has one.
    pub(super) fn check(&self, loss: &Loss, width: usize, prototypes: usize) -> Result<()> {
        if self.weight.dim() != (prototypes, width) {
            let expected = format!("({prototypes}, {width}), one row per prototype, as wide as the embeddings");
            let (found, advice) = (format!("{:?}", self.weight.dim()), "give arrays whose shapes agree");
            return Err(Error::new(ErrorKind::Shape, "weight", expected, found, advice));
        }
        let geometry: Geometry = loss.spec().geometry;
        geometry.check_bias(prototypes, self.bias)
    }
}

impl<'a, F: Real> From<ArrayView2<'a, F>> for HeadParameters<'a, F> {
    fn from(weight: ArrayView2<'a, F>) -> Self {
        Self::new(weight)
    }
}

/// The parameters of a head that a fused step updates in place. It updates every parameter that is given.
#[derive(Debug)]
pub struct HeadParametersMut<'a> {
    pub(super) weight: ArrayViewMut2<'a, f32>,
    pub(super) bias: Option<ArrayViewMut1<'a, f32>>,
    pub(super) scale: Option<&'a mut f64>,
    pub(super) radius: Option<&'a mut f64>,
}

impl<'a> HeadParametersMut<'a> {
    /// Creates parameters with prototypes (C K, D), K per class.
    pub fn new(weight: ArrayViewMut2<'a, f32>) -> Self {
        Self { weight, bias: None, scale: None, radius: None }
    }

    /// Sets the bias (C K), for a geometry that has one.
    #[must_use]
    pub fn with_bias(self, bias: ArrayViewMut1<'a, f32>) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Sets the parameter of a learned scale. By default the scale keeps the initial value of the spec.
    #[must_use]
    pub fn with_scale(self, scale: &'a mut f64) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Sets the learned radius of ring loss. By default the radius keeps the initial value of the spec.
    #[must_use]
    pub fn with_radius(self, radius: &'a mut f64) -> Self {
        Self { radius: Some(radius), ..self }
    }

    /// Returns a view of the parameters.
    pub(super) fn view(&self) -> HeadParameters<'_, f32> {
        let learned = Learned { scale: self.scale.as_deref().copied(), radius: self.radius.as_deref().copied() };
        HeadParameters { weight: self.weight.view(), bias: self.bias.as_ref().map(|bias| bias.view()), learned }
    }
}

impl<'a> From<ArrayViewMut2<'a, f32>> for HeadParametersMut<'a> {
    fn from(weight: ArrayViewMut2<'a, f32>) -> Self {
        Self::new(weight)
    }
}
