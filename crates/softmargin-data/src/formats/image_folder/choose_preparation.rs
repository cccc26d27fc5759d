//! Size and channels of the inputs, chosen from the files.

use std::path::Path;

use crate::error::Error;
use crate::images::{DecodedImage, ImageHeader, Ink, Preparation};
use crate::load_options::Sizing;
use crate::parallel_read::read_in_order;

/// The smallest and the largest automatic side, in pixels.
const AUTOMATIC_SIDES: (u32, u32) = (8, 64);

/// Chooses the preparation of images for a model trained with these files.
///
/// # Errors
/// If a size is out of range.
pub(super) fn choose_preparation(files: &[&Path], sizing: Sizing) -> Result<Preparation, Error> {
    if let Sizing::Prepared(preparation) = sizing {
        return Ok(preparation);
    }
    // A broken file is reported when the images are read, with the number of all that are.
    let mut headers = Vec::new();
    let header = |path: &&Path| Ok(ImageHeader::read(path).ok());
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

/// Computes the median of the longer sides, rounded to a multiple of 4 and clamped to the bounds.
fn automatic_side<'a>(headers: impl Iterator<Item = &'a ImageHeader>) -> usize {
    let mut sides: Vec<u32> = headers.map(|header| header.longer_side).collect();
    sides.sort_unstable();
    let (least, most) = AUTOMATIC_SIDES;
    let median = sides.get(sides.len() / 2).copied().unwrap_or(most);
    (median.clamp(least, most) + 2) as usize / 4 * 4
}

/// Returns whether red, green and blue differ in a pixel of one of the files. Gray images are often stored as color, so
/// the pixels must be compared; usually the first file decides.
fn has_color(files: &[&Path]) -> Result<bool, Error> {
    const AT_ONCE: usize = 64;
    for files in files.chunks(AT_ONCE) {
        let mut any = false;
        let color = |path: &&Path| Ok(DecodedImage::read(path).is_ok_and(|image| image.channels() == 3));
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
