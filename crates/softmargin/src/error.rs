//! The error type of the crate. Every message says what was expected, what was found, and what to do about it.

use std::fmt;

/// The kind of an error. New kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A [`LossSpec`](crate::LossSpec) whose parts do not make a loss.
    Spec,
    /// An unknown name of a loss.
    UnknownName,
    /// Arrays whose shapes disagree.
    Shape,
    /// A label outside `0..C` that is not the ignored one.
    Label,
    /// A NaN, or an infinity where the computation is undefined.
    Number,
    /// Values that are not a probability distribution.
    Distribution,
    /// A missing input that the loss needs (norms, a state, margin values), or an input that the loss does not use.
    Input,
}

/// An error of this crate.
///
/// ```
/// let error = softmargin::presets::find("arcfase").unwrap_err();
/// assert!(error.to_string().contains("arcface"));
/// ```
#[derive(Clone, Debug)]
pub struct Error(Box<Report>);

#[derive(Clone, Debug)]
struct Report {
    kind: ErrorKind,
    subject: String,
    expected: String,
    found: String,
    advice: String,
}

/// The result of a fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error, for callers that build on this crate.
    ///
    /// The message reads `subject: expected .., found ..; advice`. An empty advice is left out.
    pub fn new(
        kind: ErrorKind,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self(Box::new(Report {
            kind,
            subject: subject.into(),
            expected: expected.into(),
            found: found.into(),
            advice: advice.into(),
        }))
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the name of the parameter, array or row that was rejected.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Returns what was expected.
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// Returns what was found instead.
    pub fn found(&self) -> &str {
        &self.0.found
    }

    /// Returns the advice on how to mend the input.
    pub fn advice(&self) -> &str {
        &self.0.advice
    }

    /// Returns the same error with another subject, for callers whose users know the parameter by that name.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = subject.into();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { subject, expected, found, advice, .. } = &*self.0;
        write!(f, "{subject}: expected {expected}, found {found}")?;
        if advice.is_empty() { Ok(()) } else { write!(f, "; {advice}") }
    }
}

impl std::error::Error for Error {}

/// Returns an error unless `value` is finite and lies in the allowed range.
pub(crate) fn check_number(subject: &str, value: f64, allowed: Bound) -> Result<()> {
    if allowed.holds(value) {
        return Ok(());
    }
    let advice = allowed.advice();
    Err(Error::new(ErrorKind::Spec, subject, allowed.words(), format!("{value}"), advice))
}

/// The ranges of parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Positive,
    NotNegative,
    AtMost(f64, &'static str),
    Between(f64, f64),
    FractionBelowOne,
    Share,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Bound::Positive => value > 0.0,
                Bound::NotNegative => value >= 0.0,
                Bound::AtMost(most, _) => (0.0..=most).contains(&value),
                Bound::Between(least, most) => (least..=most).contains(&value),
                Bound::FractionBelowOne => (0.0..1.0).contains(&value),
                Bound::Share => value > 0.0 && value <= 1.0,
            }
    }

    fn words(self) -> String {
        match self {
            Bound::Positive => "a finite number above 0".into(),
            Bound::NotNegative => "a finite number, 0 or above".into(),
            Bound::AtMost(most, _) => format!("a number from 0 to {most}"),
            Bound::Between(least, most) => format!("a number from {least} to {most}"),
            Bound::FractionBelowOne => "a number from 0 up to, not including, 1".into(),
            Bound::Share => "a number above 0, up to 1".into(),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Bound::AtMost(_, advice) => advice,
            _ => "give a number in that range",
        }
    }
}
