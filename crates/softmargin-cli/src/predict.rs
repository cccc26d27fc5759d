//! `softmargin predict`.

use crate::answer::{Answer, FailedFile, complain, json, note};
use crate::args::{Common, PredictOptions};
use crate::waiting::waiting;
use serde::Serialize;
use softmargin_lab::inputs::Source;
use softmargin_lab::prediction::{Prediction, PredictionRequest};
use softmargin_lab::{Error, predict};
use std::io::Read;
use std::path::Path;

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    predictions: &'a [Prediction],
    failures: Vec<FailedFile>,
}

pub(crate) fn run(options: &PredictOptions, common: &Common) -> Result<Answer, Error> {
    let sources = options.inputs.iter().map(|path| source(path)).collect::<Result<Vec<_>, _>>()?;
    let request = PredictionRequest {
        run: &options.run,
        sources: &sources,
        top: options.top,
        unknown_below: options.unknown_below,
        device: common.device(),
    };
    let result = predict(&request, waiting(common.quiet))?;
    note(&result.notes, common);
    complain(&result.failures);
    let partial = !result.failures.is_empty();
    if common.json {
        let failures = FailedFile::all(&result.failures);
        return Ok(Answer { text: json(&Output { predictions: &result.predictions, failures })?, partial });
    }
    Ok(Answer { text: result.predictions.iter().map(line).collect(), partial })
}

/// A file or folder, or what is on standard input.
fn source(path: &Path) -> Result<Source, Error> {
    if path != Path::new("-") {
        return Ok(Source::Path(path.to_owned()));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|cause| Error::failure("standard input", "an image or a .npy file", &cause, "").with_source(cause))?;
    Ok(Source::Content("standard input".into(), bytes))
}

/// The file, then classes and their probabilities.
fn line(prediction: &Prediction) -> String {
    let row = prediction.row.map(|row| format!("[{row}]")).unwrap_or_default();
    let unknown = if prediction.class.is_none() { "  unknown:" } else { "" };
    let classes = prediction.classes.iter().map(|one| format!("  {} {:.1} %", one.class, 100.0 * one.probability));
    format!("{}{row}{unknown}{}\n", prediction.file, classes.collect::<String>())
}
