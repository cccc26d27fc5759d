//! `softmargin evaluate`.

use crate::answer::{json, note};
use crate::args::{Common, EvaluateOptions};
use crate::waiting::waiting;
use softmargin_lab::evaluation::{ClassCount, Confusion, Evaluation};
use softmargin_lab::measuring::{EvaluationRequest, Measured};
use softmargin_lab::{Error, evaluate};
use std::fmt::Write;

/// So many classes have a line each; of more, the worst have.
const CLASSES: usize = 50;
const WORST: usize = 10;
/// Pairs of classes that are told.
const PAIRS: usize = 5;

pub(crate) fn run(options: &EvaluateOptions, common: &Common) -> Result<String, Error> {
    if let Some(report) = &options.report {
        softmargin_lab::whole::check_place(report)?;
    }
    let request = EvaluationRequest {
        run: &options.run,
        data: options.data.as_ref(),
        part: options.part.map(Into::into),
        device: common.device(),
    };
    let measured = evaluate(&request, waiting(common.quiet))?;
    note(&measured.notes, common);
    if let Some(report) = &options.report {
        softmargin_lab::whole::write_file(report, measured.page().as_bytes())?;
    }
    if common.json { json(&measured) } else { Ok(text(&measured)) }
}

fn text(measured: &Measured) -> String {
    let Measured { data, part, classes, evaluation, .. } = measured;
    let wrong: usize = evaluation.errors.iter().map(|error| error.count).sum();
    let mut text = format!(
        "accuracy {:.2} % ({wrong} of {} samples wrong), loss {:.4}, mean recall {:.2} %, mean F1 {:.2} %\n\
         {data}; part: {}\n\n",
        100.0 * evaluation.accuracy,
        evaluation.samples,
        evaluation.loss,
        100.0 * evaluation.mean_recall(),
        100.0 * evaluation.mean_f1(),
        part.name(),
    );
    class_lines(&mut text, classes, evaluation);
    pair_lines(&mut text, classes, evaluation);
    text
}

fn class_lines(text: &mut String, names: &[String], evaluation: &Evaluation) {
    let mut classes: Vec<(&String, &ClassCount)> = names.iter().zip(&evaluation.classes).collect();
    if classes.len() > CLASSES {
        classes = evaluation.worst_classes().into_iter().take(WORST).map(|class| classes[class]).collect();
        let _ = writeln!(text, "the {} classes with the lowest F1:", classes.len());
    }
    let width = classes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max("class".len());
    let _ = writeln!(text, "{:<width$}  precision   recall       F1  samples", "class");
    for (name, class) in classes {
        let [precision, recall, f1] = [class.precision(), class.recall(), class.f1()].map(percent);
        let _ = writeln!(text, "{name:<width$}  {precision:>9}  {recall:>7}  {f1:>7}  {:>7}", class.support);
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn pair_lines(text: &mut String, names: &[String], evaluation: &Evaluation) {
    let worst = evaluation.worst_confusions();
    if worst.is_empty() {
        return;
    }
    text.push_str("\ntaken for another most often:\n");
    for Confusion { class, predicted, count } in worst.iter().take(PAIRS) {
        let support = evaluation.classes[*class].support;
        let _ = writeln!(text, "{} for {}: {count} of {support}", names[*class], names[*predicted]);
    }
}
