//! `softmargin predict`.

use crate::answer::{Answer, FailedFile, complain, json, note, prose};
use crate::args::{Common, PredictOptions};
use crate::waiting::waiting;
use serde::Serialize;
use softmargin_lab::commands::{PredictRequest, Prediction, UnknownScore};
use softmargin_lab::data::wording::{percent, printable};
use softmargin_lab::input_files::InputFile;
use softmargin_lab::{Error, predict};
use std::io::Read;
use std::path::Path;

/// The output of `--json`.
#[derive(Serialize)]
struct Output<'a> {
    unknown_score: UnknownScore,
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
        let output = Output { unknown_score: result.unknown_score, predictions: &result.predictions, failures };
        return Ok(Answer { text: json(&output)?, partial });
    }
    let lines: String = result.predictions.iter().map(|one| line(one, result.unknown_score)).collect();
    Ok(Answer { text: prose(&lines), partial })
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

/// Formats a prediction: the file, then the classes and their probabilities. For an unknown sample, the value that was
/// below the limit comes first.
fn line(prediction: &Prediction, judged: UnknownScore) -> String {
    let row = prediction.row.map(|row| format!("[{row}]")).unwrap_or_default();
    let name = prediction.name.as_ref().map(|name| format!(" ({})", printable(name))).unwrap_or_default();
    let best = prediction.classes.first().filter(|_| prediction.class.is_none());
    let unknown = best.map(|best| format!("  unknown, {} {}:", judged.name(), shown(judged, judged.of_class(best))));
    let unknown = unknown.unwrap_or_default();
    let classes = prediction
        .classes
        .iter()
        .map(|one| format!("  {} {}", printable(&one.class), shown(UnknownScore::Probability, one.probability)));
    format!("{}{row}{name}{unknown}{}\n", printable(&prediction.file), classes.collect::<String>())
}

fn shown(score: UnknownScore, value: f32) -> String {
    match score {
        UnknownScore::Cosine => format!("{value:.3}"),
        UnknownScore::Probability => percent(value.into(), 1),
    }
}
