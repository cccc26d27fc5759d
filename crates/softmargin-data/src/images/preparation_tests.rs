use image::{DynamicImage, GrayImage, Luma};

use super::*;
use crate::samples::Samples;

/// A bar of ink, 4 pixels wide, in the middle of a ground of 28 x 28 pixels.
fn bar(ink: u8, ground: u8) -> Vec<u8> {
    let image = GrayImage::from_fn(28, 28, |x, y| {
        Luma([if (12..16).contains(&x) && (4..24).contains(&y) { ink } else { ground }])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn dark_ink_on_paper_is_turned_round_for_a_model_of_light_ink() {
    let image = |file: &[u8]| DecodedImage::decode("x", file).unwrap();
    let read = |ink, file: &[u8]| Preparation::new(1, 28, 28, ink).unwrap().apply(image(file));
    let (on_paper, on_slate) = (bar(10, 250), bar(245, 5));
    let in_the_middle = |planes: &[u8]| (planes[0], planes[14 * 28 + 14]);
    assert_eq!(in_the_middle(&read(Ink::LightOnDark, &on_paper)), (5, 245));
    assert_eq!(in_the_middle(&read(Ink::LightOnDark, &on_slate)), (5, 245));
    assert_eq!(in_the_middle(&read(Ink::DarkOnLight, &on_paper)), (250, 10));
    assert_eq!(in_the_middle(&read(Ink::DarkOnLight, &on_slate)), (250, 10));
    assert_eq!(in_the_middle(&read(Ink::AsIs, &on_paper)), (250, 10));
    assert_eq!(in_the_middle(&read(Ink::AsIs, &on_slate)), (5, 245));
}

#[test]
fn color_channels_are_turned_round_together() {
    let image = DecodedImage::decode("x", &bar(0, 255)).unwrap();
    let read = Preparation::new(3, 8, 8, Ink::LightOnDark).unwrap().apply(image);
    assert_eq!(read.len(), 3 * 64);
    assert_eq!(read[..64], read[64..128]);
    assert_eq!(read[0], 0);
}

#[test]
fn the_ink_of_a_set_is_that_of_its_borders() {
    let set = |values: [u8; 4]| {
        let pixels = values.iter().flat_map(|&value| [value, value, value, value, 255, value, value, value, value]);
        Ink::of(&Samples::of_images(pixels.collect(), [1, 3, 3]).unwrap()).unwrap()
    };
    assert_eq!(set([0, 0, 0, 255]), Ink::LightOnDark, "mean 63.75");
    assert_eq!(set([0, 0, 1, 255]), Ink::AsIs, "mean 64");
    assert_eq!(set([255, 255, 0, 255]), Ink::DarkOnLight, "mean 191.25");
    assert_eq!(set([255, 254, 0, 255]), Ink::AsIs, "mean 191");
}

#[test]
fn it_comes_back_from_a_file_and_nonsense_in_one_is_rejected() {
    let preparation = Preparation::new(3, 64, 48, Ink::AsIs).unwrap();
    let json = serde_json::to_string(&preparation).unwrap();
    assert_eq!(serde_json::from_str::<Preparation>(&json).unwrap(), preparation);
    for wrong in [
        json.replace(":3", ":2"),
        json.replace("64", "0"),
        json.replace("48", "1000000000000"),
        json.replace("48", "-1"),
        json.replace("as-is", "blue"),
        json.replace("\"width\"", "\"breadth\""),
    ] {
        assert_ne!(wrong, json);
        assert!(serde_json::from_str::<Preparation>(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn many_files_are_read_in_the_order_of_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..7_u8).map(|i| folder.path().join(format!("{i}.png"))).collect();
    for (path, value) in paths.iter().zip(0..7) {
        GrayImage::from_pixel(8, 8, Luma([value])).save(path).unwrap();
    }
    let preparation = Preparation::new(1, 8, 8, Ink::AsIs).unwrap();
    let images = preparation.read_all(&[&paths[5], &paths[2]]).unwrap();
    assert_eq!((images.count(), images.is_streamed()), (2, false));
    assert_eq!((&*images.image(0).unwrap(), &*images.image(1).unwrap()), (&[5; 64][..], &[2; 64][..]));
    assert_eq!(images.name(1), paths[2].display().to_string());
    assert_eq!(preparation.read(&paths[3]).unwrap(), [3; 64]);

    let missing = folder.path().join("none.png");
    let error = preparation.read_all(&[paths[0].as_path(), &missing, folder.path()]).unwrap_err();
    assert!(error.to_string().starts_with(&missing.display().to_string()), "{error}");
    assert!(error.to_string().ends_with("1 more of the 3 files fail"), "{error}");
    assert_eq!(error.exit_code(), 2);
    let error = preparation.read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("found a folder"), "{error}");
}
