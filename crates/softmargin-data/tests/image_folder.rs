//! Image folders: what is read, and the messages of what is rejected.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

use std::fs;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use softmargin_data::Error;
use softmargin_data::{
    DataSource, Dataset, HoldOut, Ink, Input, LabeledSamples, LoadOptions, Normalization, Preparation, Sizing,
    image_files,
};
use tempfile::TempDir;

fn save(path: &Path, image: impl Into<DynamicImage>, format: ImageFormat) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save_with_format(path, format).unwrap();
}

fn gray(side: u32, value: u8) -> GrayImage {
    GrayImage::from_pixel(side, side, Luma([value]))
}

/// Class folders with so many gray images of 16 x 16 pixels; image i of class c is filled with 20 c + i.
fn classes(folder: &Path, counts: &[(&str, u8)]) {
    for (class, &(name, count)) in (0_u8..).zip(counts) {
        for i in 0..count {
            let path = folder.join(name).join(format!("{i:02}.png"));
            save(&path, gray(16, 20 * class + i), ImageFormat::Png);
        }
    }
}

fn two_classes() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    classes(folder.path(), &[("cats", 6), ("dogs", 3)]);
    folder
}

fn load_as(folder: &Path, sizing: Sizing) -> Result<Dataset, Error> {
    load_with(folder, &LoadOptions { sizing, ..LoadOptions::default() })
}

fn load_with(folder: &Path, options: &LoadOptions) -> Result<Dataset, Error> {
    Dataset::load(&DataSource::Path(folder.to_owned()), options)
}

/// The values of all samples.
fn values(part: &LabeledSamples) -> Vec<f32> {
    let mut values = Vec::new();
    part.samples().batch_f32(&(0..part.len()).collect::<Vec<_>>(), &mut values).unwrap();
    values
}

fn names(part: &LabeledSamples) -> Vec<String> {
    (0..part.len()).map(|row| part.samples().name(row)).collect()
}

fn prepared(channels: usize, side: usize) -> Input {
    Input::Images(Preparation::new(channels, side, side, Ink::AsIs).unwrap())
}

fn load(folder: &Path) -> Result<Dataset, Error> {
    load_as(folder, Sizing::Automatic)
}

/// The message of a rejection that names `named` within the folder (or, if empty, the folder).
fn rejection(folder: &Path, named: &str, exit_code: u8) -> String {
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
    let first_pixels =
        |part: &LabeledSamples| (0..part.len()).map(|row| part.samples().image(row).unwrap()[0]).collect::<Vec<_>>();
    assert_eq!(first_pixels(&data.train), [0, 1, 2, 3, 5, 20, 21]);
    assert_eq!(data.train.labels(), [0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(first_pixels(&data.test), [4, 22]);
    assert_eq!(data.test.labels(), [0, 1]);
    assert_eq!((data.train.samples().shape(), data.input), ([1, 16, 16], prepared(1, 16)));
    assert_eq!(names(&data.test), ["cats/04.png", "dogs/02.png"]);
    assert!(data.split.contains("every 5th image of each class in name order"), "{}", data.split);
    assert_eq!(data.description, "9 gray images of 2 classes, brought to 16 x 16 pixels");
    assert_eq!(data.notes, ["no validation set: every class has at most 9 images in the training set"]);
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
    classes(&folder.path().join("more"), &[("a", 1)]);
    let data = load(folder.path()).unwrap();
    assert_eq!((data.train.class_counts(2), data.test.class_counts(2)), (vec![7, 1], vec![1, 6]));
    assert_eq!(data.split, "test set: the folder test; validation set: none; training set: all other images");
    assert_eq!(data.notes[0], "left out beside train and test: 1 folder");
    assert_eq!(names(&data.test)[..2], ["test/a/00.png", "test/b/00.png"]);

    fs::rename(folder.path().join("test/b"), folder.path().join("test/c")).unwrap();
    let message = rejection(folder.path(), "", 2);
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
fn data_folder_one_color_image_makes_all_color() {
    let folder = two_classes();
    save(&folder.path().join("dogs/00.png"), RgbImage::from_pixel(16, 16, Rgb([9, 8, 7])), ImageFormat::Png);
    let data = load(folder.path()).unwrap();
    let samples = data.train.samples();
    assert_eq!((samples.shape(), data.input), ([3, 16, 16], prepared(3, 16)));
    assert_eq!(*samples.image(1).unwrap(), [1; 3 * 256]);
    assert_eq!(*samples.image(5).unwrap(), [[9; 256], [8; 256], [7; 256]].concat());
    assert_eq!(*samples.image(6).unwrap(), [21; 3 * 256]);
    // What was read for training is what the preparation reads.
    let Input::Images(preparation) = data.input else { panic!("{:?}", data.input) };
    assert_eq!(preparation.read(&folder.path().join("dogs/00.png")).unwrap(), *samples.image(5).unwrap());
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
        assert_eq!(data.train.samples().shape()[1..], [expected; 2], "{sides:?}");
    }
    let folder = two_classes();
    assert_eq!(load_as(folder.path(), Sizing::Side(9)).unwrap().test.samples().shape(), [1, 9, 9]);
}

#[test]
fn data_folder_content_decides_not_the_extension() {
    let folder = two_classes();
    save(&folder.path().join("dogs/photo.PNG"), gray(16, 77), ImageFormat::Jpeg);
    save(&folder.path().join("dogs/noextension"), gray(16, 78), ImageFormat::Png);
    save(&folder.path().join("dogs/x.JpEg"), gray(16, 79), ImageFormat::Jpeg);
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
    save(&folder.path().join("loose.png"), gray(4, 0), ImageFormat::Png);
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
    rejection(linked.path(), "dogs/broken.png", 2);
}

#[test]
fn data_folder_wrong_layouts_are_explained() {
    let folder = two_classes();
    fs::create_dir(folder.path().join("birds")).unwrap();
    assert!(rejection(folder.path(), "birds", 2).contains("found an empty folder; add images"));
    fs::write(folder.path().join("birds/a.webp"), "RIFF").unwrap();
    assert!(rejection(folder.path(), "birds", 2).contains("found 1 other file, the first"));

    fs::remove_file(folder.path().join("birds/a.webp")).unwrap();
    fs::create_dir_all(folder.path().join("birds/robin")).unwrap();
    let message = rejection(folder.path(), "birds", 2);
    assert!(message.contains("expected a class folder that holds images, found 1 folder in it"), "{message}");
    assert!(message.contains("robin") && message.contains("directly into its folder"), "{message}");

    let one = tempfile::tempdir().unwrap();
    classes(one.path(), &[("cats", 6)]);
    assert!(rejection(one.path(), "", 2).contains("expected two or more class folders, found one class, cats"));

    let flat = tempfile::tempdir().unwrap();
    save(&flat.path().join("a.png"), gray(4, 0), ImageFormat::Png);
    assert!(rejection(flat.path(), "", 2).contains("found no sub-folder and 1 image; sort the images"));

    let single = tempfile::tempdir().unwrap();
    classes(single.path(), &[("cats", 1), ("dogs", 1)]);
    assert!(rejection(single.path(), "", 2).contains("expected a class with 2 or more images"));
    classes(single.path(), &[("cats", 1), ("dogs", 2)]);
    let notes = load(single.path()).unwrap().notes;
    assert_eq!(notes[0], "1 class with one image only: in the training set, not in the test set");
}

#[test]
fn data_folder_a_path_that_is_not_there_or_not_a_folder() {
    let folder = two_classes();
    let message = rejection(&folder.path().join("nowhere"), "", 2);
    assert!(
        message.contains("expected a folder of images, of IDX files or of embeddings, found No such file"),
        "{message}"
    );
    let message = rejection(&folder.path().join("cats/00.png"), "", 2);
    assert!(message.contains("found a file; give the folder that holds the data"), "{message}");
}

#[test]
fn data_folder_broken_images_are_named_and_counted() {
    let folder = two_classes();
    let path = folder.path().join("cats/03.png");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let message = rejection(folder.path(), "cats/03.png", 1);
    assert!(message.contains("expected a whole PNG or JPEG image"), "{message}");
    assert!(!message.contains("more of the"), "{message}");

    fs::write(folder.path().join("dogs/01.png"), "a text file").unwrap();
    fs::write(folder.path().join("dogs/empty.jpg"), "").unwrap();
    let message = rejection(folder.path(), "cats/03.png", 1);
    assert!(message.ends_with("2 more of the 10 files fail"), "{message}");
    fs::write(&path, &bytes).unwrap();
    let message = rejection(folder.path(), "dogs/01.png", 1);
    assert!(message.contains("found other content; convert it"), "{message}");

    fs::remove_file(folder.path().join("dogs/01.png")).unwrap();
    let jpeg = folder.path().join("dogs/empty.jpg");
    save(&jpeg, RgbImage::from_fn(40, 40, |x, y| Rgb([x as u8 * 6, y as u8 * 6, 0])), ImageFormat::Jpeg);
    let bytes = fs::read(&jpeg).unwrap();
    fs::write(&jpeg, &bytes[..bytes.len() / 2]).unwrap();
    let message = rejection(folder.path(), "dogs/empty.jpg", 1);
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

#[test]
fn data_folder_a_folder_of_its_own_validates() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("train"), &[("a", 20), ("b", 20)]);
    classes(&folder.path().join("test"), &[("a", 1), ("b", 1)]);
    let data = load(folder.path()).unwrap();
    assert_eq!(names(data.validation.as_ref().unwrap())[..2], ["train/a/09.png", "train/a/19.png"]);
    assert_eq!((data.train.len(), data.validation.unwrap().labels()), (36, &[0, 0, 1, 1][..]));

    for name in ["val", "validation"] {
        classes(&folder.path().join(name), &[("a", 2), ("b", 1)]);
        let data = load(folder.path()).unwrap();
        assert_eq!(
            data.split,
            format!("test set: the folder test; validation set: the folder {name}; training set: all other images")
        );
        let first = format!("{name}/a/00.png");
        assert_eq!((data.train.len(), names(data.validation.as_ref().unwrap())[0].as_str()), (40, first.as_str()));
        assert_eq!(data.validation.unwrap().labels(), [0, 0, 1]);
        fs::rename(folder.path().join(name), folder.path().join("elsewhere")).unwrap();
        fs::remove_dir_all(folder.path().join("elsewhere")).unwrap();
    }

    classes(&folder.path().join("val"), &[("a", 2), ("c", 1)]);
    let message = rejection(folder.path(), "", 2);
    assert!(message.contains("the same class folders in train and val, found b only in train and c only"), "{message}");
    let rule = |rule| LoadOptions { validation_split: Some(rule), ..LoadOptions::default() };
    let data = load_with(folder.path(), &rule(HoldOut::None)).unwrap();
    assert_eq!((data.validation, data.train.len()), (None, 40));
    assert_eq!(data.notes, ["left out beside train and test: 1 folder"]);
    fs::rename(folder.path().join("val/c"), folder.path().join("val/b")).unwrap();
    let error = load_with(folder.path(), &rule(HoldOut::Last(1))).unwrap_err();
    assert!(error.to_string().contains("no rule for the validation set, which is the folder val"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn data_folder_the_last_of_each_class_test() {
    let folder = tempfile::tempdir().unwrap();
    classes(folder.path(), &[("a", 20), ("b", 20), ("c", 3)]);
    let options = LoadOptions { test_split: Some(HoldOut::Last(4)), ..LoadOptions::default() };
    let data = load_with(folder.path(), &options).unwrap();
    assert_eq!(data.test.class_counts(3), [4, 4, 0]);
    assert_eq!(names(&data.test)[..4], ["a/16.png", "a/17.png", "a/18.png", "a/19.png"]);
    assert_eq!(names(data.validation.as_ref().unwrap()), ["a/09.png", "b/09.png"]);
    assert_eq!(data.train.class_counts(3), [15, 15, 3]);
    let expected = "test set: the last 4 images of each class in name order; validation set: every 10th of the other \
                    images of each class; training set: all other images";
    assert_eq!(data.split, expected);
    assert_eq!(
        data.notes,
        [
            "1 class with at most 4 images: in the training set, not in the test set",
            "1 class with at most 9 images in the training set: not in the validation set"
        ]
    );
}

#[test]
fn data_folder_what_tests_does_not_decide_what_a_model_sees() {
    let folder = tempfile::tempdir().unwrap();
    classes(&folder.path().join("train"), &[("a", 2), ("b", 2)]);
    let color = RgbImage::from_pixel(40, 40, Rgb([200, 100, 50]));
    for class in ["a", "b"] {
        save(&folder.path().join("test").join(class).join("0.png"), color.clone(), ImageFormat::Png);
    }
    let data = load(folder.path()).unwrap();
    assert_eq!((data.input, data.test.samples().shape()), (prepared(1, 16), [1, 16, 16]));
}

/// Gray, color and broken-looking files of many sizes, in two classes.
fn mixed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..30_u32 {
        let path = folder.path().join(if number % 2 == 0 { "even" } else { "odd" }).join(format!("{number:02}"));
        let (width, height) = (9 + number, 30 - number / 2);
        let gray = GrayImage::from_fn(width, height, |x, y| Luma([(x * number + y * 5) as u8]));
        let color = RgbImage::from_fn(width, height, |x, y| Rgb([(x * 6) as u8, (y * 7) as u8, number as u8]));
        match number % 3 {
            0 => save(&path.with_extension("png"), gray, ImageFormat::Png),
            1 => save(&path.with_extension("jpg"), color, ImageFormat::Jpeg),
            _ => save(&path.with_extension("png"), DynamicImage::from(gray).into_rgb8(), ImageFormat::Png),
        }
    }
    folder
}

#[test]
fn data_folder_streamed_and_in_memory_give_the_same_bits() {
    let folder = mixed();
    let load = |memory| load_with(folder.path(), &LoadOptions { memory, ..LoadOptions::default() }).unwrap();
    let kept = load(None);
    assert_eq!(kept.input, prepared(3, 28));
    let all = 30 * 3 * 28 * 28;
    assert!(!load(Some(all)).train.samples().is_streamed());
    let streamed = load(Some(all - 1));
    assert!(streamed.train.samples().is_streamed() && streamed.test.samples().is_streamed());
    assert_eq!(
        streamed.notes.last().unwrap(),
        "the samples take more memory than they may (0 MiB): they are read batch by batch"
    );
    assert_eq!((kept.input, &kept.split), (streamed.input, &streamed.split));
    let parts = |data: &Dataset| [data.train.clone(), data.validation.clone().unwrap(), data.test.clone()];
    for (kept, streamed) in parts(&kept).iter().zip(&parts(&streamed)) {
        assert_eq!((kept.labels(), names(kept)), (streamed.labels(), names(streamed)));
        assert_eq!(values(kept), values(streamed));
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(values(kept), one_thread.install(|| values(streamed)));
    }
    let normalization = |data: &Dataset| Normalization::of(data.train.samples()).unwrap();
    assert_eq!(normalization(&kept), normalization(&streamed));
}

#[test]
fn data_folder_streamed_files_that_break_are_named() {
    let folder = mixed();
    let options = LoadOptions { memory: Some(0), ..LoadOptions::default() };
    let data = load_with(folder.path(), &options).unwrap();
    let row = data.train.len() - 1;
    let path = folder.path().join(data.train.samples().name(row));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    let error = data.train.samples().batch_f32(&[0, row], &mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert_eq!(error.exit_code(), 1);
    // What is no image at all is found before the first batch.
    fs::write(&path, "a text").unwrap();
    let error = load_with(folder.path(), &options).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
}

#[test]
fn data_folder_images_are_prepared_as_a_model_wants_them() {
    let folder = two_classes();
    let wanted = Preparation::new(3, 10, 12, Ink::LightOnDark).unwrap();
    let data = load_as(folder.path(), Sizing::Prepared(wanted)).unwrap();
    assert_eq!((data.input, data.train.samples().shape()), (Input::Images(wanted), [3, 10, 12]));
    let first = folder.path().join("cats/00.png");
    assert_eq!(wanted.read(&first).unwrap(), *data.train.samples().image(0).unwrap());
}
