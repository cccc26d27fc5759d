//! What a loss is computed on.

use crate::error::{Error, ErrorKind, Result};
use crate::real::Real;
use crate::state::LossState;
use ndarray::{ArrayView1, ArrayView2};

/// What the rows of a batch are to become.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, F> {
    /// (N): the class of each row, from 0.
    Hard(ArrayView1<'a, i64>),
    /// (N, C): a distribution over the classes for each row.
    Soft(ArrayView2<'a, F>),
}

/// A batch of scores with everything that belongs to its rows.
///
/// ```
/// use ndarray::array;
/// use softmargin::{presets, Batch, Reduction};
/// let loss = presets::find("cross-entropy")?.spec().build(3)?;
/// let scores = array![[2.0_f32, 1.0, 0.0], [0.0, 0.0, 5.0]];
/// let targets = array![0, 2];
/// let weights = array![1.0_f32, 0.5];
/// let batch = Batch::new(scores.view(), targets.view()).with_sample_weights(weights.view());
/// let value = loss.value(&batch, Reduction::Mean)?;
/// assert!((value.total - 0.276_199_3).abs() < 1e-6);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, F> {
    pub(crate) scores: ArrayView2<'a, F>,
    pub(crate) targets: Targets<'a, F>,
    pub(crate) sample_weights: Option<ArrayView1<'a, F>>,
    pub(crate) margins: Option<ArrayView1<'a, F>>,
    pub(crate) embedding_norms: Option<ArrayView1<'a, F>>,
    pub(crate) weight_norms: Option<ArrayView1<'a, F>>,
    pub(crate) scale: Option<f64>,
    pub(crate) radius: Option<f64>,
    pub(crate) state: Option<&'a LossState>,
}

impl<'a, F: Real> Batch<'a, F> {
    /// Scores (N, C), of any strides, and a class for each row (N).
    pub fn new(scores: ArrayView2<'a, F>, targets: ArrayView1<'a, i64>) -> Self {
        Self::with_targets(scores, Targets::Hard(targets))
    }

    /// Scores (N, C) and a distribution over the classes for each row (N, C).
    pub fn soft(scores: ArrayView2<'a, F>, targets: ArrayView2<'a, F>) -> Self {
        Self::with_targets(scores, Targets::Soft(targets))
    }

    fn with_targets(scores: ArrayView2<'a, F>, targets: Targets<'a, F>) -> Self {
        Self {
            scores,
            targets,
            sample_weights: None,
            margins: None,
            embedding_norms: None,
            weight_norms: None,
            scale: None,
            radius: None,
            state: None,
        }
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

    /// The norm of each embedding (N), for margins on the angle of scores that keep it, for margin values that it decides, and for
    /// regularizers.
    #[must_use]
    pub fn with_embedding_norms(self, norms: ArrayView1<'a, F>) -> Self {
        Self { embedding_norms: Some(norms), ..self }
    }

    /// The norm of each prototype (C), for margins on the angle of inner products.
    #[must_use]
    pub fn with_weight_norms(self, norms: ArrayView1<'a, F>) -> Self {
        Self { weight_norms: Some(norms), ..self }
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

    /// The state of a loss that has one; see [`Loss::initial_state`](crate::Loss::initial_state).
    #[must_use]
    pub fn with_state(self, state: &'a LossState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// (N, C)
    pub fn shape(&self) -> (usize, usize) {
        self.scores.dim()
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.scores.nrows()
    }

    /// Checks all shapes, and that what is there is what the loss uses: no more and no less.
    pub(crate) fn check(&self, needs: &Needs) -> Result<()> {
        let (rows, classes) = (self.rows(), needs.num_classes);
        if self.scores.ncols() != classes {
            let expected = format!("(N, {classes}), one column a class");
            return Err(disagree("scores", expected, format!("{:?}", self.scores.dim())));
        }
        match self.targets {
            Targets::Hard(labels) => check_length("targets", labels.len(), rows, "row of scores")?,
            Targets::Soft(soft) if soft.dim() != (rows, classes) => {
                return Err(disagree("targets", format!("({rows}, {classes})"), format!("{:?}", soft.dim())));
            }
            Targets::Soft(_) => {}
        }
        check_optional("sample weights", self.sample_weights, rows, "row of scores", Need::May)?;
        check_optional("margins", self.margins, rows, "row of scores", needs.margins)?;
        check_optional("embedding norms", self.embedding_norms, rows, "row of scores", needs.embedding_norms)?;
        check_optional("weight norms", self.weight_norms, classes, "class", needs.weight_norms)?;
        needs.radius.check("radius", self.radius.is_some())?;
        needs.scale.check("scale", self.scale.is_some())?;
        needs.state.check("state", self.state.is_some())?;
        if let Some(state) = self.state {
            state.check()?;
        }
        check_finite("sample weights", self.sample_weights, |w| w >= 0.0, "a finite number, 0 or above")?;
        check_finite("embedding norms", self.embedding_norms, |n| n >= 0.0, "a finite number, 0 or above")?;
        check_finite("weight norms", self.weight_norms, |n| n >= 0.0, "a finite number, 0 or above")?;
        for (name, number) in [("scale", self.scale), ("radius", self.radius)] {
            if number.is_some_and(|number| !number.is_finite()) {
                let found = number.map_or_else(String::new, |number| number.to_string());
                return Err(Error::new(ErrorKind::Number, name, "a finite number", found, "look for a diverging step"));
            }
        }
        Ok(())
    }
}

/// Whether an input must, may or must not come with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Must,
    May,
    Not,
}

impl Need {
    pub(crate) fn must_if(needed: bool) -> Self {
        if needed { Self::Must } else { Self::Not }
    }

    pub(crate) fn may_if(useful: bool) -> Self {
        if useful { Self::May } else { Self::Not }
    }

    fn check(self, name: &str, given: bool) -> Result<()> {
        let refuse = |expected: &str, found: &str, advice: String| {
            Err(Error::new(ErrorKind::Input, name, expected, found, advice))
        };
        match (self, given) {
            (Self::Must, false) => refuse(
                "to come with the batch: this loss needs it",
                "nothing",
                format!("give the {name} with the batch"),
            ),
            (Self::Not, true) => {
                refuse("nothing: this loss has no use for it", "some", format!("leave the {name} out"))
            }
            _ => Ok(()),
        }
    }
}

/// What a loss needs of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) num_classes: usize,
    pub(crate) margins: Need,
    pub(crate) embedding_norms: Need,
    pub(crate) weight_norms: Need,
    pub(crate) scale: Need,
    pub(crate) radius: Need,
    pub(crate) state: Need,
}

fn disagree(name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, name, expected, found, "give arrays whose shapes agree")
}

fn check_length(name: &str, found: usize, expected: usize, each: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(disagree(name, format!("length {expected}, one a {each}"), format!("length {found}")))
}

fn check_optional<F>(
    name: &str,
    array: Option<ArrayView1<'_, F>>,
    length: usize,
    each: &str,
    need: Need,
) -> Result<()> {
    need.check(name, array.is_some())?;
    array.map_or(Ok(()), |array| check_length(name, array.len(), length, each))
}

fn check_finite<F: Real>(
    name: &str,
    array: Option<ArrayView1<'_, F>>,
    allowed: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<()> {
    let Some(array) = array else { return Ok(()) };
    let bad = array.iter().enumerate().find(|(_, value)| !(value.is_finite() && allowed(value.widen())));
    let Some((index, value)) = bad else { return Ok(()) };
    let subject = format!("{name}[{index}]");
    Err(Error::new(ErrorKind::Number, subject, expected, value.to_string(), "look for NaN or overflow before this"))
}
