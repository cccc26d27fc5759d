//! Images and labels in plain memory.

use crate::error::Error;

/// Images of one shape: one byte a value, in the order image, channel, row, column (NCHW).
///
/// ```
/// use softmargin_lab::data::Images;
///
/// // Two grey images of one row and two columns.
/// let images = Images::new(vec![0, 255, 51, 102], 1, 1, 2)?;
/// assert_eq!(images.shape(), [2, 1, 1, 2]);
/// let mut batch = Vec::new();
/// images.batch_f32(&[1, 0], &mut batch);
/// assert_eq!(batch, [0.2, 0.4, 0.0, 1.0]);
/// # Ok::<(), softmargin_lab::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pixels: Vec<u8>,
    channels: usize,
    height: usize,
    width: usize,
}

impl Images {
    /// Images from their bytes, NCHW; how many there are follows from the length.
    ///
    /// # Errors
    /// When `channels` is not 1 or 3, a side is 0, or the bytes are not a whole number of images.
    pub fn new(pixels: Vec<u8>, channels: usize, height: usize, width: usize) -> Result<Images, Error> {
        let shape = format!("{channels} x {height} x {width}");
        if !matches!(channels, 1 | 3) || height == 0 || width == 0 {
            return Err(Error::failure("images", "1 or 3 channels and sides above 0", shape, ""));
        }
        let whole = channels
            .checked_mul(height)
            .and_then(|n| n.checked_mul(width))
            .is_some_and(|n| pixels.len().is_multiple_of(n));
        if !whole {
            let expected = format!("a multiple of {shape} bytes");
            return Err(Error::failure("images", expected, format!("{} bytes", pixels.len()), ""));
        }
        Ok(Images { pixels, channels, height, width })
    }

    /// How many images there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pixels.len() / self.image_len()
    }

    /// 1 (grey) or 3 (red, green, blue).
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows of an image.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of an image.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Images, channels, rows, columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        [self.count(), self.channels, self.height, self.width]
    }

    /// Values of one image: channels x rows x columns.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// All values, NCHW.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The values of one image, CHW.
    ///
    /// # Panics
    /// When `row` is not below [`count`](Images::count), as indexing a slice does.
    #[must_use]
    pub fn image(&self, row: usize) -> &[u8] {
        let len = self.image_len();
        &self.pixels[row * len..][..len]
    }

    /// The images `rows`, in that order, as numbers from 0 to 1 (byte / 255), NCHW; `out` is cleared first, so that one
    /// buffer serves all batches.
    ///
    /// # Panics
    /// When a row is not below [`count`](Images::count), as indexing a slice does.
    pub fn batch_f32(&self, rows: &[usize], out: &mut Vec<f32>) {
        out.clear();
        out.reserve(rows.len() * self.image_len());
        for &row in rows {
            out.extend(self.image(row).iter().map(|&byte| f32::from(byte) / 255.0));
        }
    }

    /// The first `count` images, and the rest.
    pub(crate) fn split_at(mut self, count: usize) -> (Images, Images) {
        let rest = self.pixels.split_off(count * self.image_len());
        let rest = Images { pixels: rest, ..self };
        (self, rest)
    }
}

/// Images, each with the number of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImages {
    images: Images,
    labels: Vec<u32>,
}

impl LabelledImages {
    /// Images and labels that belong together, one label an image.
    ///
    /// # Errors
    /// When there are not as many labels as images.
    pub fn new(images: Images, labels: Vec<u32>) -> Result<LabelledImages, Error> {
        if images.count() != labels.len() {
            let expected = format!("{} labels, one an image", images.count());
            return Err(Error::failure("labels", expected, labels.len(), ""));
        }
        Ok(LabelledImages { images, labels })
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The class of each image: an index into the data set's class names.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many images each of the classes 0 to `classes` - 1 has; labels beyond are not counted.
    #[must_use]
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(count: u8, channels: usize, side: usize) -> Images {
        let len = channels * side * side;
        Images::new((0..count).flat_map(|i| vec![i; len]).collect(), channels, side, side).unwrap()
    }

    #[test]
    fn rows_come_out_in_the_order_asked_for() {
        let images = counting(4, 3, 2);
        assert_eq!(images.shape(), [4, 3, 2, 2]);
        assert_eq!(images.image(2), [2; 12]);
        let mut batch = vec![9.0; 3];
        images.batch_f32(&[3, 0, 3], &mut batch);
        let expected: Vec<f32> = [3.0, 0.0, 3.0].iter().flat_map(|v| [v / 255.0; 12]).collect();
        assert_eq!(batch, expected);
    }

    #[test]
    fn bytes_map_to_the_ends_of_the_interval() {
        let images = Images::new((0..=255).collect(), 1, 16, 16).unwrap();
        let mut batch = Vec::new();
        images.batch_f32(&[0], &mut batch);
        assert_eq!((batch[0], batch[51], batch[255]), (0.0, 0.2, 1.0));
        assert!(batch.is_sorted());
    }

    #[test]
    fn shapes_that_do_not_hold_are_refused() {
        for (len, channels, height, width) in
            [(12, 2, 2, 3), (12, 1, 0, 3), (12, 1, 5, 1), (1, 3, usize::MAX, usize::MAX)]
        {
            assert!(Images::new(vec![0; len], channels, height, width).is_err(), "{len} {channels} {height} {width}");
        }
        assert!(LabelledImages::new(counting(3, 1, 2), vec![0, 1]).is_err());
    }

    #[test]
    fn parts_split_and_count() {
        let (first, rest) = counting(5, 1, 2).split_at(2);
        assert_eq!((first.count(), rest.count(), rest.image(0)), (2, 3, &[2; 4][..]));
        let rest = LabelledImages::new(rest, vec![1, 1, 7]).unwrap();
        assert_eq!(rest.class_counts(3), [0, 2, 0]);
    }
}
