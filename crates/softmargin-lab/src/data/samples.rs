//! Samples and labels: images or embeddings, in memory or read from their files batch by batch.
//!
//! What a batch holds does not depend on where its samples are kept: images in memory were put there by the same
//! reading that streaming does.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::idx::{IdxImages, fit_gray};
use super::in_order::{InOrder, read_in_order};
use super::npy::NpyRows;
use super::preparation::Preparation;
use crate::error::Error;

/// Samples of one shape: images of one byte a value, or embeddings. A copy shares the values.
///
/// ```
/// use softmargin_lab::data::Samples;
///
/// // Two gray images of one row and two columns.
/// let images = Samples::of_images(vec![0, 255, 51, 102], [1, 1, 2])?;
/// assert_eq!((images.count(), images.shape()), (2, [1, 1, 2]));
/// let mut batch = Vec::new();
/// images.batch_f32(&[1, 0], &mut batch)?;
/// assert_eq!(batch, [0.2, 0.4, 0.0, 1.0]);
/// # Ok::<(), softmargin_lab::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    store: Arc<Store>,
    rows: Vec<usize>,
}

/// Where the values of some samples are, and what the samples are called.
#[derive(Debug, PartialEq)]
pub(super) struct Store {
    pub(super) shape: [usize; 3],
    pub(super) count: usize,
    pub(super) names: Names,
    pub(super) values: Values,
}

#[derive(Debug, PartialEq)]
pub(super) enum Names {
    /// Of image files, relative to a folder; or any names.
    Files(Vec<PathBuf>),
    /// A word, to which the number of the row is added.
    Numbered(String),
}

#[derive(Debug, PartialEq)]
pub(super) enum Values {
    /// Of all images, in the order image, channel, row, column.
    Bytes(Vec<u8>),
    /// The files of [`Names::Files`] within a folder.
    Files { folder: PathBuf, preparation: Preparation },
    /// An IDX file.
    Idx(IdxImages),
    /// Of all embeddings, one after the other.
    Floats(Vec<f32>),
    /// A file of embeddings.
    Npy(NpyRows),
}

impl Store {
    /// The values of one image.
    fn image(&self, row: usize) -> Result<Cow<'_, [u8]>, Error> {
        let len = self.shape.iter().product::<usize>();
        match (&self.values, &self.names) {
            (Values::Bytes(bytes), _) => Ok(Cow::Borrowed(&bytes[row * len..][..len])),
            (Values::Files { folder, preparation }, Names::Files(names)) => {
                preparation.read(&folder.join(&names[row])).map(Cow::Owned)
            }
            (Values::Idx(images), _) => images.read(row).map(Cow::Owned),
            _ => Err(Error::request(self.name(row), "an image", "an embedding", "give image data")),
        }
    }

    fn read(&self, row: usize, out: &mut [f32]) -> Result<(), Error> {
        match &self.values {
            Values::Floats(values) => out.copy_from_slice(&values[row * out.len()..][..out.len()]),
            Values::Npy(rows) => rows.read(row, out)?,
            _ => {
                let image = self.image(row)?;
                out.iter_mut().zip(&*image).for_each(|(value, &byte)| *value = f32::from(byte) / 255.0);
            }
        }
        Ok(())
    }

    /// Hands images to `look`, in the order of `rows`.
    pub(super) fn each_image(&self, rows: &[usize], mut look: impl FnMut(&[u8])) -> Result<(), Error> {
        let image = |&row: &usize| self.image(row);
        read_in_order(rows, image, |image| {
            look(&image);
            Ok(())
        })
    }

    fn name(&self, row: usize) -> String {
        match &self.names {
            Names::Files(names) => names[row].display().to_string(),
            Names::Numbered(word) => format!("{word} {row}"),
        }
    }

    /// Bytes of all samples in memory.
    pub(super) fn bytes(&self) -> u64 {
        let value = if self.is_embeddings() { size_of::<f32>() as u64 } else { 1 };
        let sides = self.shape.iter().map(|&side| side as u64);
        sides.fold(value.saturating_mul(self.count as u64), u64::saturating_mul)
    }

    fn is_embeddings(&self) -> bool {
        matches!(self.values, Values::Floats(_) | Values::Npy(_))
    }

    /// The same gray images, brought to another size.
    pub(super) fn fitted(self, fit: Option<Preparation>) -> Result<Store, Error> {
        let (Some(fit), [_, height, width]) = (fit, self.shape) else { return Ok(self) };
        let Store { count, names, values, .. } = self;
        let values = match values {
            Values::Idx(images) => Values::Idx(images.fitted(fit)),
            Values::Bytes(bytes) => {
                let images: Vec<&[u8]> = bytes.chunks_exact(height * width).collect();
                let mut fitted = InOrder::default();
                let fit_one = |image: &&[u8]| fit_gray(image, [height, width], fit);
                read_in_order(&images, fit_one, |image| fitted.push(&image))?;
                Values::Bytes(fitted.into_bytes())
            }
            others => others,
        };
        Ok(Store { shape: fit.shape(), count, names, values })
    }

    /// The same images, all of them read.
    pub(super) fn into_memory(self) -> Result<Store, Error> {
        if matches!(self.values, Values::Bytes(_) | Values::Floats(_)) {
            return Ok(self);
        }
        let rows: Vec<usize> = (0..self.count).collect();
        let mut bytes = InOrder::default();
        read_in_order(&rows, |&row| self.image(row), |image| bytes.push(&image))?;
        Ok(Store { values: Values::Bytes(bytes.into_bytes()), ..self })
    }
}

impl Samples {
    /// Images from their bytes, NCHW, each of so many channels, rows and columns; how many there are follows from the
    /// length. They are called `image 0`, `image 1` and so on.
    ///
    /// # Errors
    /// When there are other than 1 or 3 channels, a side is 0, or the bytes are not a whole number of images.
    pub fn of_images(bytes: Vec<u8>, shape: [usize; 3]) -> Result<Samples, Error> {
        let [channels, height, width] = shape;
        let sides = format!("{channels} x {height} x {width}");
        if !matches!(channels, 1 | 3) || height == 0 || width == 0 {
            return Err(Error::failure("images", "1 or 3 channels and sides above 0", sides, ""));
        }
        let count = whole(bytes.len(), shape).ok_or_else(|| {
            Error::failure("images", format!("a multiple of {sides} bytes"), format!("{} bytes", bytes.len()), "")
        })?;
        let names = Names::Numbered("image".to_owned());
        Ok(Samples::all(Store { shape, count, names, values: Values::Bytes(bytes) }))
    }

    /// Embeddings of `size` numbers each, one after the other: of the shape `[size, 1, 1]`. They are called
    /// `embedding 0`, `embedding 1` and so on.
    ///
    /// # Errors
    /// When `size` is 0, or the numbers are not a whole number of embeddings.
    pub fn of_embeddings(values: Vec<f32>, size: usize) -> Result<Samples, Error> {
        let shape = [size, 1, 1];
        let count = whole(values.len(), shape).ok_or_else(|| {
            let expected = format!("a multiple of {size} numbers, the size of an embedding");
            Error::failure("embeddings", expected, format!("{} numbers", values.len()), "")
        })?;
        let names = Names::Numbered("embedding".to_owned());
        Ok(Samples::all(Store { shape, count, names, values: Values::Floats(values) }))
    }

    pub(super) fn all(store: Store) -> Samples {
        Samples { rows: (0..store.count).collect(), store: Arc::new(store) }
    }

    /// Some of the samples, in the order of `rows`.
    ///
    /// # Panics
    /// When a row is not below [`count`](Samples::count), as indexing a slice does.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Samples {
        Samples { store: Arc::clone(&self.store), rows: rows.iter().map(|&row| self.rows[row]).collect() }
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Channels, rows and columns of a sample; of an embedding its size, 1 and 1.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.store.shape
    }

    /// Whether samples are read from their files whenever they are asked for.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        !matches!(self.store.values, Values::Bytes(_) | Values::Floats(_))
    }

    /// What a sample is called: its file, relative to the folder of the data, or a word and its number, `train 17`.
    ///
    /// # Panics
    /// When `row` is not below [`count`](Samples::count), as indexing a slice does.
    #[must_use]
    pub fn name(&self, row: usize) -> String {
        self.store.name(self.rows[row])
    }

    /// The bytes of one image, CHW.
    ///
    /// # Errors
    /// When it is an embedding, or a streamed image cannot be read.
    ///
    /// # Panics
    /// When `row` is not below [`count`](Samples::count), as indexing a slice does.
    pub fn image(&self, row: usize) -> Result<Cow<'_, [u8]>, Error> {
        self.store.image(self.rows[row])
    }

    /// The samples `rows`, in that order, NCHW: images as numbers from 0 to 1 (byte / 255), embeddings as they are.
    /// `out` is cleared first, so that one buffer serves all batches. All threads read.
    ///
    /// # Errors
    /// When a streamed sample cannot be read: that of the first of the rows, with the number of the others.
    ///
    /// # Panics
    /// When a row is not below [`count`](Samples::count), as indexing a slice does.
    pub fn batch_f32(&self, rows: &[usize], out: &mut Vec<f32>) -> Result<(), Error> {
        let len = self.shape().iter().product::<usize>();
        out.clear();
        out.resize(rows.len() * len, 0.0);
        let read = |(row, out): (&usize, &mut [f32])| self.store.read(self.rows[*row], out).err();
        let failures: Vec<Error> = rows.par_iter().zip(out.par_chunks_mut(len)).filter_map(read).collect();
        let others = failures.len().saturating_sub(1);
        match failures.into_iter().next() {
            None => Ok(()),
            Some(error) if others == 0 => Err(error),
            Some(error) => Err(error.with_advice(format_args!("{others} more of the batch fail"))),
        }
    }

    /// What a reader should know of samples that are not in memory.
    pub(super) fn note_of_streaming(&self) -> Option<String> {
        const MIB: u64 = 1 << 20;
        let words = "the samples take more memory than they may";
        self.is_streamed().then(|| format!("{words} ({} MiB): they are read batch by batch", self.store.bytes() / MIB))
    }

    pub(super) fn is_embeddings(&self) -> bool {
        self.store.is_embeddings()
    }

    /// Hands the images at [`spread`](Samples::spread) to `look`, in order.
    pub(super) fn each_image(&self, look: impl FnMut(&[u8])) -> Result<(), Error> {
        let rows: Vec<usize> = self.spread().into_iter().map(|row| self.rows[row]).collect();
        self.store.each_image(&rows, look)
    }

    /// Rows spread evenly over all samples: what a statistic of the whole looks at. All of them, or [`LOOKED_AT`].
    pub(super) fn spread(&self) -> Vec<usize> {
        spread(self.count())
    }
}

/// A statistic of a data set looks at so many samples at most, so that streamed data need not be read twice.
pub(super) const LOOKED_AT: usize = 10_000;

pub(super) fn spread(count: usize) -> Vec<usize> {
    let looked_at = count.min(LOOKED_AT);
    (0..looked_at).map(|index| index * count / looked_at).collect()
}

/// How many samples of a shape so many values are.
fn whole(len: usize, shape: [usize; 3]) -> Option<usize> {
    let sample = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side))?;
    (sample > 0 && len.is_multiple_of(sample)).then(|| len / sample)
}

impl Preparation {
    /// Reads many files, in parallel; the images come in the order of the paths, and are called by them.
    ///
    /// # Errors
    /// As [`read`](Preparation::read), of the first path that fails; the message says how many more do.
    pub fn read_all<P: AsRef<Path>>(&self, paths: &[P]) -> Result<Samples, Error> {
        let names = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        Store::of_files(PathBuf::new(), names, *self).into_memory().map(Samples::all)
    }
}

impl Store {
    /// Image files within a folder, not read yet.
    pub(super) fn of_files(folder: PathBuf, names: Vec<PathBuf>, preparation: Preparation) -> Store {
        Store {
            shape: preparation.shape(),
            count: names.len(),
            names: Names::Files(names),
            values: Values::Files { folder, preparation },
        }
    }
}

/// Samples, each with the number of its class.
#[derive(Clone, Debug, PartialEq)]
pub struct LabeledSamples {
    samples: Samples,
    labels: Vec<u32>,
}

impl LabeledSamples {
    /// Samples and labels that belong together, one label a sample.
    ///
    /// # Errors
    /// When there are not as many labels as samples.
    pub fn new(samples: Samples, labels: Vec<u32>) -> Result<LabeledSamples, Error> {
        if samples.count() != labels.len() {
            let expected = format!("{} labels, one a sample", samples.count());
            return Err(Error::failure("labels", expected, labels.len(), ""));
        }
        Ok(LabeledSamples { samples, labels })
    }

    /// Some of the samples with their labels, in the order of `rows`.
    ///
    /// # Panics
    /// When a row is not below [`len`](LabeledSamples::len), as indexing a slice does.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> LabeledSamples {
        LabeledSamples {
            samples: self.samples.select(rows),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
        }
    }

    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The class of each sample: an index into the data set's class names.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many samples each of the classes 0 to `classes` - 1 has; labels beyond are not counted.
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
    fn shapes_that_do_not_hold_are_refused() {
        for (len, channels, height, width) in
            [(12, 2, 2, 3), (12, 1, 0, 3), (12, 1, 5, 1), (1, 3, usize::MAX, usize::MAX)]
        {
            let images = Samples::of_images(vec![0; len], [channels, height, width]);
            assert!(images.is_err(), "{len} {channels} {height} {width}");
        }
        assert!(Samples::of_embeddings(vec![0.0; 4], 0).is_err());
        assert!(Samples::of_embeddings(vec![0.0; 4], 3).is_err());
        assert!(LabeledSamples::new(counting(3, 1, 2), vec![0, 1]).is_err());
    }

    #[test]
    fn labels_go_with_their_samples_and_are_counted() {
        let all = LabeledSamples::new(counting(5, 1, 2), vec![0, 0, 1, 1, 7]).unwrap();
        let some = all.select(&[4, 2, 3]);
        assert_eq!(some.labels(), [7, 1, 1]);
        assert_eq!(some.class_counts(3), [0, 2, 0]);
        assert_eq!(*some.samples().image(0).unwrap(), [4; 4]);
    }

    #[test]
    fn the_rows_that_stand_for_all_are_spread_over_them() {
        let rows = counting(200, 1, 1).select(&vec![3; 25_000]).spread();
        assert_eq!((rows.len(), rows[0], rows[1], rows[2]), (10_000, 0, 2, 5));
        assert!(rows.is_sorted() && rows[9_999] == 24_997);
        assert_eq!(counting(3, 1, 1).spread(), [0, 1, 2]);
    }
}
