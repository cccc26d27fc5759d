//! The error type: its subject, what was expected, what was found, and advice.
//!
//! An error also has the exit code of a command that ends with it:
//!
//! * 2, *the request is wrong*: a path that does not exist, a folder that is not laid out as described, a value out of
//!   range. Another request helps.
//! * 1, *the work failed*: the request is valid, and a file turned out to be broken, unreadable or unwritable.

use crate::wording::printable;
use softmargin::ErrorKind;
use std::fmt;
use std::io;
use std::path::Path;

/// The error of this crate and of the crates built on it.
///
/// `Display` gives the whole message in one line, in which control characters are escaped. The message includes the
/// cause, so a program that prints errors need not print `source` as well; `source` returns the cause for programs that
/// inspect it (usually an [`io::Error`]).
///
/// ```
/// use softmargin_data::Error;
///
/// let error = Error::request("--image-size", "8 to 512", 3, "choose a size in this range");
/// assert_eq!(error.to_string(), "--image-size: expected 8 to 512, found 3; choose a size in this range");
/// assert_eq!(error.exit_code(), 2);
/// ```
#[derive(Debug)]
pub struct Error {
    // Boxed, so that a `Result` on the hot path stays one word wide.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    subject: String,
    expected: String,
    found: String,
    advice: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WrongRequest,
    WorkFailed,
}

impl Error {
    /// Creates the error of a wrong request (exit code 2). An empty `advice` is left out of the message.
    pub fn request(
        subject: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Error {
        Error::new(Kind::WrongRequest, &subject, &expected, &found, &advice)
    }

    /// Creates the error of failed work (exit code 1). An empty `advice` is left out of the message.
    pub fn failure(
        subject: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Error {
        Error::new(Kind::WorkFailed, &subject, &expected, &found, &advice)
    }

    /// Creates the error of a file or folder that the system rejects. A path that does not exist is a wrong request
    /// (exit code 2), everything else is failed work (exit code 1).
    pub fn io(path: &Path, expected: impl fmt::Display, cause: io::Error) -> Error {
        let (kind, advice) = match cause.kind() {
            io::ErrorKind::NotFound => (Kind::WrongRequest, "check the path"),
            io::ErrorKind::PermissionDenied => (Kind::WorkFailed, "check the permissions"),
            io::ErrorKind::StorageFull => (Kind::WorkFailed, "make room on the disk"),
            io::ErrorKind::UnexpectedEof => (Kind::WorkFailed, "the file is cut short: fetch it again"),
            _ => (Kind::WorkFailed, ""),
        };
        Error::new(kind, &path.display(), &expected, &cause, &advice).with_source(cause)
    }

    /// Returns the error with its cause, which `source` returns.
    #[must_use]
    pub fn with_source(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.inner.source = Some(cause.into());
        self
    }

    /// Returns the error with one more sentence of advice.
    #[must_use]
    pub fn with_advice(mut self, more: impl fmt::Display) -> Error {
        if !self.inner.advice.is_empty() {
            self.inner.advice.push_str("; ");
        }
        self.inner.advice.push_str(&more.to_string());
        self
    }

    /// Returns the exit code of a command that ends with this error: 1 if the work failed, 2 if the request is wrong.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.inner.kind {
            Kind::WorkFailed => 1,
            Kind::WrongRequest => 2,
        }
    }

    fn new(
        kind: Kind,
        subject: &dyn fmt::Display,
        expected: &dyn fmt::Display,
        found: &dyn fmt::Display,
        advice: &dyn fmt::Display,
    ) -> Error {
        let inner = Inner {
            kind,
            subject: subject.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
            advice: advice.to_string(),
            source: None,
        };
        Error { inner: Box::new(inner) }
    }
}

/// An invalid or unknown loss is a wrong request; values that the mathematics rejects during the work are failed work.
impl From<softmargin::Error> for Error {
    fn from(error: softmargin::Error) -> Error {
        let kind = match error.kind() {
            ErrorKind::Spec | ErrorKind::UnknownName => Kind::WrongRequest,
            _ => Kind::WorkFailed,
        };
        Error::new(kind, &error.subject(), &error.expected(), &error.found(), &error.advice()).with_source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { subject, expected, found, advice, .. } = &*self.inner;
        let mut message = format!("{subject}: expected {expected}, found {found}");
        if !advice.is_empty() {
            message.push_str("; ");
            message.push_str(advice);
        }
        // Any part may contain a name of a file or a class.
        f.write_str(&printable(&message))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_missing_path_is_a_wrong_request_and_keeps_its_cause() {
        let error = Error::io(Path::new("a/b"), "a folder", io::ErrorKind::NotFound.into());
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.to_string(), "a/b: expected a folder, found entity not found; check the path");
        let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_broken_read_is_failed_work() {
        let error = Error::io(Path::new("a"), "a readable file", io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.exit_code(), 1);
        let error = Error::io(Path::new("a"), "a readable file", io::ErrorKind::InvalidData.into());
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn only_a_loss_that_cannot_be_made_is_a_wrong_request() {
        let code = |kind| Error::from(softmargin::Error::new(kind, "a", "b", "c", "d")).exit_code();
        assert_eq!([ErrorKind::Spec, ErrorKind::UnknownName].map(code), [2, 2]);
        let in_the_work =
            [ErrorKind::Number, ErrorKind::Shape, ErrorKind::Label, ErrorKind::Input, ErrorKind::Distribution];
        assert_eq!(in_the_work.map(code), [1; 5]);
    }

    #[test]
    fn advice_is_left_out_when_empty_and_added_to_when_not() {
        let error = Error::failure("x", "1", "2", "");
        assert_eq!(error.to_string(), "x: expected 1, found 2");
        assert!(error.source().is_none());
        let error = error.with_advice("look").with_advice("look again");
        assert_eq!(error.to_string(), "x: expected 1, found 2; look; look again");
    }

    #[test]
    fn no_name_in_a_message_controls_a_terminal() {
        let error = Error::io(Path::new("a\nb"), "the class \u{1b}[31m", io::ErrorKind::PermissionDenied.into());
        let message = error.with_advice("see \u{9b}2J").to_string();
        assert!(message.starts_with(r"a\nb: expected the class \u{1b}[31m, found"), "{message}");
        assert!(!message.contains(char::is_control), "{message}");
    }

    #[test]
    fn an_error_is_one_word_and_can_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
