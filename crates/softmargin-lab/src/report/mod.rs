//! Pages for people: a run at a glance, an evaluation at a glance; each in one file that needs no other.

mod class_table;
mod confusion_picture;
mod curves;
mod html;

use crate::config::Config;
use crate::data::Dataset;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::observer::Epoch;
use crate::training::{Stopped, Summary};
use html::{document, escape, facts, percent};

/// What a page of an evaluation says beside the evaluation itself.
#[derive(Debug)]
pub(crate) struct Heading<'a> {
    /// What was evaluated, on what.
    pub(crate) title: String,
    /// Names and values, in the order of the page.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// (C): the names of the classes.
    pub(crate) classes: &'a [String],
}

/// The page of a training run.
///
/// # Errors
/// When a chart cannot be drawn.
pub(crate) fn page(
    config: &Config,
    data: &Dataset,
    epochs: &[Epoch],
    evaluation: &Evaluation,
    summary: &Summary,
) -> Result<String, Error> {
    let unwritable = |cause: String| Error::failure("report.html", "a page that can be written", cause, "");
    let curves = curves::section(epochs).map_err(unwritable)?;
    let configuration = config.to_text(&[]).map_err(|cause| unwritable(cause.to_string()))?;
    let parts = [
        figure(evaluation.accuracy, "test accuracy"),
        facts(&run_facts(data, summary)),
        format!("<h2>Training</h2>{curves}"),
        format!("<h2>Test</h2>{}", facts(&evaluation_facts(evaluation))),
        classes(&data.classes, evaluation),
        format!("<details><summary>configuration</summary><pre>{}</pre></details>", escape(&configuration)),
    ];
    Ok(document(&format!("{}, {}", data.name, summary.loss), &parts))
}

/// The page of an evaluation.
pub(crate) fn evaluation_page(heading: &Heading, evaluation: &Evaluation) -> String {
    let all: Vec<_> = heading.facts.iter().cloned().chain(evaluation_facts(evaluation)).collect();
    let parts = [figure(evaluation.accuracy, "accuracy"), facts(&all), classes(heading.classes, evaluation)];
    document(&heading.title, &parts)
}

fn figure(share: f64, of: &str) -> String {
    format!("<p class=\"figure\">{}<small> {of}</small></p>", percent(share, 2))
}

fn run_facts(data: &Dataset, summary: &Summary) -> Vec<(&'static str, String)> {
    let epochs = if summary.epochs == 1 { "epoch" } else { "epochs" };
    let mut rows = vec![("data", data.description.clone()), ("split", data.split.clone())];
    rows.extend(data.notes.iter().map(|note| ("note", note.clone())));
    rows.extend([
        ("training", format!("{} {epochs}, {:.1} s in all", summary.epochs, summary.seconds)),
        ("model", kept(summary)),
        ("speed", format!("{:.0} samples/s", summary.images_per_second)),
        ("parameters", summary.parameters.to_string()),
    ]);
    rows
}

/// Which model was kept, and why training ended where it did.
fn kept(summary: &Summary) -> String {
    let by = match summary.validation_accuracy {
        Some(accuracy) => format!(", validation accuracy {}", percent(accuracy, 2)),
        None => ", the last: no samples validate".into(),
    };
    let ended = match summary.stopped {
        Stopped::Finished => "",
        Stopped::Early => "; stopped early",
        Stopped::Interrupted => "; interrupted",
    };
    format!("of epoch {}{by}{ended}", summary.best_epoch)
}

fn evaluation_facts(evaluation: &Evaluation) -> Vec<(&'static str, String)> {
    let wrong: usize = evaluation.errors.iter().map(|error| error.count).sum();
    let without = evaluation.classes.iter().filter(|class| class.support == 0).count();
    let mut rows = vec![
        ("result", format!("{wrong} of {} samples wrong", evaluation.samples)),
        ("loss", format!("{:.4}, as in training: with the margin", evaluation.loss)),
        ("mean recall", format!("{} over the classes that have samples", percent(evaluation.mean_recall(), 2))),
        ("mean F1", format!("{} over the same", percent(evaluation.mean_f1(), 2))),
    ];
    if without > 0 {
        rows.push(("untested", format!("{without} of {} classes have no samples here", evaluation.classes.len())));
    }
    rows
}

fn classes(names: &[String], evaluation: &Evaluation) -> String {
    let picture = confusion_picture::section(names, evaluation);
    format!("{picture}{}", class_table::section(names, evaluation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_an_evaluation_holds_its_parts_and_no_markup_of_names() {
        let evaluation = Evaluation::of(&[0, 1, 1], &[0, 1, 0], 3, 0.5).unwrap();
        let names = ["<i>", "b", "c"].map(String::from);
        let heading = Heading { title: "run on <b>".into(), facts: vec![("data", "x & y".into())], classes: &names };
        let page = evaluation_page(&heading, &evaluation);
        for part in
            ["66.67 %", "1 of 3 samples wrong", "run on &lt;b&gt;", "x &amp; y", "1 of 3 classes have no samples"]
        {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("<i>") && page.contains("&lt;i&gt;"), "{page}");
    }
}
