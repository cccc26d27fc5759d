//! Folders of images: one sub-folder a class, or `train/` and `test/` (and `validation/` or `val/`) with one sub-folder a
//! class in each.

use std::path::{Path, PathBuf};

use super::folder_listing::Listing;
use super::in_order::read_in_order;
use super::picture::{Header, Picture};
use super::samples::{LabeledSamples, Samples, Store};
use super::split::{Division, Undivided, counted};
use super::{Dataset, HoldOut, Ink, Input, LoadOptions, Preparation, Sizing};
use crate::error::Error;

const LAYOUT: &str = "a folder with one sub-folder of PNG or JPEG images for each class (or with train/ and test/ that \
                      are such folders)";

/// The smallest and the largest side that is chosen where none is asked for.
const AUTOMATIC_SIDES: (u32, u32) = (8, 64);

pub(super) fn load(folder: &Path, name: String, options: &LoadOptions) -> Result<Dataset, Error> {
    let mut notes = Vec::new();
    let parts = Parts::find(folder, options, &mut notes)?;
    let division = parts.divide(folder, options)?;
    notes.extend(division.notes.iter().cloned());
    let classes = parts.classes;
    let (paths, labels): (Vec<PathBuf>, Vec<u32>) = parts.files.into_iter().flatten().unzip();
    // What a model will see is decided without a look at what tests it.
    let seen = division.train.iter().chain(division.validation.iter().flatten());
    let preparation = prepare(&seen.map(|&row| paths[row].as_path()).collect::<Vec<_>>(), options.sizing)?;
    let all = LabeledSamples::new(samples(folder, &paths, preparation, options)?, labels)?;
    notes.extend(all.samples().note_of_streaming());
    let (train, validation, test) = division.of(&all);
    Ok(Dataset {
        description: format!(
            "{} {} images of {} classes, brought to {} x {} pixels",
            all.len(),
            if preparation.channels() == 1 { "gray" } else { "color" },
            classes.len(),
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

/// The images, in memory if they fit there.
fn samples(
    folder: &Path,
    paths: &[PathBuf],
    preparation: Preparation,
    options: &LoadOptions,
) -> Result<Samples, Error> {
    let names = paths.iter().map(|path| path.strip_prefix(folder).unwrap_or(path).to_owned()).collect();
    let store = Store::of_files(folder.to_owned(), names, preparation);
    if store.bytes() <= options.memory() {
        return store.into_memory().map(Samples::all);
    }
    // A file that is no image is told of now, not after hours of training.
    read_in_order(paths, |path| Header::read(path), |_| Ok(()))?;
    Ok(Samples::all(store))
}

/// Files, each with the number of its class.
type LabeledFiles = Vec<(PathBuf, u32)>;

struct Parts {
    classes: Vec<String>,
    /// Those that are not divided yet, those of the folder that validates, those of the folder that tests.
    files: [LabeledFiles; 3],
    /// The name of the folder that validates.
    validation: Option<String>,
    /// Whether there is a folder that tests.
    test: bool,
}

impl Parts {
    fn find(folder: &Path, options: &LoadOptions, notes: &mut Vec<String>) -> Result<Parts, Error> {
        let top = Listing::of(folder)?;
        let parts = match (top.part(&["train"]), top.part(&["test"])) {
            (Some(train), Some(test)) => Parts::given(&top, &train, &test, options, notes)?,
            _ => {
                let classes = class_folders(&top.path, notes)?;
                let names = class_names(&classes);
                let files = [labeled(classes), Vec::new(), Vec::new()];
                Parts { classes: names, files, validation: None, test: false }
            }
        };
        if let [class] = &parts.classes[..] {
            let found = format!("one class, {class}");
            return Err(Error::request(folder.display(), "two or more class folders", found, "add another class"));
        }
        Ok(parts)
    }

    fn given(
        top: &Listing,
        train: &Path,
        test: &Path,
        options: &LoadOptions,
        notes: &mut Vec<String>,
    ) -> Result<Parts, Error> {
        // Asked for no validation, the folder that would validate is left out.
        let wanted = options.validation_split != Some(HoldOut::None);
        let validation = top.part(&["validation", "val"]).filter(|_| wanted);
        let beside = top.folders.len() - 2 - usize::from(validation.is_some());
        if beside > 0 {
            notes.push(format!("left out beside train and test: {}", counted(beside, "folder")));
        }
        note_loose_images(top, notes);
        let train = class_folders(train, notes)?;
        let classes = class_names(&train);
        let mut others = |path: &Path| {
            let others = class_folders(path, notes)?;
            refuse_differences(top, &classes, &class_names(&others), &last_part(path))?;
            Ok::<_, Error>(labeled(others))
        };
        let validating = validation.as_deref().map(&mut others).transpose()?.unwrap_or_default();
        let files = [labeled(train), validating, others(test)?];
        Ok(Parts { classes, files, validation: validation.as_deref().map(last_part), test: true })
    }

    /// Rows of the files, part after part.
    fn divide(&self, folder: &Path, options: &LoadOptions) -> Result<Division, Error> {
        let [undivided, validation, test] = &self.files;
        let labels: Vec<u32> = undivided.iter().map(|&(_, label)| label).collect();
        let undivided = Undivided {
            source: folder.display().to_string(),
            labels: &labels,
            own_test: self.test.then(|| "the folder test tests".to_owned()),
            own_validation: self.validation.as_ref().map(|name| format!("the folder {name} validates")),
            sample: "image",
            order: "name order",
        };
        let mut division = undivided.divide(options)?;
        let first = labels.len() + validation.len();
        if self.validation.is_some() {
            division.validation = Some((labels.len()..first).collect());
        }
        if self.test {
            division.test = (first..first + test.len()).collect();
        }
        Ok(division)
    }
}

fn refuse_differences(top: &Listing, classes: &[String], others: &[String], part: &str) -> Result<(), Error> {
    let only_in = |part: &str, ours: &[String], theirs: &[String]| {
        let only: Vec<&str> = ours.iter().filter(|name| !theirs.contains(name)).map(String::as_str).collect();
        (!only.is_empty()).then(|| format!("{} only in {part}", only.join(", ")))
    };
    let differences = [only_in("train", classes, others), only_in(part, others, classes)];
    let differences: Vec<String> = differences.into_iter().flatten().collect();
    if differences.is_empty() {
        return Ok(());
    }
    let expected = format!("the same class folders in train and {part}");
    Err(Error::request(top.path.display(), expected, differences.join(" and "), "make them alike"))
}

fn last_part(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn class_names(classes: &[ClassFolder]) -> Vec<String> {
    classes.iter().map(|class| class.name.clone()).collect()
}

struct ClassFolder {
    name: String,
    images: Vec<PathBuf>,
}

/// The files of all classes, each with the number of its class.
fn labeled(classes: Vec<ClassFolder>) -> LabeledFiles {
    let classes = (0_u32..).zip(classes);
    classes.flat_map(|(label, class)| class.images.into_iter().map(move |path| (path, label))).collect()
}

/// The class folders within `folder`, in the order of their names.
fn class_folders(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<ClassFolder>, Error> {
    let listing = Listing::of(folder)?;
    note_loose_images(&listing, notes);
    if listing.folders.is_empty() {
        let found = format!("no sub-folder and {}", counted(listing.images.len(), "image"));
        return Err(Error::request(folder.display(), LAYOUT, found, "sort the images into one folder a class"));
    }
    let mut skipped = Vec::new();
    let classes = listing.folders.iter().map(|path| class_folder(path, &mut skipped)).collect::<Result<_, _>>()?;
    if let Some(first) = skipped.first() {
        let files = counted(skipped.len(), "file");
        notes.push(format!("{files} neither PNG nor JPEG left out, the first {}", first.display()));
    }
    Ok(classes)
}

fn class_folder(path: &Path, skipped: &mut Vec<PathBuf>) -> Result<ClassFolder, Error> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        let advice = "rename the folder: its name becomes the name of the class";
        return Err(Error::request(path.display(), "a folder name in UTF-8", "other bytes", advice));
    };
    let Listing { images, folders, others, .. } = Listing::of(path)?;
    if let Some(inner) = folders.first() {
        let found = format!("{} in it, the first {}", counted(folders.len(), "folder"), inner.display());
        let advice = "put all images of a class directly into its folder";
        return Err(Error::request(path.display(), "a class folder that holds images", found, advice));
    }
    if images.is_empty() {
        let found = match others.first() {
            Some(other) => format!("{}, the first {}", counted(others.len(), "other file"), other.display()),
            None => "an empty folder".to_owned(),
        };
        let advice = "add images (converted to PNG or JPEG) or remove the folder";
        return Err(Error::request(path.display(), "a class folder with PNG or JPEG images", found, advice));
    }
    skipped.extend(others);
    Ok(ClassFolder { name: name.to_owned(), images })
}

fn note_loose_images(listing: &Listing, notes: &mut Vec<String>) {
    if !listing.images.is_empty() {
        let images = counted(listing.images.len(), "image");
        notes.push(format!("{images} directly in {} left out: no class folder", listing.path.display()));
    }
}

/// How images are prepared for a model that is trained with these files.
fn prepare(files: &[&Path], sizing: Sizing) -> Result<Preparation, Error> {
    if let Sizing::Prepared(preparation) = sizing {
        return Ok(preparation);
    }
    // A broken file is reported when the images are read, with the number of all that are.
    let mut headers = Vec::new();
    let header = |path: &&Path| Ok(Header::read(path).ok());
    read_in_order(files, header, |header| {
        headers.push(header);
        Ok(())
    })?;
    let side = match sizing {
        Sizing::Side(side) => side,
        _ => automatic_side(headers.iter().flatten()),
    };
    let perhaps = files.iter().zip(&headers).filter(|(_, header)| header.is_some_and(|header| header.perhaps_color));
    let channels = if has_color(&perhaps.map(|(path, _)| *path).collect::<Vec<_>>())? { 3 } else { 1 };
    Preparation::new(channels, side, side, Ink::AsIs)
}

/// The median of the longer sides, rounded to a multiple of 4 and kept within bounds.
fn automatic_side<'a>(headers: impl Iterator<Item = &'a Header>) -> usize {
    let mut sides: Vec<u32> = headers.map(|header| header.longer_side).collect();
    sides.sort_unstable();
    let (least, most) = AUTOMATIC_SIDES;
    let median = sides.get(sides.len() / 2).copied().unwrap_or(most);
    (median.clamp(least, most) + 2) as usize / 4 * 4
}

/// Whether red, green and blue differ in a pixel of one of the files. Gray images are often stored as color, so that
/// the pixels have to be looked at: most often the first file shows it.
fn has_color(files: &[&Path]) -> Result<bool, Error> {
    const AT_ONCE: usize = 64;
    for files in files.chunks(AT_ONCE) {
        let mut any = false;
        let color = |path: &&Path| Ok(Picture::read(path).is_ok_and(|picture| picture.channels() == 3));
        read_in_order(files, color, |color| {
            any |= color;
            Ok(())
        })?;
        if any {
            return Ok(true);
        }
    }
    Ok(false)
}
