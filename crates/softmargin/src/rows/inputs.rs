//! The inputs of the rows of a batch other than scores and embeddings, and the learned values of the loss.

use crate::error::{Error, ErrorKind, Result};
use crate::loss::{Need, Needs};
use crate::number::Real;
use crate::state::LossState;
use ndarray::{ArrayView1, ArrayView2};

/// The targets of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, F> {
    /// (N): the class of each row, from 0.
    Hard(ArrayView1<'a, i64>),
    /// (N, C): a distribution over the classes for each row.
    Soft(ArrayView2<'a, F>),
}

impl<'a, F: Real> Targets<'a, F> {
    /// Returns the same targets, borrowed for a shorter time.
    pub(crate) fn reborrow<'b>(self) -> Targets<'b, F>
    where
        'a: 'b,
    {
        match self {
            Self::Hard(labels) => Targets::Hard(labels.reborrow()),
            Self::Soft(targets) => Targets::Soft(targets.reborrow()),
        }
    }
}

/// The inputs of the rows of a batch: targets, optional sample weights and, if the loss needs them, margins, norms and
/// a state.
///
/// A view of labels converts into `RowInputs`, for losses that need nothing else.
///
/// ```
/// use ndarray::array;
/// use softmargin::{Batch, Reduction, RowInputs, presets};
/// let loss = presets::CROSS_ENTROPY.spec().build(3)?;
/// let scores = array![[2.0_f32, 1.0, 0.0], [0.0, 0.0, 5.0]];
/// let (targets, weights) = (array![0, 2], array![1.0_f32, 0.5]);
/// let rows = RowInputs::new(targets.view()).with_sample_weights(weights.view());
/// let value = loss.value(&Batch::new(scores.view(), rows), Reduction::Mean)?;
/// assert!((value.total - 0.276_199_3).abs() < 1e-6);
/// # Ok::<(), softmargin::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowInputs<'a, F> {
    pub(crate) targets: Targets<'a, F>,
    pub(crate) sample_weights: Option<ArrayView1<'a, F>>,
    pub(crate) margins: Option<ArrayView1<'a, F>>,
    pub(crate) embedding_norms: Option<ArrayView1<'a, F>>,
    pub(crate) weight_norms: Option<ArrayView1<'a, F>>,
    pub(crate) state: Option<&'a LossState>,
}

/// The values that a loss learns in addition to the prototypes. `None` stands for the initial value of the spec.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Learned {
    /// The parameter of a learned scale.
    pub scale: Option<f64>,
    /// The radius of ring loss.
    pub radius: Option<f64>,
}

impl Learned {
    /// Sets the parameter of a learned scale.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Sets the learned radius of ring loss.
    #[must_use]
    pub fn with_radius(self, radius: f64) -> Self {
        Self { radius: Some(radius), ..self }
    }

    pub(crate) fn check(&self, needs: &Needs) -> Result<()> {
        check_presence("radius", self.radius.is_some(), needs.radius)?;
        check_presence("scale", self.scale.is_some(), needs.scale)
    }

    pub(crate) fn check_finite(&self) -> Result<()> {
        for (name, number) in [("scale", self.scale), ("radius", self.radius)] {
            if let Some(number) = number.filter(|number| !number.is_finite()) {
                let advice = "look for a diverging step";
                return Err(Error::new(ErrorKind::Number, name, "a finite number", number.to_string(), advice));
            }
        }
        Ok(())
    }
}

impl<'a, F: Real> RowInputs<'a, F> {
    /// Creates inputs with the class of each row (N), from 0.
    pub fn new(targets: ArrayView1<'a, i64>) -> Self {
        Self::with_targets(Targets::Hard(targets))
    }

    /// Creates inputs with a distribution over the classes for each row (N, C).
    pub fn soft(targets: ArrayView2<'a, F>) -> Self {
        Self::with_targets(Targets::Soft(targets))
    }

    /// Creates inputs with targets of either kind.
    pub fn with_targets(targets: Targets<'a, F>) -> Self {
        Self { targets, sample_weights: None, margins: None, embedding_norms: None, weight_norms: None, state: None }
    }

    /// Adds the weight of each row (N), 0 or above; a row of weight 0 is ignored.
    #[must_use]
    pub fn with_sample_weights(self, weights: ArrayView1<'a, F>) -> Self {
        Self { sample_weights: Some(weights), ..self }
    }

    /// Adds the margin value of each row (N), for [`MarginValue::PerSample`](crate::MarginValue::PerSample).
    #[must_use]
    pub fn with_margins(self, margins: ArrayView1<'a, F>) -> Self {
        Self { margins: Some(margins), ..self }
    }

    /// Adds the norm of each embedding (N), for margins on the angle of scores that are not cosines, for margin values
    /// that depend on the norm, and for regularizers. A head computes the norms itself and rejects them here.
    #[must_use]
    pub fn with_embedding_norms(self, norms: ArrayView1<'a, F>) -> Self {
        Self { embedding_norms: Some(norms), ..self }
    }

    /// Adds the norm of each prototype (C), for margins on the angle of inner products. A head computes the norms
    /// itself and rejects them here.
    #[must_use]
    pub fn with_weight_norms(self, norms: ArrayView1<'a, F>) -> Self {
        Self { weight_norms: Some(norms), ..self }
    }

    /// Adds the state of a loss that has one; see [`Loss::initial_state`](crate::Loss::initial_state).
    #[must_use]
    pub fn with_state(self, state: &'a LossState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Returns the number of rows N of the targets.
    pub fn count(&self) -> usize {
        match self.targets {
            Targets::Hard(labels) => labels.len(),
            Targets::Soft(targets) => targets.nrows(),
        }
    }

    /// Returns the same inputs, borrowed for a shorter time.
    pub(crate) fn reborrow<'b>(self) -> RowInputs<'b, F>
    where
        'a: 'b,
    {
        RowInputs {
            targets: self.targets.reborrow(),
            sample_weights: self.sample_weights.map(ArrayView1::reborrow),
            margins: self.margins.map(ArrayView1::reborrow),
            embedding_norms: self.embedding_norms.map(ArrayView1::reborrow),
            weight_norms: self.weight_norms.map(ArrayView1::reborrow),
            state: self.state,
        }
    }

    /// Checks shapes and values, that no input is missing, and that the loss uses every input.
    pub(crate) fn check(&self, rows: usize, num_classes: usize, needs: &Needs, learned: Learned) -> Result<()> {
        match self.targets {
            Targets::Hard(labels) => check_length("targets", labels.len(), rows, "row")?,
            Targets::Soft(soft) if soft.dim() != (rows, num_classes) => {
                let expected = format!("({rows}, {num_classes})");
                return Err(disagree("targets", expected, format!("{:?}", soft.dim())));
            }
            Targets::Soft(_) => {}
        }
        check_optional("sample weights", self.sample_weights, rows, "row", Need::May)?;
        check_optional("margins", self.margins, rows, "row", needs.margins)?;
        check_optional("embedding norms", self.embedding_norms, rows, "row", needs.embedding_norms)?;
        check_optional("weight norms", self.weight_norms, num_classes, "class", needs.weight_norms)?;
        learned.check(needs)?;
        check_presence("state", self.state.is_some(), needs.state)?;
        if let Some(state) = self.state {
            state.check()?;
        }
        check_finite("sample weights", self.sample_weights)?;
        check_finite("embedding norms", self.embedding_norms)?;
        check_finite("weight norms", self.weight_norms)?;
        learned.check_finite()
    }
}

impl<'a, F: Real> From<ArrayView1<'a, i64>> for RowInputs<'a, F> {
    fn from(targets: ArrayView1<'a, i64>) -> Self {
        Self::new(targets)
    }
}

impl<'a, F: Real> From<Targets<'a, F>> for RowInputs<'a, F> {
    fn from(targets: Targets<'a, F>) -> Self {
        Self::with_targets(targets)
    }
}

pub(crate) fn disagree(name: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, name, expected, found, "give arrays whose shapes agree")
}

fn check_presence(name: &str, given: bool, need: Need) -> Result<()> {
    match (need, given) {
        (Need::Must, false) => {
            let (expected, advice) =
                ("to come with the batch: this loss needs it", format!("give the {name} with the batch"));
            Err(Error::new(ErrorKind::Input, name, expected, "nothing", advice))
        }
        (Need::Not, true) => {
            let (expected, advice) = ("nothing: this loss has no use for it", format!("leave the {name} out"));
            Err(Error::new(ErrorKind::Input, name, expected, "some", advice))
        }
        _ => Ok(()),
    }
}

fn check_length(name: &str, found: usize, expected: usize, each: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(disagree(name, format!("length {expected}, one per {each}"), format!("length {found}")))
}

fn check_optional<F>(
    name: &str,
    array: Option<ArrayView1<'_, F>>,
    length: usize,
    each: &str,
    need: Need,
) -> Result<()> {
    check_presence(name, array.is_some(), need)?;
    array.map_or(Ok(()), |array| check_length(name, array.len(), length, each))
}

fn check_finite<F: Real>(name: &str, array: Option<ArrayView1<'_, F>>) -> Result<()> {
    let Some(array) = array else { return Ok(()) };
    let bad = array.iter().enumerate().find(|(_, value)| !(value.is_finite() && value.widen() >= 0.0));
    let Some((index, value)) = bad else { return Ok(()) };
    let (subject, advice) = (format!("{name}[{index}]"), "look for NaN or overflow before this");
    Err(Error::new(ErrorKind::Number, subject, "a finite number, 0 or above", value.to_string(), advice))
}
