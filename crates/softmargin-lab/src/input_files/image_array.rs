//! Arrays of images: bytes, or floats from 0 to 1.

use super::image_layout::ImageLayout;
use rayon::prelude::*;
use softmargin_data::error::Error;
use softmargin_data::{NpyArray, Preparation};

/// Returns the number of rows (`None` for an array that is one image) and the images as the model expects them.
///
/// # Errors
/// If the shape is none of images or ambiguous, or the values are neither bytes nor from 0 to 1.
pub(super) fn read(name: &str, array: NpyArray, preparation: &Preparation) -> Result<(Option<usize>, Vec<u8>), Error> {
    let layout = ImageLayout::recognize(name, array.shape(), preparation.channels())?;
    let bytes = match array.element_type() {
        "|u1" => array.into_bytes()?,
        kind if kind.contains('f') => bytes_of(name, &array.into_f32()?)?,
        kind => {
            let advice = "array.astype('uint8') if the values are from 0 to 255";
            return Err(Error::request(name, "images of uint8, or of floats from 0 to 1", kind, advice));
        }
    };
    let ImageLayout { rows, height, width, channels, planes } = layout;
    let fit = |pixels: &[u8]| {
        let interleaved = planes.then(|| interleaved(pixels, channels));
        preparation.of_pixels(name, [height, width, channels], interleaved.as_deref().unwrap_or(pixels))
    };
    let fitted: Vec<Vec<u8>> = bytes.par_chunks(height * width * channels).map(fit).collect::<Result<_, _>>()?;
    Ok((rows, fitted.concat()))
}

/// Reorders one plane per channel to the channels of each pixel.
fn interleaved(planes: &[u8], channels: usize) -> Vec<u8> {
    let pixels = planes.len() / channels;
    (0..planes.len()).map(|at| planes[at % channels * pixels + at / channels]).collect()
}

fn bytes_of(name: &str, values: &[f32]) -> Result<Vec<u8>, Error> {
    if let Some(&value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        let (found, advice) = wrong_values(value, values);
        return Err(Error::request(name, "images with values from 0 to 1", found, advice));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
    Ok(values.iter().map(|value| (255.0 * value).round() as u8).collect())
}

/// Describes values that are not from 0 to 1, of which `first` is one, and how they become so.
fn wrong_values(first: f32, values: &[f32]) -> (String, &'static str) {
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return (value.to_string(), "remove the images with values that are not finite");
    }
    let (low, high) = values.iter().fold((first, first), |(low, high), &value| (low.min(value), high.max(value)));
    let advice = match (low, high) {
        (0.0.., ..=255.0) => "divide by 255, or give an array of uint8",
        (-1.0.., ..=1.0) => "values from -1 to 1 become so by (array + 1) / 2",
        _ => "undo the normalization: array * std + mean",
    };
    (format!("values from {low:.2} to {high:.2}"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_pixels() {
        assert_eq!(interleaved(&[1, 2, 3, 4, 5, 6], 3), [1, 3, 5, 2, 4, 6]);
        assert_eq!(interleaved(&[1, 2], 1), [1, 2]);
    }

    #[test]
    fn values_out_of_range_have_advice_of_their_own() {
        let message = |values: &[f32]| bytes_of("x", values).unwrap_err().to_string();
        assert!(message(&[0.0, 254.0]).contains("values from 0.00 to 254.00; divide by 255"));
        assert!(message(&[-1.0, 0.5]).contains("(array + 1) / 2"));
        assert!(message(&[-2.1, 2.6]).contains("std + mean"));
        assert!(message(&[0.5, f32::NAN]).contains("found NaN"));
        assert!(message(&[0.5, f32::INFINITY]).contains("found inf"));
    }
}
