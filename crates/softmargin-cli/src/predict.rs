//! `softmargin predict`.

use crate::answer::{Answer, FailedFile, complain, json, note, prose};
use crate::args::{Common, PredictOptions};
use crate::waiting::waiting;
use serde::Serialize;
use softmargin_lab::commands::{PredictRequest, Prediction};
use softmargin_lab::data::wording::{percent, printable};
use softmargin_lab::input_files::InputFile;
use softmargin_lab::{Error, predict};
use std::io::Read;
use std::path::Path;

/// The output of `--json`.
#[derive(Serialize)]
struct Output<'a> {
    predictions: &'a [Prediction],
    failures: Vec<FailedFile>,
}

pub(crate) fn run(options: &PredictOptions, common: &Common) -> Result<Answer, Error> {
    let inputs = options.inputs.iter().map(|path| input_file(path)).collect::<Result<Vec<_>, _>>()?;
    let request = PredictRequest {
        run: &options.run,
        inputs: &inputs,
        top: options.top,
        unknown_below: options.unknown_below,
        device: common.device(),
    };
    let result = predict(&request, &waiting(common.quiet))?;
    note(&result.notes, common);
    complain(&result.failures);
    let partial = !result.failures.is_empty();
    if common.json {
        let failures = FailedFile::all(&result.failures);
        return Ok(Answer { text: json(&Output { predictions: &result.predictions, failures })?, partial });
    }
    Ok(Answer { text: prose(&result.predictions.iter().map(line).collect::<String>()), partial })
}

/// Returns a file or folder, or reads the content of standard input.
fn input_file(path: &Path) -> Result<InputFile, Error> {
    if path != Path::new("-") {
        return Ok(InputFile::Path(path.to_owned()));
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|cause| Error::failure("standard input", "an image or a .npy file", &cause, "").with_source(cause))?;
    Ok(InputFile::Content("standard input".into(), bytes))
}

/// Formats a prediction: the file, then the classes and their probabilities.
fn line(prediction: &Prediction) -> String {
    let row = prediction.row.map(|row| format!("[{row}]")).unwrap_or_default();
    let unknown = if prediction.class.is_none() { "  unknown:" } else { "" };
    let classes = prediction
        .classes
        .iter()
        .map(|one| format!("  {} {}", printable(&one.class), percent(one.probability.into(), 1)));
    format!("{}{row}{unknown}{}\n", printable(&prediction.file), classes.collect::<String>())
}
