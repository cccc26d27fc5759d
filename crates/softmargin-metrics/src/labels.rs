//! Checks that come before any metric: every label and every prediction is a class.

use softmargin::{Error, ErrorKind, Result};

/// Checks that there is at least one label, and that every label is below `num_classes`.
///
/// # Errors
/// If there are no labels, or one of them is not a class. The message contains the first such label.
///
/// ```
/// use softmargin_metrics::labels::check_labels;
///
/// assert!(check_labels(&[0, 2], 3).is_ok());
/// assert!(check_labels(&[0, 3], 3).is_err() && check_labels(&[], 3).is_err());
/// ```
pub fn check_labels(labels: &[u32], num_classes: usize) -> Result<()> {
    if labels.is_empty() {
        let advice = "give at least one sample";
        return Err(Error::new(ErrorKind::Shape, "labels", "at least one", "none", advice));
    }
    check_classes("labels", labels.iter().map(|&label| label as usize), num_classes)
}

/// Checks that predictions and labels have the same length, and that all of them are below `num_classes`.
///
/// # Errors
/// As [`check_labels`]; also if the lengths differ or a prediction is not a class.
pub fn check_predictions(predicted: &[usize], labels: &[u32], num_classes: usize) -> Result<()> {
    if predicted.len() != labels.len() {
        let expected = format!("{}, one for each label", labels.len());
        let advice = "predict the class of every sample";
        return Err(Error::new(ErrorKind::Shape, "predictions", expected, predicted.len().to_string(), advice));
    }
    check_labels(labels, num_classes)?;
    check_classes("predictions", predicted.iter().copied(), num_classes)
}

fn check_classes(subject: &str, mut classes: impl Iterator<Item = usize>, num_classes: usize) -> Result<()> {
    match classes.find(|&class| class >= num_classes) {
        Some(class) => {
            let expected = format!("class indices below {num_classes}");
            let advice = "use labels and predictions of the same classes";
            Err(Error::new(ErrorKind::Label, subject, expected, class.to_string(), advice))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_array_at_fault() {
        let message = |predicted: &[usize], labels: &[u32]| check_predictions(predicted, labels, 3).unwrap_err();
        assert!(message(&[], &[]).to_string().starts_with("labels: expected at least one"));
        assert!(message(&[0], &[0, 1]).to_string().starts_with("predictions: expected 2"));
        assert!(
            message(&[0, 3], &[0, 1]).to_string().starts_with("predictions: expected class indices below 3, found 3")
        );
        assert!(message(&[0, 1], &[0, 3]).to_string().starts_with("labels: expected class indices below 3, found 3"));
    }
}
