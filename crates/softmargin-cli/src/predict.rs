//! `softmargin predict`.

use crate::args::PredictOptions;
use serde::Serialize;
use softmargin_lab::prediction::Prediction;
use softmargin_lab::{Error, predict};

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    predictions: &'a [Prediction],
}

pub(crate) fn run(options: &PredictOptions) -> Result<String, Error> {
    let predictions = predict(&options.run, &options.images, options.top, options.device)?;
    if options.json {
        return crate::json(&Output { predictions: &predictions });
    }
    Ok(predictions.iter().map(line).collect())
}

/// The file, then classes and their probabilities.
fn line(prediction: &Prediction) -> String {
    let classes = prediction.classes.iter().map(|one| format!("  {} {:.1} %", one.class, 100.0 * one.probability));
    format!("{}{}\n", prediction.file.display(), classes.collect::<String>())
}
