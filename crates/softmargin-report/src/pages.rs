//! Pages: each is a list of sections.

use crate::error::Error;
use crate::html::document;
use crate::records::{EvaluationPage, EvaluationRecord, RunPage};
use crate::sections::training_curves;
use crate::sections::{class_table, configuration, confusions, evaluation_facts, facts, headline, run_facts};

/// Returns the page of a training run.
///
/// # Errors
/// If a chart cannot be drawn.
pub fn run_page(page: &RunPage) -> Result<String, Error> {
    let parts = [
        headline::section(page.test.accuracy, "test accuracy"),
        run_facts::section(&page.data, &page.training),
        format!("<h2>Training</h2>{}", training_curves::section(&page.training.epochs)?),
        format!("<h2>Test</h2>{}", facts::section(&evaluation_facts::facts(&page.test))),
        classes(&page.test),
        configuration::section(&page.configuration),
    ];
    Ok(document(&page.title, &parts))
}

/// Returns the page of an evaluation.
#[must_use]
pub fn evaluation_page(page: &EvaluationPage) -> String {
    let all = [page.facts.as_slice(), &evaluation_facts::facts(&page.evaluation)].concat();
    let parts =
        [headline::section(page.evaluation.accuracy, "accuracy"), facts::section(&all), classes(&page.evaluation)];
    document(&page.title, &parts)
}

fn classes(evaluation: &EvaluationRecord) -> String {
    confusions::section(evaluation) + &class_table::section(evaluation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Fact;
    use crate::sections::test_records::evaluation;

    #[test]
    fn a_page_of_an_evaluation_contains_its_sections_and_escapes_names() {
        let mut evaluation = evaluation(3, &[(0, 0), (1, 1), (0, 1)]);
        evaluation.classes[0].name = "<i>".into();
        let facts = vec![Fact::new("data", "x & y")];
        let page = evaluation_page(&EvaluationPage { title: "run on <b>".into(), facts, evaluation });
        for part in
            ["66.67 %", "1 of 3 samples wrong", "run on &lt;b&gt;", "x &amp; y", "1 of 3 classes have no samples"]
        {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("<i>") && page.contains("&lt;i&gt;"), "{page}");
    }
}
