//! Scores with the inputs of their rows.

use crate::error::Result;
use crate::loss::{Loss, Needs};
use crate::number::Real;
use crate::rows::{Learned, RowInputs, disagree};
use ndarray::ArrayView2;

/// A batch of scores (N, C), of any strides, with the inputs of its rows.
///
/// ```
/// use ndarray::array;
/// use softmargin::{Batch, Reduction, RowInputs, presets};
/// let loss = presets::NORMFACE.spec().build(3)?;
/// let (cosines, targets) = (array![[0.5_f32, 0.1, 0.0], [0.0, 0.1, 0.9]], array![0, 2]);
/// let batch = Batch::new(cosines.view(), targets.view()).with_scale(16.0);
/// assert!(loss.value(&batch, Reduction::Mean)?.total < 0.01);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, F> {
    pub(super) scores: ArrayView2<'a, F>,
    pub(super) rows: RowInputs<'a, F>,
    pub(super) learned: Learned,
}

impl<'a, F: Real> Batch<'a, F> {
    /// Creates a batch of scores (N, C) and the inputs of their rows: [`RowInputs`], or a view of labels (N) if the
    /// loss needs nothing else.
    pub fn new(scores: ArrayView2<'a, F>, rows: impl Into<RowInputs<'a, F>>) -> Self {
        Self { scores, rows: rows.into(), learned: Learned::default() }
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

    /// Returns the shape (N, C) of the scores.
    pub fn shape(&self) -> (usize, usize) {
        self.scores.dim()
    }

    /// Returns the inputs of the rows.
    pub fn rows(&self) -> &RowInputs<'a, F> {
        &self.rows
    }

    /// Checks all shapes and values, that no input is missing, and that the loss uses every input.
    pub(super) fn check(&self, loss: &Loss, needs: &Needs) -> Result<()> {
        let classes = loss.num_classes();
        if self.scores.ncols() != classes {
            let expected = format!("(N, {classes}), one column per class");
            return Err(disagree("scores", expected, format!("{:?}", self.scores.dim())));
        }
        self.rows.check(self.scores.nrows(), classes, needs, self.learned)
    }
}
