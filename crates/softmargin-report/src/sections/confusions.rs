//! The confusions: the confusion matrix of few classes as a picture, and the most frequent
//! errors.

use crate::charts::confusion_matrix::picture;
use crate::html::escape;
use crate::records::{ConfusionRecord, EvaluationRecord};
use std::cmp::Reverse;
use std::fmt::Write;

/// A picture of more classes than this is unreadable.
const PICTURE: usize = 50;
/// The number of pairs that are listed.
const PAIRS: usize = 15;

pub(crate) fn section(evaluation: &EvaluationRecord) -> String {
    let picture = if evaluation.classes.len() <= PICTURE { matrix(evaluation) } else { String::new() };
    format!("<div class=\"beside\">{picture}{}</div>", pairs(evaluation))
}

fn matrix(evaluation: &EvaluationRecord) -> String {
    let names: Vec<&str> = evaluation.classes.iter().map(|class| class.name.as_str()).collect();
    let totals: Vec<usize> = evaluation.classes.iter().map(|class| class.samples).collect();
    let errors = |row: usize| evaluation.confusions.iter().filter(move |confusion| confusion.class == row);
    let cells = evaluation.classes.iter().enumerate().flat_map(|(row, class)| {
        errors(row).map(move |error| (row, error.predicted, error.count)).chain([(row, row, class.correct)])
    });
    let cells: Vec<_> = cells.filter(|(.., count)| *count > 0).collect();
    format!(
        "<div><h3>Confusion matrix: class (row), predicted as (column)</h3>{}</div>",
        picture(&names, &totals, &cells)
    )
}

/// Returns the most frequent errors.
fn pairs(evaluation: &EvaluationRecord) -> String {
    let mut worst = evaluation.confusions.clone();
    worst.sort_by_key(|confusion| Reverse(confusion.count));
    if worst.is_empty() {
        return "<div><h3>Errors</h3><p class=\"note\">None.</p></div>".into();
    }
    let mut table = String::from(
        "<table class=\"pairs\"><thead><tr><th>class</th><th>predicted as</th><th>samples</th></tr></thead><tbody>",
    );
    for ConfusionRecord { class, predicted, count } in worst.iter().take(PAIRS) {
        let [class, predicted] = [*class, *predicted].map(|index| &evaluation.classes[index]);
        let (name, other, samples) = (escape(&class.name), escape(&predicted.name), class.samples);
        let _ = write!(table, "<tr><td>{name}</td><td>{other}</td><td>{count} of {samples}</td></tr>");
    }
    let more = match worst.len().saturating_sub(PAIRS) {
        0 => String::new(),
        more => format!("<p class=\"note\">and {more} more pairs</p>"),
    };
    format!("<div><h3>Most frequent errors</h3>{table}</tbody></table>{more}</div>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::test_records::evaluation;

    #[test]
    fn a_picture_is_for_few_classes_and_has_a_cell_for_each_pair_that_occurs() {
        let samples = [(0, 0), (1, 1), (0, 1), (0, 0), (0, 1)];
        let page = section(&evaluation(50, &samples));
        assert_eq!(page.matches("<title>").count(), 3, "{page}");
        let tip = "class &lt;0&gt; predicted as class &lt;1&gt;: 2 of 4";
        assert!(page.contains(tip) && !page.contains("<0>"), "{page}");
        let page = section(&evaluation(51, &samples));
        assert!(!page.contains("<svg") && page.contains("<td>2 of 4</td>"), "{page}");
    }

    #[test]
    fn without_errors_the_list_says_none() {
        assert!(section(&evaluation(2, &[(0, 0), (1, 1)])).contains("None."));
    }
}
