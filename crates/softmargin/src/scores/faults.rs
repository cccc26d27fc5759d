//! Rows whose scores have no loss, and the error that names them.

use crate::error::{Error, ErrorKind, Result};
use crate::rows::RowOutcome;

/// The reason why a row has no loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowFault {
    /// A score is NaN.
    Nan,
    /// Both the target's score and a negative's are plus infinity.
    Contradiction,
    /// The target's score is not a cosine, but the margin needs its angle.
    NotACosine(f64),
    /// A negative's score is not a cosine, but its angle is to be divided.
    NegativeIsNotACosine(f64),
}

/// Returns the outcomes of all rows, or one error for all rows that have the fault of the first faulty row.
pub(crate) fn without_faults(outcomes: Vec<std::result::Result<RowOutcome, RowFault>>) -> Result<Vec<RowOutcome>> {
    const NAMED: usize = 5;
    let Some(first) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) else {
        return Ok(outcomes.into_iter().flatten().collect());
    };
    let alike = |fault: &RowFault| std::mem::discriminant(fault) == std::mem::discriminant(first);
    let rows: Vec<usize> = outcomes
        .iter()
        .enumerate()
        .filter_map(|(row, outcome)| outcome.as_ref().err().filter(|fault| alike(fault)).map(|_| row))
        .collect();
    let names: Vec<String> = rows.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if rows.len() > NAMED { format!(" and {} more", rows.len() - NAMED) } else { String::new() };
    let subject = format!("scores of row {}{more}", names.join(", "));
    Err(match first {
        RowFault::Nan => {
            let advice = "look for a division by zero, an overflow or a diverging step before this";
            Error::new(ErrorKind::Number, subject, "numbers", "NaN", advice)
        }
        RowFault::Contradiction => {
            let found = "plus infinity there and at another class";
            let advice = "mask classes with minus infinity";
            Error::new(ErrorKind::Number, subject, "a target's score below infinity", found, advice)
        }
        RowFault::NotACosine(score) => {
            let expected = "the target's score to be a cosine times the norms that were given";
            let advice = "normalize embeddings and prototypes first, or give the norms that the scores were made with";
            Error::new(ErrorKind::Number, subject, expected, format!("{score}"), advice)
        }
        RowFault::NegativeIsNotACosine(score) => {
            let advice = "normalize embeddings and prototypes first";
            Error::new(ErrorKind::Number, subject, "all scores to be cosines", format!("{score}"), advice)
        }
    })
}
