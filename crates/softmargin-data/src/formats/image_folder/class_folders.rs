//! The class folders of a folder of images, and the parts that it is divided into.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::folder_listing::Listing;
use crate::load_options::LoadOptions;
use crate::split::{Division, HoldOut, Undivided};
use crate::wording::counted;

const LAYOUT: &str = "a folder with one sub-folder of PNG or JPEG images for each class (or with train/ and test/ that \
                      are such folders)";

/// Files, each with the index of its class.
pub(super) type LabeledFiles = Vec<(PathBuf, u32)>;

/// The files of a folder, in its parts.
pub(super) struct Parts {
    pub(super) classes: Vec<String>,
    /// Those that are not divided yet, those of the validation folder, those of the test folder.
    pub(super) files: [LabeledFiles; 3],
    /// The name of the validation folder, if there is one.
    validation: Option<String>,
    /// True if there is a test folder.
    test: bool,
}

impl Parts {
    /// Finds the class folders and their files.
    pub(super) fn find(folder: &Path, options: &LoadOptions, notes: &mut Vec<String>) -> Result<Parts, Error> {
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

    /// Finds the parts of a folder with `train/` and `test/`.
    fn given(
        top: &Listing,
        train: &Path,
        test: &Path,
        options: &LoadOptions,
        notes: &mut Vec<String>,
    ) -> Result<Parts, Error> {
        // Without validation, the validation folder is left out.
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
            reject_differences(top, &classes, &class_names(&others), &last_part(path))?;
            Ok::<_, Error>(labeled(others))
        };
        let validating = validation.as_deref().map(&mut others).transpose()?.unwrap_or_default();
        let files = [labeled(train), validating, others(test)?];
        Ok(Parts { classes, files, validation: validation.as_deref().map(last_part), test: true })
    }

    /// Divides the rows of the files, counted part after part.
    pub(super) fn divide(&self, folder: &Path, options: &LoadOptions) -> Result<Division, Error> {
        let [undivided, validation, test] = &self.files;
        let labels: Vec<u32> = undivided.iter().map(|&(_, label)| label).collect();
        let undivided = Undivided {
            source: folder.display().to_string(),
            labels: &labels,
            own_test: self.test.then(|| "the folder test".to_owned()),
            own_validation: self.validation.as_ref().map(|name| format!("the folder {name}")),
            sample: "image",
            order: "name order",
        };
        let mut division = undivided.divide(options.test_split, options.validation_split)?;
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

/// Rejects class folders that only one of two parts has.
fn reject_differences(top: &Listing, classes: &[String], others: &[String], part: &str) -> Result<(), Error> {
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

/// Returns the files of all classes, each with the index of its class.
fn labeled(classes: Vec<ClassFolder>) -> LabeledFiles {
    let classes = (0_u32..).zip(classes);
    classes.flat_map(|(label, class)| class.images.into_iter().map(move |path| (path, label))).collect()
}

/// Lists the class folders within `folder`, in the order of their names.
fn class_folders(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<ClassFolder>, Error> {
    let listing = Listing::of(folder)?;
    note_loose_images(&listing, notes);
    if listing.folders.is_empty() {
        let found = format!("no sub-folder and {}", counted(listing.images.len(), "image"));
        return Err(Error::request(folder.display(), LAYOUT, found, "sort the images into one folder per class"));
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
