//! Pages: each is a list of sections.

use crate::html::{document, escape};
use crate::records::{EvaluationPage, EvaluationRecord, RunPage};
use crate::sections::training_curves;
use crate::sections::{class_table, configuration, confusions, evaluation_facts, facts, headline, missing, run_facts};

/// Returns the page of a training run. A chart that cannot be drawn is replaced by the reason.
#[must_use]
pub fn run_page(page: &RunPage) -> String {
    let curves = training_curves::section(&page.training.epochs)
        .unwrap_or_else(|error| format!("<p class=\"note\">{}</p>", escape(&error.to_string())));
    let accuracy = page.test.as_ref().map(|test| headline::section(test.accuracy, "test accuracy"));
    let test = page
        .test
        .as_ref()
        .map(|test| format!("<h2>Test</h2>{}{}", facts::section(&evaluation_facts::facts(test)), classes(test)));
    let parts = [
        missing::section(&page.missing),
        accuracy.unwrap_or_default(),
        run_facts::section(&page.data, &page.training),
        format!("<h2>Training</h2>{curves}"),
        test.unwrap_or_default(),
        configuration::section(&page.configuration),
    ];
    document(&page.title, &parts)
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
