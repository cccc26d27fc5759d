//! How each class fares: precision, recall, F1 and support; of many classes those that do worst.

use super::html::{escape, percent};
use crate::evaluation::{ClassCount, Evaluation};
use std::fmt::Write;

/// So many classes are all shown.
const ALL: usize = 50;
/// Of more, these.
const WORST: usize = 20;

pub(super) fn section(names: &[String], evaluation: &Evaluation) -> String {
    let classes: Vec<(&str, &ClassCount)> = names.iter().map(String::as_str).zip(&evaluation.classes).collect();
    if classes.len() <= ALL {
        return format!("<h3>Classes</h3>{}", table(&classes));
    }
    let worst = evaluation.worst_classes();
    let shown: Vec<_> = worst.iter().take(WORST).map(|&class| classes[class]).collect();
    let rule = format!("The {} of {} classes with the lowest F1.", shown.len(), worst.len());
    format!("<h3>Classes that do worst</h3><p class=\"note\">{rule}</p>{}", table(&shown))
}

fn table(classes: &[(&str, &ClassCount)]) -> String {
    let mut table = String::from(
        "<table><thead><tr><th>class</th><th>precision</th><th>recall</th><th>F1</th><th>samples</th></tr></thead><tbody>",
    );
    for (name, class) in classes {
        let [precision, recall, f1] = [class.precision(), class.recall(), class.f1()].map(shown);
        let _ = write!(
            table,
            "<tr><td>{}</td><td>{precision}</td><td>{recall}</td><td>{f1}</td><td>{}</td></tr>",
            escape(name),
            class.support
        );
    }
    table + "</tbody></table>"
}

/// A measure that a class does not have is a dash.
fn shown(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |share| percent(share, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    #[test]
    fn few_classes_are_all_shown_and_of_many_the_worst_first() {
        let predicted = [0, 1, 1, 0, 1];
        let labels = [0, 1, 0, 0, 0];
        let few = Evaluation::of(&predicted, &labels, 50, 0.0).unwrap();
        let page = section(&names(50), &few);
        assert_eq!(page.matches("<tr><td>").count(), 50);
        let row = "<td>class 0</td><td>100.0 %</td><td>50.0 %</td><td>66.7 %</td><td>4</td>";
        assert!(page.contains(row) && page.contains("<td>class 2</td><td>–</td>"), "{page}");
        let many = Evaluation::of(&predicted, &labels, 51, 0.0).unwrap();
        let page = section(&names(51), &many);
        assert_eq!(page.matches("<tr><td>").count(), 2, "two classes have samples: {page}");
        assert!(page.find("class 1").unwrap() < page.find("class 0").unwrap(), "{page}");
    }
}
