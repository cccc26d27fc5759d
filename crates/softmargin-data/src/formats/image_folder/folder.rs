//! Reads a folder of images: classes, division, preparation, samples.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::choose_preparation::choose_preparation;
use super::class_folders::Parts;
use super::image_files::ImageFiles;
use crate::dataset::{Dataset, Input};
use crate::error::Error;
use crate::images::{ImageHeader, Preparation};
use crate::labeled_samples::LabeledSamples;
use crate::load_options::LoadOptions;
use crate::parallel_read::read_in_order;
use crate::samples::Samples;
use crate::wording::counted;

/// Reads a folder.
///
/// # Errors
/// If the folder is not laid out as described, a split rule does not fit it, or a file cannot be read.
pub(crate) fn load(folder: &Path, name: String, options: &LoadOptions) -> Result<Dataset, Error> {
    let mut notes = Vec::new();
    let parts = Parts::find(folder, options, &mut notes)?;
    let division = parts.divide(folder, options)?;
    notes.extend(division.notes.iter().cloned());
    let classes = parts.classes;
    let (paths, labels): (Vec<PathBuf>, Vec<u32>) = parts.files.into_iter().flatten().unzip();
    // The preparation is chosen without the test set.
    let seen = division.train.iter().chain(division.validation.iter().flatten());
    let preparation = choose_preparation(&seen.map(|&row| paths[row].as_path()).collect::<Vec<_>>(), options.sizing)?;
    let all = LabeledSamples::new(samples(folder, &paths, preparation, options)?, labels)?;
    notes.extend(all.samples().note_of_streaming());
    let (train, validation, test) = division.of(&all);
    Ok(Dataset {
        description: format!(
            "{} of {}, brought to {} x {} pixels",
            counted(all.len(), if preparation.channels() == 1 { "gray image" } else { "color image" }),
            counted(classes.len(), "class"),
            preparation.height(),
            preparation.width(),
        ),
        name,
        split: division.sentence,
        classes,
        train,
        validation,
        test,
        input: Input::Images(preparation),
        notes,
    })
}

/// Returns the images, in memory if they fit there.
fn samples(
    folder: &Path,
    paths: &[PathBuf],
    preparation: Preparation,
    options: &LoadOptions,
) -> Result<Samples, Error> {
    let names = paths.iter().map(|path| path.strip_prefix(folder).unwrap_or(path).to_owned()).collect();
    let files = Arc::new(ImageFiles::new(folder.to_owned(), names, preparation));
    let images = Samples::new(files.clone())?;
    if images.store_bytes() <= options.memory() {
        return images.read_into_memory(files.names());
    }
    // A file that is not an image is reported now, not after hours of training.
    read_in_order(paths, |path| ImageHeader::read(path), |_| Ok(()))?;
    Ok(images)
}
