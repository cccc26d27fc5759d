//! Samples: some rows of a store, and the batches that a model is trained with.
//!
//! The values of a batch do not depend on where its samples are stored: images in memory were read by the same code
//! that streams them.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::Error;
use crate::in_memory::{EmbeddingsInMemory, ImageBytes, ImagesInMemory};
use crate::parallel_read::read_in_order;
use crate::sample_names::SampleNames;
use crate::sample_store::{Sample, SampleKind, SampleStore, check_shape};

/// Samples of one shape: images of one byte per value, or embeddings. A clone shares the values.
///
/// Two `Samples` are equal when their kinds, shapes, names and values are; streamed ones are read for it, and what
/// cannot be read is equal to nothing.
///
/// ```
/// use softmargin_data::Samples;
///
/// // Two gray images of one row and two columns.
/// let images = Samples::of_images(vec![0, 255, 51, 102], [1, 1, 2])?;
/// assert_eq!((images.count(), images.shape()), (2, [1, 1, 2]));
/// let mut batch = Vec::new();
/// images.batch_f32(&[1, 0], &mut batch)?;
/// assert_eq!(batch, [0.2, 0.4, 0.0, 1.0]);
/// # Ok::<(), softmargin_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Samples {
    store: Arc<dyn SampleStore>,
    rows: Vec<usize>,
}

impl Samples {
    /// Selects all samples of a store, in its order.
    ///
    /// # Errors
    /// If the store's shape does not fit its kind: images have 1 or 3 channels and sides above 0, embeddings the
    /// shape D x 1 x 1 with D above 0.
    pub fn new(store: Arc<dyn SampleStore>) -> Result<Samples, Error> {
        check_shape(store.kind(), store.shape())?;
        Ok(Samples { rows: (0..store.count()).collect(), store })
    }

    /// Creates images from their bytes, NCHW, each of `shape` (channels, rows, columns); their number follows from the
    /// length. They are named `image 0`, `image 1` and so on.
    ///
    /// # Errors
    /// If there are other than 1 or 3 channels, a side is 0, or the bytes are not a whole number of images.
    pub fn of_images(bytes: Vec<u8>, shape: [usize; 3]) -> Result<Samples, Error> {
        Samples::new(Arc::new(ImagesInMemory::new(bytes, shape, SampleNames::Numbered("image"))?))
    }

    /// Creates embeddings of dimension `size`, one after the other: of the shape `[size, 1, 1]`. They are named
    /// `embedding 0`, `embedding 1` and so on.
    ///
    /// # Errors
    /// If `size` is 0, or the values are not a whole number of embeddings.
    pub fn of_embeddings(values: Vec<f32>, size: usize) -> Result<Samples, Error> {
        Samples::new(Arc::new(EmbeddingsInMemory::new(values, size, SampleNames::Numbered("embedding"))?))
    }

    /// Returns some of the samples, in the order of `rows`.
    ///
    /// # Panics
    /// If a row is not below [`count`](Samples::count), as indexing a slice does.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Samples {
        Samples { store: Arc::clone(&self.store), rows: rows.iter().map(|&row| self.rows[row]).collect() }
    }

    /// Returns the number of samples.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether they are images or embeddings.
    #[must_use]
    pub fn kind(&self) -> SampleKind {
        self.store.kind()
    }

    /// Returns channels, rows and columns of a sample; for an embedding its dimension, 1 and 1.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.store.shape()
    }

    /// Returns whether samples are read or computed on each request: the store does not have all of them in memory.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        self.store.bytes_in_memory() < self.store_bytes()
    }

    /// Returns the name of a sample: its file, relative to the folder of the data, or a word and its
    /// number, `train 17`.
    ///
    /// # Panics
    /// If `row` is not below [`count`](Samples::count), as indexing a slice does.
    #[must_use]
    pub fn name(&self, row: usize) -> String {
        self.store.name(self.rows[row])
    }

    /// Returns the bytes of one image, CHW.
    ///
    /// # Errors
    /// If it is an embedding, or a streamed image cannot be read.
    ///
    /// # Panics
    /// If `row` is not below [`count`](Samples::count), as indexing a slice does.
    pub fn image(&self, row: usize) -> Result<Cow<'_, [u8]>, Error> {
        let found = match self.kind() {
            SampleKind::Image => match self.read(row)? {
                Sample::Image(bytes) => return Ok(bytes),
                other => other.kind(),
            },
            kind @ SampleKind::Embedding => kind,
        };
        Err(Error::request(self.name(row), "an image", format!("an {}", found.noun()), "give image data"))
    }

    /// Reads the samples `rows`, in that order, NCHW: images as values from 0 to 1 (byte / 255), embeddings as they
    /// are. `out` is cleared first, so that one buffer serves all batches. All threads read.
    ///
    /// # Errors
    /// If a streamed sample cannot be read: the error of the first such row, with the number of the others.
    ///
    /// # Panics
    /// If a row is not below [`count`](Samples::count), as indexing a slice does.
    pub fn batch_f32(&self, rows: &[usize], out: &mut Vec<f32>) -> Result<(), Error> {
        let len = self.len_of_one();
        out.clear();
        out.resize(rows.len() * len, 0.0);
        let read = |(row, out): (&usize, &mut [f32])| self.read_f32(*row, out).err();
        let failures: Vec<Error> = rows.par_iter().zip(out.par_chunks_mut(len)).filter_map(read).collect();
        let others = failures.len().saturating_sub(1);
        match failures.into_iter().next() {
            None => Ok(()),
            Some(error) if others == 0 => Err(error),
            Some(error) => Err(error.with_advice(format_args!("{others} more of the batch fail"))),
        }
    }

    /// Returns the note for the reader of a report when samples are streamed.
    pub(crate) fn note_of_streaming(&self) -> Option<String> {
        const MIB: u64 = 1 << 20;
        let words = "the samples take more memory than they may";
        self.is_streamed().then(|| format!("{words} ({} MiB): they are read batch by batch", self.store_bytes() / MIB))
    }

    /// Passes the images at [`spread`](Samples::spread) to `look`, in order.
    pub(crate) fn each_image(&self, mut look: impl FnMut(&[u8])) -> Result<(), Error> {
        self.images_in_order(&self.spread(), |image| {
            look(image);
            Ok(())
        })
    }

    /// Reads all images into memory.
    pub(crate) fn read_into_memory(&self, names: SampleNames) -> Result<Samples, Error> {
        let rows: Vec<usize> = (0..self.count()).collect();
        let mut bytes = ImageBytes::default();
        self.images_in_order(&rows, |image| bytes.push(image))?;
        Samples::new(Arc::new(ImagesInMemory::new(bytes.into_bytes(), self.shape(), names)?))
    }

    /// Returns rows spread evenly over all samples, for a statistic of the whole: all of them, or
    /// [`SEEN_BY_STATISTICS`].
    pub(crate) fn spread(&self) -> Vec<usize> {
        let (count, seen) = (self.count(), self.count().min(SEEN_BY_STATISTICS));
        (0..seen).map(|index| index * count / seen).collect()
    }

    /// Returns the number of bytes that all samples of the store take in memory.
    pub(crate) fn store_bytes(&self) -> u64 {
        let sides = self.shape().map(|side| side as u64);
        let values = sides.into_iter().fold(self.store.count() as u64, u64::saturating_mul);
        values.saturating_mul(self.kind().bytes_per_value())
    }

    fn images_in_order(&self, rows: &[usize], mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        read_in_order(rows, |&row| self.image(row), |image| take(&image))
    }

    fn len_of_one(&self) -> usize {
        self.shape().iter().product()
    }

    fn read_f32(&self, row: usize, out: &mut [f32]) -> Result<(), Error> {
        match self.read(row)? {
            Sample::Image(bytes) => {
                out.iter_mut().zip(&*bytes).for_each(|(value, &byte)| *value = f32::from(byte) / 255.0);
            }
            Sample::Embedding(values) => out.copy_from_slice(&values),
        }
        Ok(())
    }

    /// Reads the values of one sample; a store that breaks its promises is detected here.
    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        let sample = self.store.read(self.rows[row])?;
        let describe = |kind: SampleKind, len: usize| format!("an {} of {len} values", kind.noun());
        let (expected, found) = ((self.kind(), self.len_of_one()), (sample.kind(), sample.len()));
        if expected == found {
            return Ok(sample);
        }
        let (expected, found) = (describe(expected.0, expected.1), describe(found.0, found.1));
        Err(Error::failure(self.name(row), expected, found, "the store's kind and shape must fit what it reads"))
    }
}

impl PartialEq for Samples {
    fn eq(&self, other: &Samples) -> bool {
        let same = |row: usize| {
            let values = (self.read(row), other.read(row));
            self.name(row) == other.name(row) && matches!(values, (Ok(ours), Ok(theirs)) if ours == theirs)
        };
        let described = |samples: &Samples| (samples.kind(), samples.shape(), samples.count());
        described(self) == described(other) && (0..self.count()).all(same)
    }
}

/// Most samples that a statistic of a data set reads, so that streamed data need not be read twice.
const SEEN_BY_STATISTICS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(count: u8, channels: usize, side: usize) -> Samples {
        let len = channels * side * side;
        Samples::of_images((0..count).flat_map(|i| vec![i; len]).collect(), [channels, side, side]).unwrap()
    }

    #[test]
    fn rows_come_out_in_the_order_asked_for() {
        let images = counting(4, 3, 2);
        assert_eq!((images.count(), images.shape()), (4, [3, 2, 2]));
        assert_eq!(*images.image(2).unwrap(), [2; 12]);
        let mut batch = vec![9.0; 3];
        images.batch_f32(&[3, 0, 3], &mut batch).unwrap();
        let expected: Vec<f32> = [3.0, 0.0, 3.0].iter().flat_map(|v| [v / 255.0; 12]).collect();
        assert_eq!(batch, expected);
    }

    #[test]
    fn a_selection_of_a_selection_keeps_names_and_values() {
        let images = counting(5, 1, 2).select(&[4, 2, 0]).select(&[1, 0]);
        assert_eq!((images.name(0), images.name(1)), ("image 2".to_owned(), "image 4".to_owned()));
        assert_eq!(*images.image(1).unwrap(), [4; 4]);
        let mut batch = Vec::new();
        images.batch_f32(&[0], &mut batch).unwrap();
        assert_eq!(batch, [2.0 / 255.0; 4]);
    }

    #[test]
    fn bytes_map_to_the_ends_of_the_interval() {
        let images = Samples::of_images((0..=255).collect(), [1, 16, 16]).unwrap();
        let mut batch = Vec::new();
        images.batch_f32(&[0], &mut batch).unwrap();
        assert_eq!((batch[0], batch[51], batch[255]), (0.0, 0.2, 1.0));
        assert!(batch.is_sorted());
    }

    #[test]
    fn embeddings_come_out_as_they_are() {
        let embeddings = Samples::of_embeddings(vec![1.5, -2.0, 0.0, 1e30], 2).unwrap();
        assert_eq!((embeddings.count(), embeddings.shape()), (2, [2, 1, 1]));
        let mut batch = Vec::new();
        embeddings.batch_f32(&[1, 0], &mut batch).unwrap();
        assert_eq!(batch, [0.0, 1e30, 1.5, -2.0]);
        assert!(embeddings.image(0).unwrap_err().to_string().starts_with("embedding 0: expected an image"));
    }

    #[test]
    fn shapes_that_do_not_hold_are_rejected() {
        for (len, channels, height, width) in
            [(12, 2, 2, 3), (12, 1, 0, 3), (12, 1, 5, 1), (1, 3, usize::MAX, usize::MAX)]
        {
            let images = Samples::of_images(vec![0; len], [channels, height, width]);
            assert!(images.is_err(), "{len} {channels} {height} {width}");
        }
        assert!(Samples::of_embeddings(vec![0.0; 4], 0).is_err());
        assert!(Samples::of_embeddings(vec![0.0; 4], 3).is_err());
    }

    #[test]
    fn the_rows_that_stand_for_all_are_spread_over_them() {
        let rows = counting(200, 1, 1).select(&vec![3; 25_000]).spread();
        assert_eq!((rows.len(), rows[0], rows[1], rows[2]), (10_000, 0, 2, 5));
        assert!(rows.is_sorted() && rows[9_999] == 24_997);
        assert_eq!(counting(3, 1, 1).spread(), [0, 1, 2]);
    }
}
