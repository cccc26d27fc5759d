//! The samples of some files together, as the model expects them.

use super::input_file::{InputFile, SampleOrigin, UnreadableFile};
use super::{embedding_array, image_array, names_file};
use rayon::prelude::*;
use softmargin_data::error::Error;
use softmargin_data::{Input, NpyArray, Samples};

/// The first bytes of a `.npy` file.
pub(super) const NPY: &[u8] = b"\x93NUMPY";

/// The values of samples: bytes of images, floats of embeddings.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The samples of some files together.
pub(super) struct FileSamples {
    pub(super) origins: Vec<SampleOrigin>,
    pub(super) samples: Samples,
}

impl FileSamples {
    /// Reads all files, on all threads; those that cannot be read are added to `failures`.
    ///
    /// # Errors
    /// If the samples do not fit the input, which cannot happen to prepared samples.
    pub(super) fn read(
        sources: &[InputFile],
        input: &Input,
        failures: &mut Vec<UnreadableFile>,
    ) -> Result<Self, Error> {
        let read: Vec<Result<(Vec<SampleOrigin>, Values), Error>> =
            sources.par_iter().map(|source| source.read(input)).collect();
        let (mut origins, mut bytes, mut floats) = (Vec::new(), Vec::new(), Vec::new());
        for (source, result) in sources.iter().zip(read) {
            match result {
                Err(error) => failures.push(UnreadableFile { file: source.name(), error }),
                Ok((of_file, values)) => {
                    origins.extend(of_file);
                    match values {
                        Values::Bytes(values) => bytes.extend(values),
                        Values::Floats(values) => floats.extend(values),
                    }
                }
            }
        }
        let samples = match input {
            Input::Images(preparation) => Samples::of_images(bytes, preparation.shape())?,
            Input::Embeddings { size } => Samples::of_embeddings(floats, *size)?,
        };
        Ok(Self { origins, samples })
    }
}

impl InputFile {
    fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Content(name, _) => name.clone(),
        }
    }

    /// Reads the file: the origins of its samples, and their values as the model expects them.
    fn read(&self, input: &Input) -> Result<(Vec<SampleOrigin>, Values), Error> {
        let name = self.name();
        match (self.array()?, input) {
            (Some(array), Input::Images(preparation)) => {
                let (rows, bytes) = image_array::read(&name, array, preparation)?;
                Ok((rows.map_or_else(|| Ok(self.origin_of_file()), |rows| self.origins(rows))?, Values::Bytes(bytes)))
            }
            (Some(array), Input::Embeddings { size }) => {
                let (rows, values) = embedding_array::read(&name, array, *size)?;
                Ok((self.origins(rows)?, Values::Floats(values)))
            }
            (None, Input::Images(preparation)) => {
                let image = match self {
                    Self::Path(path) => preparation.read(path)?,
                    Self::Content(name, bytes) => preparation.decode(name, bytes)?,
                };
                Ok((self.origin_of_file(), Values::Bytes(image)))
            }
            (None, Input::Embeddings { size }) => {
                let expected = format!("a .npy file with embeddings (N, {size})");
                let advice = "the model was trained on embeddings, not on images";
                Err(Error::request(name, expected, "another file", advice))
            }
        }
    }

    /// Returns the origin of the one sample of a file.
    fn origin_of_file(&self) -> Vec<SampleOrigin> {
        vec![SampleOrigin { file: self.name(), row: None, name: None }]
    }

    /// Returns the origins of the rows of an array, with the names from the file beside it.
    fn origins(&self, rows: usize) -> Result<Vec<SampleOrigin>, Error> {
        let names = match self {
            Self::Path(path) => names_file::row_names(path, rows)?,
            Self::Content(..) => None,
        };
        let mut names = names.into_iter().flatten();
        let file = self.name();
        Ok((0..rows).map(|row| SampleOrigin { file: file.clone(), row: Some(row), name: names.next() }).collect())
    }

    /// Reads the array, if the file contains one.
    fn array(&self) -> Result<Option<NpyArray>, Error> {
        match self {
            Self::Content(name, bytes) if bytes.starts_with(NPY) => {
                NpyArray::from_reader(name, &mut bytes.as_slice()).map(Some)
            }
            Self::Path(path) if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npy")) => {
                NpyArray::read(path).map(Some)
            }
            _ => Ok(None),
        }
    }
}
