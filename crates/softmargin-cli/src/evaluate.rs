//! `softmargin evaluate`.

use crate::answer::{json, note, prose};
use crate::args::{Common, EvaluateOptions};
use crate::terminal::{display_width, padded};
use crate::waiting::waiting;
use softmargin_lab::commands::{EvaluateRequest, EvaluateSummary};
use softmargin_lab::data::wording::{counted, grouped, percent, printable};
use softmargin_lab::metrics::{ClassCounts, Classification, Confusion};
use softmargin_lab::run::atomic_write;
use softmargin_lab::{Error, evaluate};
use std::fmt::Write;
use std::path::Path;

/// Up to this many classes have a line each; of more classes, the worst have.
const CLASSES: usize = 50;
const WORST: usize = 10;
/// The number of confusions shown.
const PAIRS: usize = 5;

pub(crate) fn run(options: &EvaluateOptions, common: &Common) -> Result<String, Error> {
    if let Some(report) = &options.report {
        check_report_path(report)?;
    }
    let request = EvaluateRequest {
        run: &options.run,
        data: options.data.as_ref(),
        part: options.part.map(Into::into),
        device: common.device(),
    };
    let summary = evaluate(&request, waiting(common.quiet))?;
    note(&summary.notes, common);
    if let Some(report) = &options.report {
        atomic_write::write_file(report, summary.page().as_bytes())?;
    }
    if common.json { json(&summary) } else { Ok(prose(&text(&summary))) }
}

/// Rejects a report that exists, or in another format than HTML.
fn check_report_path(report: &Path) -> Result<(), Error> {
    match report.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).as_deref() {
        None | Some("html" | "htm") => atomic_write::check_new_path(report),
        Some(_) => {
            let advice = "a browser prints the page as PDF; --json has the figures";
            Err(Error::request("--report", "a path that ends in .html", report.display(), advice))
        }
    }
}

fn text(summary: &EvaluateSummary) -> String {
    let EvaluateSummary { data, part, classes, evaluation, .. } = summary;
    let result = &evaluation.classification;
    let mut text = format!(
        "accuracy {} ({} of {} wrong), loss {:.4}, mean recall {}, mean F1 {}\n\
         {}; part: {}\n\n",
        percent(result.accuracy, 2),
        grouped(result.wrong()),
        counted(result.samples, "sample"),
        evaluation.loss,
        percent(result.mean_recall(), 2),
        percent(result.mean_f1(), 2),
        printable(data),
        part.name(),
    );
    class_lines(&mut text, classes, result);
    error_lines(&mut text, classes, result);
    text
}

fn class_lines(text: &mut String, names: &[String], result: &Classification) {
    let mut classes: Vec<(&String, &ClassCounts)> = names.iter().zip(&result.classes).collect();
    if classes.len() > CLASSES {
        classes = result.worst_classes().into_iter().take(WORST).map(|class| classes[class]).collect();
        let _ = writeln!(text, "the {} classes with the lowest F1:", classes.len());
    }
    let classes: Vec<_> = classes.into_iter().map(|(name, class)| (printable(name), class)).collect();
    let width = classes.iter().map(|(name, _)| display_width(name)).max().unwrap_or_default().max("class".len());
    let _ = writeln!(text, "{}  precision   recall       F1  samples", padded("class", width));
    for (name, class) in classes {
        let [precision, recall, f1] = [class.precision(), class.recall(), class.f1()].map(share);
        let _ = writeln!(
            text,
            "{}  {precision:>9}  {recall:>7}  {f1:>7}  {:>7}",
            padded(&name, width),
            grouped(class.support)
        );
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| percent(share, 1))
}

fn error_lines(text: &mut String, names: &[String], result: &Classification) {
    let worst = result.worst_confusions();
    if worst.is_empty() {
        return;
    }
    text.push_str("\nmost frequent errors:\n");
    for Confusion { class, predicted, count } in worst.iter().take(PAIRS) {
        let [name, other] = [class, predicted].map(|class| printable(&names[*class]));
        let [count, support] = [*count, result.classes[*class].support].map(grouped);
        let _ = writeln!(text, "{name} predicted as {other}: {count} of {support}");
    }
}
