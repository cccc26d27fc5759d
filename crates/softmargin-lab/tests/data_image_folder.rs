//! Image folders: what is read, and what is refused with which words.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

use std::fs;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use softmargin_lab::data::{DataSource, Dataset, Ink, Preparation, Sizing, image_files};
use softmargin_lab::error::Error;
use tempfile::TempDir;

fn save(path: &Path, image: impl Into<DynamicImage>, format: ImageFormat) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save_with_format(path, format).unwrap();
}

fn grey(side: u32, value: u8) -> GrayImage {
    GrayImage::from_pixel(side, side, Luma([value]))
}

/// Class folders with so many grey images of 16 x 16 pixels; image i of class c is filled with 20 c + i.
fn classes(folder: &Path, counts: &[(&str, u8)]) {
    for (class, &(name, count)) in (0_u8..).zip(counts) {
        for i in 0..count {
            let path = folder.join(name).join(format!("{i:02}.png"));
            save(&path, grey(16, 20 * class + i), ImageFormat::Png);
        }
    }
}

fn two_classes() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    classes(folder.path(), &[("cats", 6), ("dogs", 3)]);
    folder
}

fn load_as(folder: &Path, sizing: Sizing) -> Result<Dataset, Error> {
    Dataset::load(&DataSource::Path(folder.to_owned()), &sizing)
}

fn load(folder: &Path) -> Result<Dataset, Error> {
    load_as(folder, Sizing::Automatic)
}

/// The message of a refusal that names `named` within the folder (or, if empty, the folder).
fn refusal(folder: &Path, named: &str, exit_code: u8) -> String {
    let error = load(folder).unwrap_err();
    let message = error.to_string();
    let named = if named.is_empty() { folder.to_owned() } else { folder.join(named) };
    assert!(message.starts_with(&format!("{}: ", named.display())), "{} is named: {message}", named.display());
    assert_eq!(error.exit_code(), exit_code, "{message}");
    message
}

#[test]
fn data_folder_every_fifth_image_tests() {
    let folder = two_classes();
    let data = load(folder.path()).unwrap();
    assert_eq!(data.classes, ["cats", "dogs"]);
    let first_pixels = |part: &softmargin_lab::data::LabelledImages| {
        (0..part.len()).map(|row| part.images().image(row)[0]).collect::<Vec<_>>()
    };
    assert_eq!(first_pixels(&data.train), [0, 1, 2, 3, 5, 20, 21]);
    assert_eq!(data.train.labels(), [0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(first_pixels(&data.test), [4, 22]);
    assert_eq!(data.test.labels(), [0, 1]);
    assert_eq!(data.train.images().shape(), [7, 1, 16, 16]);
    assert_eq!(data.preparation, Preparation::new(1, 16, 16, Ink::AsIs).unwrap());
    assert!(data.split.contains("every 5th image in name order"), "{}", data.split);
    assert_eq!(data.description, "9 grey images of 2 classes, brought to 16 x 16 pixels");
    assert!(data.notes.is_empty(), "{:?}", data.notes);
}

#[test]
fn data_folder_loading_twice_gives_the_same_and_so_does_one_thread() {
    let folder = two_classes();
    let data = load(folder.path()).unwrap();
    assert_eq!(load(folder.path()).unwrap(), data);
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one_thread.install(|| load(folder.path()).unwrap()), data);
}

#[test]
fn data_folder_train_and_test_are_taken_as_given() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("train"), &[("a", 7), ("b", 1)]);
    classes(&folder.path().join("test"), &[("a", 1), ("b", 6)]);
    classes(&folder.path().join("val"), &[("a", 1)]);
    let data = load(folder.path()).unwrap();
    assert_eq!((data.train.class_counts(2), data.test.class_counts(2)), (vec![7, 1], vec![1, 6]));
    assert_eq!(data.split, "the images of the folder train train, those of test test");
    assert_eq!(data.notes, ["left out beside train and test: 1 folder"]);

    fs::rename(folder.path().join("test/b"), folder.path().join("test/c")).unwrap();
    let message = refusal(folder.path(), "", 2);
    assert!(
        message.contains("the same class folders in train and test, found b only in train and c only"),
        "{message}"
    );
}

#[test]
fn data_folder_classes_may_be_called_train_and_test() {
    let folder = tempfile::tempdir().unwrap();
    classes(folder.path(), &[("test", 2), ("train", 2)]);
    assert_eq!(load(folder.path()).unwrap().classes, ["test", "train"]);
}

#[test]
fn data_folder_one_colour_image_makes_all_colour() {
    let folder = two_classes();
    save(&folder.path().join("dogs/00.png"), RgbImage::from_pixel(16, 16, Rgb([9, 8, 7])), ImageFormat::Png);
    let data = load(folder.path()).unwrap();
    assert_eq!(data.train.images().shape(), [7, 3, 16, 16]);
    assert_eq!(data.train.images().image(1), [1; 3 * 256]);
    assert_eq!(data.train.images().image(5), [[9; 256], [8; 256], [7; 256]].concat());
    assert_eq!(data.train.images().image(6), [21; 3 * 256]);
    assert_eq!(data.preparation.channels(), 3);
    // What was read for training is what the preparation reads.
    assert_eq!(data.preparation.read(&folder.path().join("dogs/00.png")).unwrap(), data.train.images().image(5));
}

#[test]
fn data_folder_the_size_is_the_median_in_bounds() {
    for (sides, expected) in [
        (vec![20, 22, 40], 24),
        (vec![1, 2, 3], 8),
        (vec![100, 300, 500], 64),
        (vec![62, 62, 62], 64),
        (vec![13, 13, 200], 12),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (i, &side) in sides.iter().enumerate() {
            // Higher than wide: the longer side counts.
            let image = GrayImage::new(side / 2 + 1, side);
            save(&folder.path().join(format!("{}/{i}.png", if i == 0 { "a" } else { "b" })), image, ImageFormat::Png);
        }
        let data = load(folder.path()).unwrap();
        assert_eq!(data.train.images().shape()[2..], [expected; 2], "{sides:?}");
    }
    let folder = two_classes();
    assert_eq!(load_as(folder.path(), Sizing::Side(9)).unwrap().test.images().shape(), [2, 1, 9, 9]);
}

#[test]
fn data_folder_content_decides_not_the_extension() {
    let folder = two_classes();
    save(&folder.path().join("dogs/photo.PNG"), grey(16, 77), ImageFormat::Jpeg);
    save(&folder.path().join("dogs/noextension"), grey(16, 78), ImageFormat::Png);
    save(&folder.path().join("dogs/x.JpEg"), grey(16, 79), ImageFormat::Jpeg);
    let data = load(folder.path()).unwrap();
    assert_eq!(data.train.class_counts(2)[1] + data.test.class_counts(2)[1], 6);
}

#[test]
fn data_folder_hidden_and_left_behind_files_do_not_count() {
    let folder = two_classes();
    let plain = load(folder.path()).unwrap();
    for name in ["cats/.DS_Store", "cats/Thumbs.db", "dogs/desktop.ini", "dogs/.hidden.png"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    for name in [".git", "__MACOSX", "cats/@eaDir", "cats/.ipynb_checkpoints"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    assert_eq!(load(folder.path()).unwrap(), plain);

    fs::write(folder.path().join("dogs/readme.txt"), "x").unwrap();
    fs::write(folder.path().join("cats/list.csv"), "").unwrap();
    save(&folder.path().join("loose.png"), grey(4, 0), ImageFormat::Png);
    let notes = load(folder.path()).unwrap().notes.join("\n");
    assert!(notes.contains("1 image directly in"), "{notes}");
    assert!(notes.contains("2 files neither PNG nor JPEG left out, the first"), "{notes}");
    assert!(notes.contains("list.csv"), "{notes}");
}

#[cfg(unix)]
#[test]
fn data_folder_links_are_followed() {
    use std::os::unix::fs::symlink;
    let (real, linked) = (two_classes(), tempfile::tempdir().unwrap());
    symlink(real.path().join("cats"), linked.path().join("cats")).unwrap();
    fs::create_dir(linked.path().join("dogs")).unwrap();
    for i in 0..3 {
        let name = format!("dogs/{i:02}.png");
        symlink(real.path().join(&name), linked.path().join(&name)).unwrap();
    }
    let (expected, data) = (load(real.path()).unwrap(), load(linked.path()).unwrap());
    assert_eq!((data.train, data.test), (expected.train, expected.test));

    symlink(real.path().join("nowhere.png"), linked.path().join("dogs/broken.png")).unwrap();
    refusal(linked.path(), "dogs/broken.png", 2);
}

#[test]
fn data_folder_wrong_layouts_are_explained() {
    let folder = two_classes();
    fs::create_dir(folder.path().join("birds")).unwrap();
    assert!(refusal(folder.path(), "birds", 2).contains("found an empty folder; add images"));
    fs::write(folder.path().join("birds/a.webp"), "RIFF").unwrap();
    assert!(refusal(folder.path(), "birds", 2).contains("found 1 other file, the first"));

    fs::remove_file(folder.path().join("birds/a.webp")).unwrap();
    fs::create_dir_all(folder.path().join("birds/robin")).unwrap();
    let message = refusal(folder.path(), "birds", 2);
    assert!(message.contains("expected a class folder that holds images, found 1 folder in it"), "{message}");
    assert!(message.contains("robin") && message.contains("directly into its folder"), "{message}");

    let one = tempfile::tempdir().unwrap();
    classes(one.path(), &[("cats", 6)]);
    assert!(refusal(one.path(), "", 2).contains("expected two or more class folders, found one class, cats"));

    let flat = tempfile::tempdir().unwrap();
    save(&flat.path().join("a.png"), grey(4, 0), ImageFormat::Png);
    assert!(refusal(flat.path(), "", 2).contains("found no sub-folder and 1 image; sort the images"));

    let single = tempfile::tempdir().unwrap();
    classes(single.path(), &[("cats", 1), ("dogs", 1)]);
    assert!(refusal(single.path(), "", 2).contains("expected a class with two or more images"));
    classes(single.path(), &[("cats", 1), ("dogs", 2)]);
    let notes = load(single.path()).unwrap().notes;
    assert_eq!(notes, ["1 class with one image only, which trains: nothing tests them"]);
}

#[test]
fn data_folder_a_path_that_is_not_there_or_not_a_folder() {
    let folder = two_classes();
    let message = refusal(&folder.path().join("nowhere"), "", 2);
    assert!(message.contains("expected a folder of images or of IDX files, found No such file"), "{message}");
    let message = refusal(&folder.path().join("cats/00.png"), "", 2);
    assert!(message.contains("found a file; give the folder that holds the data"), "{message}");
}

#[test]
fn data_folder_broken_images_are_named_and_counted() {
    let folder = two_classes();
    let path = folder.path().join("cats/03.png");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let message = refusal(folder.path(), "cats/03.png", 1);
    assert!(message.contains("expected a whole PNG or JPEG image"), "{message}");
    assert!(!message.contains("more of the"), "{message}");

    fs::write(folder.path().join("dogs/01.png"), "a text file").unwrap();
    fs::write(folder.path().join("dogs/empty.jpg"), "").unwrap();
    let message = refusal(folder.path(), "cats/03.png", 1);
    assert!(message.ends_with("2 more of the 10 files fail"), "{message}");
    fs::write(&path, &bytes).unwrap();
    let message = refusal(folder.path(), "dogs/01.png", 1);
    assert!(message.contains("found other content; convert it"), "{message}");

    fs::remove_file(folder.path().join("dogs/01.png")).unwrap();
    let jpeg = folder.path().join("dogs/empty.jpg");
    save(&jpeg, RgbImage::from_fn(40, 40, |x, y| Rgb([x as u8 * 6, y as u8 * 6, 0])), ImageFormat::Jpeg);
    let bytes = fs::read(&jpeg).unwrap();
    fs::write(&jpeg, &bytes[..bytes.len() / 2]).unwrap();
    let message = refusal(folder.path(), "dogs/empty.jpg", 1);
    assert!(message.contains("cut short"), "{message}");
}

#[cfg(unix)]
#[test]
fn data_folder_names_must_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let folder = two_classes();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    if fs::create_dir(folder.path().join(name)).is_ok() {
        assert!(load(folder.path()).unwrap_err().to_string().contains("a folder name in UTF-8"));
    }
}

#[test]
fn data_image_files_of_a_flat_folder() {
    let folder = two_classes();
    fs::write(folder.path().join("cats/list.txt"), "x").unwrap();
    let files = image_files(&folder.path().join("cats")).unwrap();
    assert_eq!(files.len(), 6);
    assert!(files.is_sorted() && files[0].ends_with("cats/00.png"));
    assert!(image_files(folder.path()).unwrap_err().to_string().contains("expected a folder with PNG or JPEG images"));
    assert_eq!(image_files(&folder.path().join("birds")).unwrap_err().exit_code(), 2);
}
