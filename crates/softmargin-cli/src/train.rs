//! `softmargin train`.

use crate::answer::{json, prose};
use crate::args::{Common, TrainOptions};
use crate::progress::Progress;
use softmargin_lab::data::wording::{grouped, percent, printable};
use softmargin_lab::run::Stopped;
use softmargin_lab::{ConfigRequest, Destination, Error, TrainSummary, train};

pub(crate) fn run(options: &TrainOptions, common: &Common) -> Result<String, Error> {
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
    if common.json { json(&summary) } else { Ok(prose(&text(&summary))) }
}

fn text(summary: &TrainSummary) -> String {
    let wrong = ((1.0 - summary.test_accuracy) * summary.test_images as f64).round() as usize;
    format!(
        "test accuracy {} ({} of {} wrong), {:.1} s in all\n\
         {}\n\
         run directory {out}; open {out}/report.html, or try: softmargin predict {out} FILE",
        percent(summary.test_accuracy, 2),
        grouped(wrong),
        grouped(summary.test_images),
        summary.seconds,
        model(summary),
        out = printable(&summary.out.display().to_string()),
    )
}

/// Describes which model was saved, and why training ended.
fn model(summary: &TrainSummary) -> String {
    let ended = match summary.stopped {
        Stopped::Finished => "",
        Stopped::Early => ", stopped early",
        Stopped::Interrupted => ", interrupted",
    };
    let by = summary
        .validation_accuracy
        .map_or_else(String::new, |accuracy| format!(", validation accuracy {}", percent(accuracy, 2)));
    format!("model of epoch {} of {}{by}{ended}", grouped(summary.best_epoch), grouped(summary.epochs))
}
