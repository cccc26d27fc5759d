//! Precision, recall, F1 and number of samples of each class; of many classes, the ones with the lowest F1.

use crate::html::{escape, percent};
use crate::records::{ClassRecord, EvaluationRecord};
use std::fmt::Write;

/// Up to this many classes are all listed.
const ALL: usize = 50;
/// Of more classes, this many are listed.
const WORST: usize = 20;

pub(crate) fn section(evaluation: &EvaluationRecord) -> String {
    let classes: Vec<&ClassRecord> = evaluation.classes.iter().collect();
    if classes.len() <= ALL {
        return format!("<h3>Classes</h3>{}", table(&classes));
    }
    let mut tested: Vec<&ClassRecord> = classes.into_iter().filter(|class| class.samples > 0).collect();
    let f1 = |class: &ClassRecord| class.f1.unwrap_or_default();
    tested.sort_by(|a, b| f1(a).total_cmp(&f1(b)));
    let shown = &tested[..tested.len().min(WORST)];
    let rule = format!("The {} of {} tested classes with the lowest F1.", shown.len(), tested.len());
    format!("<h3>Classes with the lowest F1</h3><p class=\"note\">{rule}</p>{}", table(shown))
}

fn table(classes: &[&ClassRecord]) -> String {
    let mut table = String::from(
        "<table><thead><tr><th>class</th><th>precision</th><th>recall</th><th>F1</th><th>samples</th></tr></thead><tbody>",
    );
    for class in classes {
        let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(shown);
        let _ = write!(
            table,
            "<tr><td>{}</td><td>{precision}</td><td>{recall}</td><td>{f1}</td><td>{}</td></tr>",
            escape(&class.name),
            class.samples
        );
    }
    table + "</tbody></table>"
}

/// Formats a metric; an undefined one is a dash.
fn shown(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |share| percent(share, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::test_records::evaluation;

    const SAMPLES: [(usize, usize); 5] = [(0, 0), (1, 1), (0, 1), (0, 0), (0, 1)];

    #[test]
    fn few_classes_are_all_listed_and_of_many_the_worst_first() {
        let page = section(&evaluation(50, &SAMPLES));
        assert_eq!(page.matches("<tr><td>").count(), 50);
        let row = "<td>class &lt;0&gt;</td><td>100.0 %</td><td>50.0 %</td><td>66.7 %</td><td>4</td>";
        assert!(page.contains(row) && page.contains("<td>class &lt;2&gt;</td><td>–</td>"), "{page}");
        let page = section(&evaluation(51, &SAMPLES));
        assert_eq!(page.matches("<tr><td>").count(), 2, "two classes have samples: {page}");
        assert!(page.find("class &lt;1&gt;").unwrap() < page.find("class &lt;0&gt;").unwrap(), "{page}");
    }
}
