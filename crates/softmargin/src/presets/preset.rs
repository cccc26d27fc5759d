//! A published loss: names, formulas, defaults, and its scale and margin as numbers.

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
    /// The name, the same in Rust, Python, files and the command.
    pub name: &'static str,
    /// Other names of the loss.
    pub aliases: &'static [&'static str],
    /// The description in one line.
    pub summary: &'static str,
    /// The equation of the loss of one row.
    pub equation: &'static str,
    /// The gradient with respect to the scores.
    pub gradient: &'static str,
    /// The source: authors, year, title.
    pub paper: &'static str,
    /// The margin: its names in the equation, and the numbers it takes.
    pub margin: MarginParameter,
    pub(super) spec: fn() -> LossSpec,
}

/// The meaning of the numbers that the margin of a preset takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarginParameter {
    /// No margin; holds the reason, and the loss to use instead.
    None(&'static str),
    /// `m`: subtracted from the score.
    Score,
    /// `m`: added to the angle, in radians.
    Plus,
    /// `m`: the factor of the angle.
    Times,
    /// `m1,m2,m3`: the factor of the angle, the angle added (radians), the value subtracted from the cosine.
    Combined,
    /// `m`: the mean of the drawn angle that is added, in radians.
    DrawnPlus,
    /// `m`: the mean of the drawn value that is subtracted from the score.
    DrawnScore,
    /// `m`: the value subtracted from the score of the rarest class, which has the largest margin.
    Largest,
    /// `m`: depending on the embedding's norm, an angle from `-m` to `m` (radians) is added, and a value from 0 to `2
    /// m` is subtracted from the cosine.
    Standardized,
    /// `low,high`: added to the angle at the smallest and at the largest norm, in radians.
    Linear,
    /// `m`: the divisor of the angles of the negatives.
    Divisor,
}

impl MarginParameter {
    /// Returns the names of the numbers, in order.
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
    /// Returns the spec of the loss with its default scale and margin.
    pub fn spec(&self) -> LossSpec {
        (self.spec)()
    }

    /// Returns the name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Returns the margin of [`spec`](Self::spec) as numbers, in the order of [`MarginParameter::names`].
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

    /// Returns the spec with another scale (the initial value of a learned one) and margin.
    ///
    /// # Errors
    /// If the loss has no margin, or its margin takes another number of values. [`LossSpec::build`] checks the ranges.
    pub fn spec_with(&self, scale: Option<f64>, margin: Option<&[f64]>) -> Result<LossSpec> {
        self.with_numbers(self.spec(), scale, margin)
    }

    /// Returns a spec that was derived from the preset's, with another scale and margin. Everything else is unchanged.
    ///
    /// # Errors
    /// As [`spec_with`](Self::spec_with), and if the spec no longer has the kind of margin that the numbers belong to.
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

/// Returns the numbers of a margin value that [`Preset::spec_with`] sets.
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

/// Returns the base of the presets: softmax cross-entropy over inner products without bias.
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

/// Returns softmax cross-entropy over cosines.
pub(super) fn cosine(scale: f64, margin: Margin) -> LossSpec {
    LossSpec { geometry: Geometry::Cosine, scale: Scale::fixed(scale), margin, ..plain() }
}
