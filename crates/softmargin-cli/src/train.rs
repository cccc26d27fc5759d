//! `softmargin train`.

use crate::answer::json;
use crate::args::{Common, TrainOptions};
use crate::progress::Progress;
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
    if common.json { json(&summary) } else { Ok(text(&summary)) }
}

fn text(summary: &TrainSummary) -> String {
    let wrong = ((1.0 - summary.test_accuracy) * summary.test_images as f64).round();
    format!(
        "test accuracy {:.2} % ({wrong} of {} wrong), {:.1} s in all\n\
         {}\n\
         run directory {out}; open {out}/report.html, or try: softmargin predict {out} FILE",
        100.0 * summary.test_accuracy,
        summary.test_images,
        summary.seconds,
        model(summary),
        out = summary.out.display(),
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
        .map_or_else(String::new, |accuracy| format!(", validation accuracy {:.2} %", 100.0 * accuracy));
    format!("model of epoch {} of {}{by}{ended}", summary.best_epoch, summary.epochs)
}
