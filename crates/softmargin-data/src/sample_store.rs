//! The store of samples: the one trait that a new kind of data implements.

use std::borrow::Cow;
use std::fmt;

use crate::error::Error;

/// A place where samples of one shape are stored: memory, files, or a function that computes them.
///
/// [`Samples::new`](crate::Samples::new) makes samples of any store; selection, labels, splits, batches, normalization
/// and training work on them without knowing the store. Batches are read by many threads at once, so [`read`] is called
/// concurrently: an open file needs a lock or positioned reads.
///
/// An implementation guarantees:
///
/// * `kind`, `shape`, `count` and all names stay the same for the life of the store.
/// * `read(row)` returns the same values whenever and on whichever thread it is called. Randomness belongs in
///   [`augmentation`](crate::augmentation), whose generator is keyed by the seed.
/// * `row` is below `count` in every call: indexing may panic otherwise.
///
/// [`read`]: SampleStore::read
///
/// A store of computed images:
///
/// ```
/// use softmargin_data::{Error, Sample, SampleKind, SampleStore, Samples};
/// use std::sync::Arc;
///
/// /// Gray images of 8 x 8 pixels; image `i` has the brightness `i`.
/// #[derive(Debug)]
/// struct Shades;
///
/// impl SampleStore for Shades {
///     fn kind(&self) -> SampleKind {
///         SampleKind::Image
///     }
///
///     fn shape(&self) -> [usize; 3] {
///         [1, 8, 8]
///     }
///
///     fn count(&self) -> usize {
///         256
///     }
///
///     fn name(&self, row: usize) -> String {
///         format!("shade {row}")
///     }
///
///     fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
///         Ok(Sample::Image(vec![row as u8; 64].into()))
///     }
/// }
///
/// let shades = Samples::new(Arc::new(Shades))?.select(&[51, 255]);
/// let mut batch = Vec::new();
/// shades.batch_f32(&[0, 1], &mut batch)?;
/// assert_eq!((batch[0], batch[127]), (0.2, 1.0));
/// assert_eq!(shades.name(0), "shade 51");
/// # Ok::<(), Error>(())
/// ```
pub trait SampleStore: fmt::Debug + Send + Sync {
    /// Returns whether the samples are images or embeddings, the same for all of them.
    fn kind(&self) -> SampleKind;

    /// Returns channels (1 or 3), rows and columns of an image; for an embedding its dimension D, 1 and 1.
    fn shape(&self) -> [usize; 3];

    /// Returns the number of samples.
    fn count(&self) -> usize;

    /// Returns the name of the sample `row`, for messages and reports: a file, or a word and a number.
    fn name(&self, row: usize) -> String;

    /// Reads the sample `row`: as many values as [`shape`](SampleStore::shape) says, in the order channel, row, column.
    /// Borrow them where they are in memory, otherwise return owned ones.
    ///
    /// # Errors
    /// If the sample cannot be read; the message names the file.
    fn read(&self, row: usize) -> Result<Sample<'_>, Error>;

    /// Returns the bytes of samples that the store has in memory: all of them, or 0 (the default) where each is read or
    /// computed on request.
    fn bytes_in_memory(&self) -> u64 {
        0
    }
}

/// The kind of the samples of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Images of one byte per value.
    Image,
    /// Embeddings of single precision.
    Embedding,
}

impl SampleKind {
    /// Returns the number of bytes of one value in memory.
    pub(crate) fn bytes_per_value(self) -> u64 {
        match self {
            SampleKind::Image => 1,
            SampleKind::Embedding => size_of::<f32>() as u64,
        }
    }

    /// Returns the noun, for messages; its article is "an".
    pub(crate) fn noun(self) -> &'static str {
        match self {
            SampleKind::Image => "image",
            SampleKind::Embedding => "embedding",
        }
    }
}

/// The values of one sample, borrowed from the store or owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample<'a> {
    /// The bytes of an image, in the order channel, row, column.
    Image(Cow<'a, [u8]>),
    /// The values of an embedding.
    Embedding(Cow<'a, [f32]>),
}

impl Sample<'_> {
    /// Returns whether it is an image or an embedding.
    #[must_use]
    pub fn kind(&self) -> SampleKind {
        match self {
            Sample::Image(_) => SampleKind::Image,
            Sample::Embedding(_) => SampleKind::Embedding,
        }
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Sample::Image(bytes) => bytes.len(),
            Sample::Embedding(values) => values.len(),
        }
    }

    /// Returns whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Checks a shape of samples: 1 or 3 channels and no empty side of images, D x 1 x 1 with D from 1 of embeddings.
pub(crate) fn check_shape(kind: SampleKind, shape: [usize; 3]) -> Result<(), Error> {
    let [channels, height, width] = shape;
    let sides = || format!("{channels} x {height} x {width}");
    match kind {
        SampleKind::Image if !matches!(channels, 1 | 3) || height == 0 || width == 0 => {
            Err(Error::failure("images", "1 or 3 channels and sides above 0", sides(), ""))
        }
        SampleKind::Embedding if channels == 0 || [height, width] != [1, 1] => {
            Err(Error::failure("embeddings", "the shape D x 1 x 1 with D above 0", sides(), ""))
        }
        _ => Ok(()),
    }
}

/// Returns the number of samples of a shape in so many values, if it is a whole number.
pub(crate) fn whole_samples(len: usize, shape: [usize; 3]) -> Option<usize> {
    let sample = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side))?;
    (sample > 0 && len.is_multiple_of(sample)).then(|| len / sample)
}
