//! One error type. Every message says what was expected, what was found, and what to do about it.

use std::fmt;

/// What kind of request was refused. New kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A [`LossSpec`](crate::LossSpec) whose parts do not make a loss.
    Spec,
    /// The name of a loss that is not in the family.
    UnknownName,
    /// Arrays whose shapes disagree.
    Shape,
    /// A label outside `0..C` that is not the ignored one.
    Label,
    /// A NaN, or an infinity that has no meaning where it stands.
    Number,
    /// Numbers that are not a probability distribution.
    Distribution,
    /// Something the loss needs (norms, a state, margin values) and did not get, or got without a use for it.
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

/// The result of everything here that can be refused.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a caller that builds on this crate: what was refused, what was expected there, what was found, and
    /// what to do about it.
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

    /// The kind of request that was refused.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was refused: the name of a parameter, an array or a row.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// What was expected there.
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// What was found instead.
    pub fn found(&self) -> &str {
        &self.0.found
    }

    /// What to do about it.
    pub fn advice(&self) -> &str {
        &self.0.advice
    }

    /// The same error with another name for what was refused, for callers whose users know it by that name.
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

/// Refuses a number that is not finite and above (or at) a bound.
pub(crate) fn check_number(subject: &str, value: f64, allowed: Bound) -> Result<()> {
    if allowed.holds(value) {
        return Ok(());
    }
    let advice = allowed.advice();
    Err(Error::new(ErrorKind::Spec, subject, allowed.words(), format!("{value}"), advice))
}

/// The ranges in which parameters may lie.
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
