//! What a published loss is: names, formulas, defaults; and how its scale and margin are set by number.

use crate::axes::comparison::Comparison;
use crate::axes::geometry::Geometry;
use crate::axes::margin::Margin;
use crate::axes::margin_value::{MarginValue, NormMargin, Radians};
use crate::axes::negatives::Negatives;
use crate::axes::scale::Scale;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::LossSpec;

/// A published loss.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name, the same everywhere.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// What it is, in one line.
    pub summary: &'static str,
    /// The loss of one row.
    pub equation: &'static str,
    /// Its gradient by the scores.
    pub gradient: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// What the margin is called in the equation, and which numbers it takes.
    pub margin: MarginParameter,
    pub(super) spec: fn() -> LossSpec,
}

/// The numbers that the margin of a preset takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarginParameter {
    /// None; the reason, and what to use instead.
    None(&'static str),
    /// `m`, on the score.
    Score,
    /// `m`, added to the angle, in radians.
    Plus,
    /// `m`, multiplying the angle.
    Times,
    /// `m1,m2,m3`: multiplying the angle, added to it (radians), subtracted from its cosine.
    Combined,
    /// `m`, the mean of what is drawn and added to the angle, in radians.
    DrawnPlus,
    /// `m`, the mean of what is drawn and taken from the score.
    DrawnScore,
    /// `m`, what the rarest class has taken from its score.
    Largest,
    /// `m`, of which the embedding's norm adds up to as much to the angle (radians) or takes it off, and takes up to twice
    /// as much from the cosine.
    Standardized,
    /// `low,high`: added to the angles of the smallest and of the largest norms, in radians.
    Linear,
    /// `m`, dividing the angles of the negatives.
    Divisor,
}

impl MarginParameter {
    /// The names of the numbers, in their order.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::None(_) => &[],
            Self::Combined => &["m1", "m2", "m3"],
            Self::Linear => &["low", "high"],
            _ => &["m"],
        }
    }
}

impl Preset {
    /// The description of the loss with its usual numbers.
    pub fn spec(&self) -> LossSpec {
        (self.spec)()
    }

    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The numbers that the margin has in [`spec`](Self::spec), in the order of [`MarginParameter::names`].
    pub fn default_margin(&self) -> Vec<f64> {
        let spec = self.spec();
        match (self.margin, &spec.margin) {
            (MarginParameter::None(_), _) => Vec::new(),
            (MarginParameter::Divisor, _) => {
                vec![if let Negatives::DividedAngle { by } = spec.negatives { by } else { 1.0 }]
            }
            (MarginParameter::Times, Margin::Angle(angle)) => vec![angle.times],
            (MarginParameter::Combined, Margin::Angle(angle)) => {
                [vec![angle.times], numbers(&angle.plus), numbers(&angle.minus)].concat()
            }
            (_, Margin::Angle(angle)) => numbers(&angle.plus),
            (_, Margin::Score { value } | Margin::Logit { value }) => numbers(value),
            (_, Margin::None) => vec![0.0],
        }
    }

    /// The description with another scale (where a learned one starts) and margin.
    ///
    /// # Errors
    /// When the loss has no margin, or takes another count of numbers. Their ranges are checked by
    /// [`LossSpec::build`].
    pub fn spec_with(&self, scale: Option<f64>, margin: Option<&[f64]>) -> Result<LossSpec> {
        self.with_numbers(self.spec(), scale, margin)
    }

    /// A description that was made from the preset's, with another scale and margin; all else stays as it is.
    ///
    /// # Errors
    /// As [`spec_with`](Self::spec_with), and when the description has no longer what the numbers are of.
    pub fn with_numbers(&self, mut spec: LossSpec, scale: Option<f64>, margin: Option<&[f64]>) -> Result<LossSpec> {
        if let Some(scale) = scale {
            spec.scale = spec.scale.starting_at(scale);
        }
        if let Some(margin) = margin {
            self.set_margin(&mut spec, margin)?;
        }
        Ok(spec)
    }

    fn set_margin(&self, spec: &mut LossSpec, numbers: &[f64]) -> Result<()> {
        let found = || numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match (self.margin, numbers, &mut spec.margin) {
            (MarginParameter::Score, &[m], margin) => *margin = Margin::score(m),
            (MarginParameter::Plus, &[m], Margin::Angle(angle)) => angle.plus = MarginValue::One(Radians(m)),
            (MarginParameter::Times, &[m], Margin::Angle(angle)) => angle.times = m,
            (MarginParameter::Combined, &[times, plus, minus], Margin::Angle(angle)) => {
                angle.times = times;
                angle.plus = MarginValue::One(Radians(plus));
                angle.minus = MarginValue::One(minus);
            }
            (MarginParameter::DrawnScore | MarginParameter::Largest, &[m], Margin::Score { value }) => {
                value.set_size(m);
            }
            (MarginParameter::DrawnPlus, &[m], Margin::Angle(angle)) => angle.plus.set_size(Radians(m)),
            (MarginParameter::Standardized, &[m], Margin::Angle(angle)) => {
                angle.plus.set_standardized(m);
                angle.minus.set_standardized(m);
            }
            (MarginParameter::Linear, &[first, last], Margin::Angle(angle)) => {
                if let MarginValue::FromNorm(NormMargin::Linear { low, high, .. }) = &mut angle.plus {
                    (*low, *high) = (first, last);
                }
            }
            (MarginParameter::Divisor, &[m], _) => spec.negatives = Negatives::DividedAngle { by: m },
            (MarginParameter::None(instead), ..) => {
                let expected = format!("none: {} has no margin", self.name);
                return Err(Error::new(ErrorKind::Spec, "margin", expected, found(), instead));
            }
            _ => {
                let names = self.margin.names().join(",");
                let expected = format!("{} for {}: {names}", count(self.margin.names().len()), self.name);
                let advice = format!("see the equation of {}: {}", self.name, self.equation);
                return Err(Error::new(ErrorKind::Spec, "margin", expected, found(), advice));
            }
        }
        Ok(())
    }
}

fn count(numbers: usize) -> String {
    if numbers == 1 { "one number".into() } else { format!("{numbers} numbers") }
}

/// The numbers of a margin value that [`Preset::spec_with`] sets.
fn numbers<T: Copy + Into<f64>>(value: &MarginValue<T>) -> Vec<f64> {
    match value {
        MarginValue::One(m) | MarginValue::Drawn { mean: m, .. } | MarginValue::ByFrequency { largest: m, .. } => {
            vec![(*m).into()]
        }
        MarginValue::FromNorm(NormMargin::Linear { low, high, .. }) => vec![*low, *high],
        MarginValue::FromNorm(NormMargin::Standardized { value, .. }) => vec![*value],
        MarginValue::PerClass(_) | MarginValue::PerSample => vec![0.0],
    }
}

/// Softmax cross-entropy over inner products without bias: what the presets differ from.
pub(super) fn plain() -> LossSpec {
    LossSpec {
        geometry: Geometry::InnerProduct { bias: false, temperature: 1.0 },
        scale: Scale::fixed(1.0),
        margin: Margin::None,
        negatives: Negatives::Plain,
        sub_centers: 1,
        comparison: Comparison::CROSS_ENTROPY,
        regularizer: None,
        class_weights: None,
        ignored_label: None,
    }
}

/// The same over cosines.
pub(super) fn cosine(scale: f64, margin: Margin) -> LossSpec {
    LossSpec { geometry: Geometry::Cosine, scale: Scale::fixed(scale), margin, ..plain() }
}
