use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder, Rgb, Rgba, RgbaImage};

use super::super::image_file::jpeg_reaches_its_end;
use super::super::letterbox::fitted_size;
use super::*;

fn png_of(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn jpeg_of(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn colorful(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 16) as u8, (y * 16) as u8, 90])).into()
}

/// A PNG file with a header of these sides and hardly any data.
fn png_announcing(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png_of(&colorful(1, 1));
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn a_png_keeps_its_pixels_and_gray_is_recognized() {
    let image = colorful(5, 3);
    let DecodedImage::Color(read) = DecodedImage::decode("x", &png_of(&image)).unwrap() else { panic!("color") };
    assert_eq!(DynamicImage::from(read), image);

    let gray = GrayImage::from_fn(4, 2, |x, y| image::Luma([(x * 50 + y) as u8]));
    let as_color = DynamicImage::from(gray.clone()).to_rgb8();
    for stored in [DynamicImage::from(gray.clone()), as_color.into()] {
        assert_eq!(DecodedImage::decode("x", &png_of(&stored)).unwrap(), DecodedImage::Gray(gray.clone()));
    }
}

#[test]
fn sixteen_bits_become_eight() {
    let deep = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 1, vec![0_u16, 0x8080, 0xffff]).unwrap();
    let DecodedImage::Gray(gray) = DecodedImage::decode("x", &png_of(&deep.into())).unwrap() else { panic!("gray") };
    assert_eq!(gray.into_raw(), [0, 128, 255]);
}

#[test]
fn what_is_transparent_becomes_white() {
    let image = RgbaImage::from_raw(3, 1, vec![10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 128]).unwrap();
    let DecodedImage::Color(read) = DecodedImage::decode("x", &png_of(&image.into())).unwrap() else { panic!("color") };
    assert_eq!(read.into_raw(), [255, 255, 255, 10, 20, 30, 127, 127, 127]);

    let black_ink = RgbaImage::from_pixel(2, 2, Rgba([0, 0, 0, 0]));
    let read = DecodedImage::decode("x", &png_of(&black_ink.into())).unwrap();
    assert_eq!(read, DecodedImage::Gray(GrayImage::from_pixel(2, 2, image::Luma([255]))));
}

#[test]
fn luminance_keeps_gray_values_and_weighs_colors() {
    for value in 0..=255 {
        let gray = DecodedImage::Color(RgbImage::from_pixel(1, 1, Rgb([value; 3]))).into_gray().into_planes();
        assert_eq!(gray, [value]);
    }
    let weights = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        .map(|pure| DecodedImage::Color(RgbImage::from_pixel(1, 1, Rgb(pure))).into_gray().into_planes()[0]);
    assert_eq!(weights, [54, 182, 18]);
}

#[test]
fn planes_come_channel_by_channel() {
    let image = RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(DecodedImage::Color(image).into_planes(), [1, 4, 2, 5, 3, 6]);
    let gray = DecodedImage::from_gray(1, 2, &[7, 8]).unwrap();
    assert_eq!(gray.with_channels(3).into_planes(), [7, 8, 7, 8, 7, 8]);
}

#[test]
fn fitting_keeps_the_aspect_and_fills_with_the_border() {
    // Twice as wide as high: a band of its own in the middle, the mean of its border above and below.
    let wide = GrayImage::from_fn(8, 4, |x, _| image::Luma([if x < 4 { 100 } else { 200 }]));
    let DecodedImage::Gray(fitted) = DecodedImage::Gray(wide).fit(8, 8) else { panic!("gray") };
    let rows: Vec<&[u8]> = fitted.chunks(8).collect();
    for row in [0, 1, 6, 7] {
        assert_eq!(rows[row], [150; 8], "row {row}");
    }
    for row in &rows[2..6] {
        assert_eq!(*row, [100, 100, 100, 100, 200, 200, 200, 200]);
    }

    let high = DecodedImage::Color(RgbImage::from_pixel(10, 100, Rgb([1, 2, 3]))).fit(20, 20);
    assert_eq!(high, DecodedImage::Color(RgbImage::from_pixel(20, 20, Rgb([1, 2, 3]))));
}

#[test]
fn an_image_of_the_right_size_is_left_alone_and_a_thin_one_does_not_vanish() {
    let noisy = GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * 37 + y * 91) as u8]));
    assert_eq!(DecodedImage::Gray(noisy.clone()).fit(28, 28), DecodedImage::Gray(noisy));
    assert_eq!(fitted_size((10_000, 1), (8, 8)), (8, 1));
    assert_eq!(fitted_size((1, 10_000), (8, 8)), (1, 8));
    assert_eq!(fitted_size((3, 2), (64, 64)), (64, 43));
    assert_eq!(fitted_size((100, 100), (28, 14)), (14, 14));
    assert_eq!(fitted_size((u32::MAX, u32::MAX - 1), (64, 64)), (64, 64));
}

#[test]
fn shrinking_averages_instead_of_dropping_pixels() {
    let checks = GrayImage::from_fn(64, 64, |x, y| image::Luma([if (x + y) % 2 == 0 { 0 } else { 255 }]));
    let small = DecodedImage::Gray(checks).fit(8, 8).into_planes();
    assert!(small.iter().all(|&value| (120..=135).contains(&value)), "{small:?}");
}

#[test]
fn a_photograph_is_turned_upright() {
    // EXIF says: turn by 90 degrees clockwise to show it.
    let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".as_slice()].concat();
    let lying = GrayImage::from_fn(32, 16, |x, _| image::Luma([if x < 16 { 0 } else { 255 }]));
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&lying, 32, 16, ExtendedColorType::L8).unwrap();
    let DecodedImage::Gray(upright) = DecodedImage::decode("x", &bytes).unwrap() else { panic!("gray") };
    assert_eq!(upright.dimensions(), (16, 32));
    assert!(upright.get_pixel(8, 4).0[0] < 20 && upright.get_pixel(8, 28).0[0] > 235);
}

#[test]
fn a_file_cut_short_anywhere_is_an_error_that_names_it() {
    let png = png_of(&colorful(9, 9));
    let jpeg = jpeg_of(&colorful(19, 19));
    assert!(DecodedImage::decode("x", &jpeg).is_ok());
    // The last chunk of a PNG file, 12 bytes, says nothing but that it is the last.
    let cuts = [(&png, png.len() - 12), (&jpeg, jpeg.len())];
    for (whole, until) in cuts {
        for len in 0..until {
            let error = DecodedImage::decode("cats/7.png", &whole[..len]).unwrap_err();
            assert!(error.to_string().starts_with("cats/7.png: expected a whole PNG or JPEG image"), "{len}: {error}");
            assert_eq!(error.exit_code(), 1);
        }
    }
}

#[test]
fn an_end_marker_in_a_preview_is_not_the_end_of_the_image() {
    let preview = b"\xff\xd8\xff\xe1\x00\x06\xff\xd9\xff\xd9".to_vec();
    assert!(!jpeg_reaches_its_end(&preview));
    let whole = [&preview[..], b"\xff\xda\x00\x02\x12\xff\x00\xff\xd0\x34\xff\xff\xd9"].concat();
    assert!(jpeg_reaches_its_end(&whole));
    for len in 0..whole.len() {
        assert!(!jpeg_reaches_its_end(&whole[..len]), "{len}");
    }
    // A length of 0 or 1 is wrong, and must not send the walk in circles.
    assert!(!jpeg_reaches_its_end(b"\xff\xd8\xff\xe1\x00\x00\xff\xe1\x00\x01"));
}

#[test]
fn huge_announcements_are_rejected_before_they_cost_anything() {
    for (width, height) in [(100_000, 1), (1, 100_000), (16_384, 16_384), (u32::MAX / 2, u32::MAX / 2)] {
        let error = DecodedImage::decode("bomb.png", &png_announcing(width, height)).unwrap_err();
        assert!(error.to_string().contains("at most 16384 pixels a side and 512 MiB"), "{error}");
    }
    assert!(DecodedImage::decode("x", &png_announcing(0, 5)).is_err());
}

#[test]
fn other_contents_are_named() {
    let error = DecodedImage::decode("a.png", b"this is a text").unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.png: expected a whole PNG or JPEG image, found other content; convert it to PNG or JPEG, or take it out of \
         the folder"
    );
    let error = DecodedImage::decode("a.png", b"GIF89a and so on").unwrap_err();
    assert!(error.to_string().contains("found image/gif content"), "{error}");
}

#[test]
fn damaged_bytes_never_panic() {
    let mut generator = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        generator ^= generator << 13;
        generator ^= generator >> 7;
        generator ^= generator << 17;
        (generator >> 11) as usize % below
    };
    let mut rejected = 0;
    for whole in [png_of(&colorful(9, 9)), jpeg_of(&colorful(19, 19))] {
        for _ in 0..1500 {
            let mut bytes = whole.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            rejected += usize::from(DecodedImage::decode("x", &bytes).is_err());
        }
    }
    assert!(rejected > 500, "the damage should show: {rejected}");
}
