//! `softmargin train`.

use crate::answer::{Answer, json, prose, say};
use crate::args::{Common, TrainOptions};
use crate::progress::Progress;
use softmargin_lab::data::wording::{grouped, percent, printable};
use softmargin_lab::run::Stopped;
use softmargin_lab::{ConfigRequest, Destination, Error, TrainSummary, train};

pub(crate) fn run(options: &TrainOptions, common: &Common) -> Result<Answer, Error> {
    let flags = options.request(common.device);
    let request = match &options.config {
        Some(path) => flags.over(ConfigRequest::read(path)?)?,
        None => flags,
    };
    let destination = match &options.out {
        Some(path) if common.json && path.to_str().is_none() => {
            let advice = "choose another with --out, or omit --json";
            return Err(Error::request("--out", "a path in UTF-8, which JSON can represent", path.display(), advice));
        }
        Some(path) => Destination::new(path)?,
        None => Destination::next("run")?,
    };
    let summary = train(&request, &destination, &mut Progress::new(common.quiet))?;
    summary.missing.iter().for_each(|part| say(&format!("error: not complete: {part}")));
    let text = if common.json { json(&summary)? } else { prose(&text(&summary)) };
    Ok(Answer { text, partial: !summary.missing.is_empty() })
}

fn text(summary: &TrainSummary) -> String {
    format!(
        "{}, {:.1} s in all\n\
         {}\n\
         run directory {out}; open {out}/report.html, or try: softmargin predict {out} FILE",
        test(summary),
        summary.seconds,
        model(summary),
        out = printable(&summary.out.display().to_string()),
    )
}

fn test(summary: &TrainSummary) -> String {
    let Some(accuracy) = summary.test_accuracy else { return "no test result".into() };
    let wrong = ((1.0 - accuracy) * summary.test_images as f64).round() as usize;
    format!("test accuracy {} ({} of {} wrong)", percent(accuracy, 2), grouped(wrong), grouped(summary.test_images))
}

/// Describes which model was saved, and why training ended.
fn model(summary: &TrainSummary) -> String {
    let ended = match summary.stopped {
        Stopped::Finished => "",
        Stopped::Early => ", stopped early",
        Stopped::Interrupted => ", interrupted",
        Stopped::Failed => ", training failed",
    };
    let by = summary
        .validation_accuracy
        .map_or_else(String::new, |accuracy| format!(", validation accuracy {}", percent(accuracy, 2)));
    format!("model of epoch {} of {}{by}{ended}", grouped(summary.best_epoch), grouped(summary.epochs))
}
