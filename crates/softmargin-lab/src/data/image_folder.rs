//! Folders of images: one sub-folder a class, or `train/` and `test/` with one sub-folder a class in each.

use std::path::{Path, PathBuf};

use super::folder_listing::Listing;
use super::in_order::{InOrder, read_in_order};
use super::picture::{self, Picture};
use super::{Dataset, Images, Ink, LabelledImages, Preparation, Sizing};
use crate::error::Error;

const LAYOUT: &str = "a folder with one sub-folder of PNG or JPEG images for each class (or with train/ and test/ that \
                      are such folders)";

/// Of the images of a class, in name order, every so-manieth tests.
const EVERY: usize = 5;
const HELD_OUT: &str = "of each class every 5th image in name order (the 5th, the 10th, ...) tests, of a class with 2 \
                        to 4 images the last one; the others train";

/// The smallest and the largest side that is chosen where none is asked for.
const AUTOMATIC_SIDES: (u32, u32) = (8, 64);

pub(super) fn load(folder: &Path, name: String, sizing: &Sizing) -> Result<Dataset, Error> {
    let mut notes = Vec::new();
    let parts = Parts::find(folder, &mut notes)?;
    let (images, preparation) = read_images(&parts.files(), sizing)?;
    let (train, test) = images.split_at(parts.train.len());
    Ok(Dataset {
        description: format!(
            "{} {} images of {} classes, brought to {} x {} pixels",
            parts.train.len() + parts.test.len(),
            if preparation.channels() == 1 { "grey" } else { "colour" },
            parts.classes.len(),
            preparation.height(),
            preparation.width(),
        ),
        name,
        split: parts.split,
        classes: parts.classes,
        train: LabelledImages::new(train, parts.train.into_iter().map(|(_, class)| class).collect())?,
        test: LabelledImages::new(test, parts.test.into_iter().map(|(_, class)| class).collect())?,
        preparation,
        notes,
    })
}

/// Files, each with the number of its class.
type LabelledFiles = Vec<(PathBuf, u32)>;

struct Parts {
    classes: Vec<String>,
    train: LabelledFiles,
    test: LabelledFiles,
    split: String,
}

impl Parts {
    fn find(folder: &Path, notes: &mut Vec<String>) -> Result<Parts, Error> {
        let top = Listing::of(folder)?;
        let parts = match top.train_and_test() {
            Some((train, test)) => Parts::given(&top, &train, &test, notes)?,
            None => Parts::held_out(&top, notes)?,
        };
        if let [class] = &parts.classes[..] {
            let found = format!("one class, {class}");
            return Err(Error::request(folder.display(), "two or more class folders", found, "add another class"));
        }
        if parts.test.is_empty() {
            let found = "one image in every class";
            let advice = "add images, so that some can be held out for testing";
            return Err(Error::request(folder.display(), "a class with two or more images", found, advice));
        }
        Ok(parts)
    }

    fn given(top: &Listing, train: &Path, test: &Path, notes: &mut Vec<String>) -> Result<Parts, Error> {
        let beside = top.folders.len() - 2;
        if beside > 0 {
            notes.push(format!("left out beside train and test: {}", counted(beside, "folder")));
        }
        note_loose_images(top, notes);
        let (train_classes, test_classes) = (class_folders(train, notes)?, class_folders(test, notes)?);
        let names = |classes: &[ClassFolder]| classes.iter().map(|class| class.name.clone()).collect::<Vec<_>>();
        let (classes, tested) = (names(&train_classes), names(&test_classes));
        let only_in = |part: &str, ours: &[String], others: &[String]| {
            let only: Vec<&str> = ours.iter().filter(|name| !others.contains(name)).map(String::as_str).collect();
            (!only.is_empty()).then(|| format!("{} only in {part}", only.join(", ")))
        };
        let differences = [only_in("train", &classes, &tested), only_in("test", &tested, &classes)];
        let differences: Vec<String> = differences.into_iter().flatten().collect();
        if !differences.is_empty() {
            let expected = "the same class folders in train and test";
            return Err(Error::request(top.path.display(), expected, differences.join(" and "), "make them alike"));
        }
        let split = "the images of the folder train train, those of test test".to_owned();
        let [train, test] = [train_classes, test_classes].map(|classes| labelled(classes, |_, _| true).0);
        Ok(Parts { classes, train, test, split })
    }

    fn held_out(top: &Listing, notes: &mut Vec<String>) -> Result<Parts, Error> {
        let classes = class_folders(&top.path, notes)?;
        let single = classes.iter().filter(|class| class.images.len() == 1).count();
        if single > 0 {
            notes.push(format!("{} with one image only, which trains: nothing tests them", counted(single, "class")));
        }
        let names = classes.iter().map(|class| class.name.clone()).collect();
        let (train, test) = labelled(classes, |index, count| !is_held_out(index, count));
        Ok(Parts { classes: names, train, test, split: HELD_OUT.to_owned() })
    }

    fn files(&self) -> Vec<&Path> {
        self.train.iter().chain(&self.test).map(|(path, _)| path.as_path()).collect()
    }
}

/// Whether the image `index` of a class of `count` images is held out for testing.
fn is_held_out(index: usize, count: usize) -> bool {
    if count < EVERY { count >= 2 && index + 1 == count } else { index % EVERY == EVERY - 1 }
}

struct ClassFolder {
    name: String,
    images: Vec<PathBuf>,
}

/// The files of all classes with their class's number, those that pass `first` and the others. It is asked with the
/// index of the file within its class and the number of files there.
fn labelled(classes: Vec<ClassFolder>, first: impl Fn(usize, usize) -> bool) -> (LabelledFiles, LabelledFiles) {
    let mut parts = (Vec::new(), Vec::new());
    for (label, class) in (0_u32..).zip(classes) {
        let count = class.images.len();
        for (index, path) in class.images.into_iter().enumerate() {
            let part = if first(index, count) { &mut parts.0 } else { &mut parts.1 };
            part.push((path, label));
        }
    }
    parts
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

fn counted(count: usize, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "class") => format!("{count} classes"),
        _ => format!("{count} {what}s"),
    }
}

fn read_images(files: &[&Path], sizing: &Sizing) -> Result<(Images, Preparation), Error> {
    match *sizing {
        Sizing::Side(side) => read_square(files, side),
        Sizing::Automatic => read_square(files, automatic_side(files)?),
    }
}

/// The median of the longer sides, rounded to a multiple of 4 and kept within bounds.
fn automatic_side(files: &[&Path]) -> Result<usize, Error> {
    let mut sides = Vec::new();
    // A broken file is reported when the images are read, with the number of all that are.
    let side = |path: &&Path| Ok(picture::longer_side(path).ok());
    read_in_order(files, side, |side| {
        sides.extend(side);
        Ok(())
    })?;
    sides.sort_unstable();
    let (least, most) = AUTOMATIC_SIDES;
    let median = sides.get(sides.len() / 2).copied().unwrap_or(most);
    Ok((median.clamp(least, most) + 2) as usize / 4 * 4)
}

/// All images in `side` x `side` pixels: grey if every one is grey, else all in colour.
fn read_square(files: &[&Path], side: usize) -> Result<(Images, Preparation), Error> {
    Preparation::new(1, side, side, Ink::AsIs)?;
    let mut pixels = InOrder::default();
    let mut channels = 1;
    let read = |path: &&Path| Picture::read(path).map(|picture| picture.fit(side, side));
    read_in_order(files, read, |picture| {
        if picture.channels() > channels {
            pixels.make_colour(side * side)?;
            channels = picture.channels();
        }
        pixels.push(&picture.with_channels(channels).into_planes())
    })?;
    let images = Images::new(pixels.into_bytes(), channels, side, side)?;
    Ok((images, Preparation::new(channels, side, side, Ink::AsIs)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_the_held_out_images() {
        let held_out = |count| (0..count).filter(|&index| is_held_out(index, count)).collect::<Vec<_>>();
        assert_eq!(held_out(1), [0; 0]);
        assert_eq!(held_out(2), [1]);
        assert_eq!(held_out(4), [3]);
        assert_eq!(held_out(5), [4]);
        assert_eq!(held_out(9), [4]);
        assert_eq!(held_out(20), [4, 9, 14, 19]);
    }
}
