//! `softmargin train`.

use crate::args::TrainOptions;
use crate::progress::Progress;
use softmargin_lab::{Destination, Error, Request, train};

pub(crate) fn run(options: &TrainOptions) -> Result<String, Error> {
    let request = Request {
        data: options.data.clone(),
        image_size: options.image_size,
        loss: options.loss.clone(),
        scale: options.scale,
        margin: options.margin.clone(),
        embedding_size: options.embedding_size,
        epochs: options.epochs,
        batch_size: options.batch_size,
        learning_rate: options.lr,
        seed: options.seed,
        device: options.device,
    };
    let destination = match &options.out {
        Some(path) if options.json && path.to_str().is_none() => {
            let advice = "choose another with --out, or leave out --json";
            return Err(Error::request("--out", "a path in UTF-8, which JSON can hold", path.display(), advice));
        }
        Some(path) => Destination::new(path)?,
        None => Destination::next("run")?,
    };
    let summary = train(&request, &destination, &mut Progress::new())?;
    if options.json {
        return crate::json(&summary);
    }
    let wrong = ((1.0 - summary.test_accuracy) * summary.test_images as f64).round();
    Ok(format!(
        "test accuracy {:.2} % ({wrong} of {} images wrong), {:.1} s in all\n\
         run directory {out}; open {out}/report.html, or try: softmargin predict {out} IMAGE.png",
        100.0 * summary.test_accuracy,
        summary.test_images,
        summary.seconds,
        out = summary.out.display(),
    ))
}
