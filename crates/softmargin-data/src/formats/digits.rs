//! The handwritten digits that come with the crate: 1,797 gray images of 8 x 8 pixels, ten classes.
//!
//! From *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, DOI
//! 10.24432/C50P49, CC BY 4.0; see `assets/README.md`. A line of the file holds 64 pixels from 0 to 16, light ink on a
//! dark ground, and the digit.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::gray_images::GrayFit;
use crate::dataset::{Dataset, Input};
use crate::error::Error;
use crate::images::{Ink, Preparation};
use crate::in_memory::ImagesInMemory;
use crate::labeled_samples::LabeledSamples;
use crate::load_options::LoadOptions;
use crate::sample_names::SampleNames;
use crate::samples::Samples;
use crate::split::Undivided;

const FILE: &[u8] = include_bytes!("../../assets/digits.csv.gz");
const SIDE: usize = 8;
const DARKEST_TO_LIGHTEST: u32 = 16;
const TRAIN_ROWS: usize = 1198;

/// Reads the digits. They come with a test set: the last 599.
pub(crate) fn load(options: &LoadOptions) -> Result<Dataset, Error> {
    let (bytes, mut labels) = read()?;
    let own = Preparation::new(1, SIDE, SIDE, Ink::LightOnDark)?;
    let fit = GrayFit::new(options.sizing, own)?;
    let names = SampleNames::Numbered("image");
    let images = ImagesInMemory::new(bytes, own.shape(), names.clone())?;
    let all = fit.apply(Samples::new(Arc::new(images))?, names)?;
    let rows: Vec<usize> = (0..labels.len()).collect();
    let (first, last) = rows.split_at(TRAIN_ROWS.min(rows.len()));
    let test_labels = labels.split_off(first.len());
    let division = Undivided {
        source: "digits".to_owned(),
        labels: &labels,
        own_test: Some("the last 599 of 1,797 images".to_owned()),
        own_validation: None,
        sample: "image",
        order: "order",
    }
    .divide(options.test_split, options.validation_split)?;
    let (train, validation, _) = division.of(&LabeledSamples::new(all.select(first), labels)?);
    Ok(Dataset {
        name: "digits".to_owned(),
        description: format!(
            "1,797 handwritten digits of 8 x 8 pixels{}, Optical Recognition of Handwritten Digits (E. Alpaydin \
             and C. Kaynak, UCI Machine Learning Repository, doi:10.24432/C50P49, CC BY 4.0)",
            fit.clause
        ),
        split: division.sentence,
        classes: (0..10).map(|digit| digit.to_string()).collect(),
        train,
        validation,
        test: LabeledSamples::new(all.select(last), test_labels)?,
        input: Input::Images(fit.preparation),
        notes: division.notes,
    })
}

/// Returns the pixels of all images, and their labels.
fn read() -> Result<(Vec<u8>, Vec<u32>), Error> {
    let mut text = String::new();
    GzDecoder::new(FILE).read_to_string(&mut text).map_err(|cause| broken(1, &cause))?;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let label = read_line(line, &mut pixels).ok_or_else(|| broken(index + 1, &format!("{line:?}")))?;
        labels.push(label);
    }
    Ok((pixels, labels))
}

/// Appends the 64 pixels, scaled to bytes, and returns the digit.
fn read_line(line: &str, pixels: &mut Vec<u8>) -> Option<u32> {
    let mut fields = line.split(',').map(|field| field.parse::<u32>().ok());
    for _ in 0..SIDE * SIDE {
        let value = fields.next()??.min(DARKEST_TO_LIGHTEST);
        let byte = (value * 255 + DARKEST_TO_LIGHTEST / 2) / DARKEST_TO_LIGHTEST;
        pixels.push(u8::try_from(byte).ok()?);
    }
    let digit = fields.next()?.filter(|&digit| digit < 10);
    if fields.next().is_some() { None } else { digit }
}

fn broken(line: usize, found: &dyn std::fmt::Display) -> Error {
    let subject = format!("built-in digits, line {line}");
    Error::failure(subject, "64 pixels and a digit", found, "build the program again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_those_of_the_published_file() {
        // Sums and counts of the file, taken with NumPy, independently of this reader.
        let mut text = String::new();
        GzDecoder::new(FILE).read_to_string(&mut text).unwrap();
        let sum: u32 = text.lines().flat_map(|line| line.split(',').take(64)).map(|v| v.parse::<u32>().unwrap()).sum();
        assert_eq!(sum, 561_718);

        let data = load(&LoadOptions::default()).unwrap();
        let [train, validation, test] = [&data.train, data.validation.as_ref().unwrap(), &data.test];
        assert_eq!((train.len() + validation.len(), test.len()), (1198, 599));
        let counts = [train, validation].map(|part| part.class_counts(10));
        let sums: Vec<usize> = counts[0].iter().zip(&counts[1]).map(|(train, held)| train + held).collect();
        assert_eq!(sums, [119, 120, 117, 121, 119, 123, 120, 118, 119, 122]);
        assert_eq!(counts[1], [11, 12, 11, 12, 11, 12, 12, 11, 11, 12]);
        assert_eq!(test.class_counts(10), [59, 62, 60, 62, 62, 59, 61, 61, 55, 58]);
        let total = |part: &LabeledSamples| {
            let image = |row| part.samples().image(row).unwrap().iter().map(|&v| u64::from(v)).sum::<u64>();
            (0..part.len()).map(image).sum::<u64>()
        };
        assert_eq!((total(train) + total(validation), total(test)), SCALED_SUMS);
    }

    const SCALED_SUMS: (u64, u64) = (5_989_572, 2_964_229);

    #[test]
    fn the_first_image_is_the_published_zero() {
        let data = load(&LoadOptions::default()).unwrap();
        assert_eq!(data.train.samples().image(0).unwrap()[..8], [0, 0, 80, 207, 143, 16, 0, 0]);
        assert_eq!((data.train.labels()[0], data.test.labels()[598]), (0, 8));
        assert_eq!(
            (data.train.samples().name(0), data.test.samples().name(598)),
            ("image 0".into(), "image 1796".into())
        );
    }

    #[test]
    fn a_line_that_is_too_short_too_long_or_not_numbers_is_rejected() {
        let good = ["7"; 65].join(",");
        for (line, digit) in [
            (good.clone(), Some(7)),
            (["7"; 64].join(","), None),
            (["7"; 66].join(","), None),
            (good.replacen('7', "x", 1), None),
        ] {
            assert_eq!(read_line(&line, &mut Vec::new()), digit, "{line}");
        }
    }
}
