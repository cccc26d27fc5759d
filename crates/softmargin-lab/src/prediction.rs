//! Predictions for image files, by the model of a run directory.

use crate::data::{Input, image_files};
use crate::device::DeviceChoice;
use crate::error::Error;
use crate::model::{Model, Predictor};
use crate::run_dir::Run;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a model makes of one image file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file.
    pub file: PathBuf,
    /// The likeliest classes, the first first.
    pub classes: Vec<ClassProbability>,
}

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassProbability {
    /// The name of the class.
    pub class: String,
    /// From 0 to 1.
    pub probability: f32,
}

/// The `top` likeliest classes of each image file; a folder stands for the image files in it, by name.
///
/// # Errors
/// On a run directory or an image that cannot be read, a folder without images, and a `top` of 0.
pub fn predict(run: &Path, images: &[PathBuf], top: usize, device: DeviceChoice) -> Result<Vec<Prediction>, Error> {
    if top == 0 {
        return Err(Error::request("--top", "at least 1", 0, "say how many classes you want to see"));
    }
    let device = device.open()?;
    let run = Run::read(run)?;
    let files = expand(images)?;
    let Input::Images(preparation) = run.config.input else {
        let advice = "give a run that was trained with images";
        return Err(Error::request("the run", "a model of images", "a model of embeddings", advice));
    };
    let inputs = preparation.read_all(&files)?;
    let model = Model::load(&run, &device)?;
    let probabilities = Predictor::new(model, run.config, device).probabilities(&inputs)?;
    let one = |(file, row): (PathBuf, Vec<f32>)| Prediction { file, classes: likeliest(&row, &run.classes, top) };
    Ok(files.into_iter().zip(probabilities).map(one).collect())
}

fn expand(images: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in images {
        if path.is_dir() {
            files.extend(image_files(path)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The first on ties is the one of the lower index.
fn likeliest(probabilities: &[f32], names: &[String], top: usize) -> Vec<ClassProbability> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let named = |class: usize| ClassProbability { class: names[class].clone(), probability: probabilities[class] };
    order.into_iter().take(top).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_ties_by_index() {
        let names = ["a", "b", "c"].map(String::from);
        let top = likeliest(&[0.25, 0.5, 0.25], &names, 2);
        assert_eq!(top.iter().map(|one| one.class.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(likeliest(&[0.25, 0.5, 0.25], &names, 9).len(), 3);
    }
}
