//! Files of unlabeled samples: images and arrays from files, folders or standard input. A file that cannot be read does
//! not stop the others.

use rayon::prelude::*;
use softmargin_data::error::Error;
use softmargin_data::{Input, NpyArray, Preparation, Samples, sample_files};
use std::fmt;
use std::path::{Path, PathBuf};

/// The first bytes of a `.npy` file.
const NPY: &[u8] = b"\x93NUMPY";

/// A file, or a folder of files, with samples.
#[derive(Clone, Debug, PartialEq)]
pub enum InputFile {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// A name and the content of a file without a path.
    Content(String, Vec<u8>),
}

/// A file that could not be read.
#[derive(Debug)]
pub struct UnreadableFile {
    /// The path or the name.
    pub file: String,
    /// The reason.
    pub error: Error,
}

/// The file and row of a sample; as text `file` or `file[row]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampleOrigin {
    pub(crate) file: String,
    /// The row of an array.
    pub(crate) row: Option<usize>,
}

impl fmt::Display for SampleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(f, "{}[{row}]", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Input files; folders are replaced by the files in them.
pub(crate) struct InputFiles {
    files: Vec<InputFile>,
    /// Remarks on the folders.
    pub(crate) notes: Vec<String>,
}

/// The work on some samples and their origins.
pub(crate) type Work<'a> = dyn FnMut(&[SampleOrigin], &Samples) -> Result<(), Error> + 'a;

/// The number of batches that are read together.
const BATCHES: usize = 8;

impl InputFiles {
    /// Lists the files of all sources: folders are replaced by the files in them.
    ///
    /// # Errors
    /// If a folder cannot be read or has no files for such a model.
    pub(crate) fn expand(sources: &[InputFile], input: &Input) -> Result<Self, Error> {
        let mut expanded = Self { files: Vec::new(), notes: Vec::new() };
        for source in sources {
            match source {
                InputFile::Path(path) if path.is_dir() => expanded.add_folder(path, input)?,
                source => expanded.files.push(source.clone()),
            }
        }
        Ok(expanded)
    }

    fn add_folder(&mut self, folder: &Path, input: &Input) -> Result<(), Error> {
        let images = matches!(input, Input::Images(_));
        let (files, others) = sample_files(folder, images)?;
        let kinds = if images { "PNG, JPEG or .npy files" } else { ".npy files" };
        if files.is_empty() {
            let found = format!("none among {others} files and folders");
            return Err(Error::request(folder.display(), format!("a folder with {kinds}"), found, ""));
        }
        if others > 0 {
            let other =
                if others == 1 { "1 other file or folder" } else { &format!("{others} other files and folders") };
            self.notes.push(format!("{}: {other} left out; {kinds} are read", folder.display()));
        }
        self.files.extend(files.into_iter().map(InputFile::Path));
        Ok(())
    }

    /// Calls `work` with some samples at a time, in order, and `progress` with the number of completed samples and of
    /// all samples that are known so far. Returns the files that cannot be read.
    ///
    /// # Errors
    /// The error of the first file if none can be read; an error of `work`.
    pub(crate) fn for_each_chunk(
        &self,
        input: &Input,
        batch_size: usize,
        progress: &dyn Fn(usize, usize),
        work: &mut Work,
    ) -> Result<Vec<UnreadableFile>, Error> {
        let mut failures = Vec::new();
        let (mut done, mut seen) = (0, 0);
        for chunk in self.files.chunks(batch_size * BATCHES) {
            let chunk_samples = FileSamples::read(chunk, input, &mut failures)?;
            seen += chunk.len();
            let rows: Vec<usize> = (0..chunk_samples.origins.len()).collect();
            let end = done + rows.len();
            for rows in rows.chunks(batch_size * BATCHES) {
                work(&chunk_samples.origins[rows[0]..][..rows.len()], &chunk_samples.samples.select(rows))?;
                done += rows.len();
                progress(done, end + self.files.len() - seen);
            }
        }
        if done > 0 || failures.is_empty() {
            return Ok(failures);
        }
        let more = failures.len() - 1;
        let UnreadableFile { error, .. } = failures.swap_remove(0);
        Err(if more > 0 { error.with_advice(format_args!("{more} more cannot be read")) } else { error })
    }
}

/// The values of samples: bytes of images, floats of embeddings.
#[derive(Debug, PartialEq)]
enum Values {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The samples of some files together.
struct FileSamples {
    origins: Vec<SampleOrigin>,
    samples: Samples,
}

impl FileSamples {
    fn read(sources: &[InputFile], input: &Input, failures: &mut Vec<UnreadableFile>) -> Result<Self, Error> {
        let read: Vec<Result<(Option<usize>, Values), Error>> =
            sources.par_iter().map(|source| source.read(input)).collect();
        let (mut origins, mut bytes, mut floats) = (Vec::new(), Vec::new(), Vec::new());
        for (source, result) in sources.iter().zip(read) {
            let file = source.name();
            match result {
                Err(error) => failures.push(UnreadableFile { file, error }),
                Ok((rows, values)) => {
                    match rows {
                        None => origins.push(SampleOrigin { file, row: None }),
                        Some(rows) => {
                            origins.extend((0..rows).map(|row| SampleOrigin { file: file.clone(), row: Some(row) }))
                        }
                    }
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

    /// Reads the file: the number of rows, if it is an array, and the values as the model expects them.
    fn read(&self, input: &Input) -> Result<(Option<usize>, Values), Error> {
        match (self.array()?, input) {
            (Some(array), Input::Images(preparation)) => images(&self.name(), array, preparation),
            (Some(array), Input::Embeddings { size }) => embeddings(&self.name(), array, *size),
            (None, Input::Images(preparation)) => {
                let image = match self {
                    Self::Path(path) => preparation.read(path)?,
                    Self::Content(name, bytes) => preparation.decode(name, bytes)?,
                };
                Ok((None, Values::Bytes(image)))
            }
            (None, Input::Embeddings { size }) => {
                let expected = format!("a .npy file with embeddings (N, {size})");
                let advice = "the model was trained on embeddings, not on images";
                Err(Error::request(self.name(), expected, "another file", advice))
            }
        }
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

/// Converts an array of images (N, H, W) or (N, H, W, C), of bytes or of values from 0 to 1.
fn images(name: &str, array: NpyArray, preparation: &Preparation) -> Result<(Option<usize>, Values), Error> {
    let shape = array.shape().to_vec();
    let [rows, height, width, channels] = match shape[..] {
        [rows, height, width] if height * width > 0 => [rows, height, width, 1],
        [rows, height, width, channels @ (1 | 3)] if height * width > 0 => [rows, height, width, channels],
        _ => {
            let expected = "images of the shape (N, H, W) or (N, H, W, 3)";
            let advice = "the model was trained on images; reshape the array";
            return Err(Error::request(name, expected, format!("the shape {shape:?}"), advice));
        }
    };
    let bytes = match array.element_type() {
        "|u1" => array.into_bytes()?,
        _ => bytes_of(name, &array.into_f32()?)?,
    };
    let fit = |pixels: &[u8]| preparation.of_pixels(name, [height, width, channels], pixels);
    let fitted: Vec<Vec<u8>> = bytes.par_chunks(height * width * channels).map(fit).collect::<Result<_, _>>()?;
    Ok((Some(rows), Values::Bytes(fitted.concat())))
}

fn bytes_of(name: &str, values: &[f32]) -> Result<Vec<u8>, Error> {
    if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        let advice = "divide by 255, or give an array of uint8";
        return Err(Error::request(name, "images with values from 0 to 1", value, advice));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
    Ok(values.iter().map(|value| (255.0 * value).round() as u8).collect())
}

/// Converts an array of embeddings (N, D); all values must be finite.
fn embeddings(name: &str, array: NpyArray, size: usize) -> Result<(Option<usize>, Values), Error> {
    let rows = match *array.shape() {
        [rows, columns] if columns == size => rows,
        ref shape => {
            let expected = format!("embeddings of the shape (N, {size})");
            let advice = "the model was trained on embeddings of this size";
            return Err(Error::request(name, expected, format!("the shape {shape:?}"), advice));
        }
    };
    let values = array.into_f32()?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let found = format!("{} in row {}, column {}", values[at], at / size, at % size);
        return Err(Error::failure(name, "finite values", found, "remove the row"));
    }
    Ok((Some(rows), Values::Floats(values)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use softmargin_data::Ink;
    use softmargin_data::npy_writer;

    fn images_of(side: usize) -> Input {
        Input::Images(Preparation::new(1, side, side, Ink::AsIs).unwrap())
    }

    /// The origins and values of the samples, and the unreadable files.
    type Everything = (Vec<SampleOrigin>, Vec<f32>, Vec<UnreadableFile>);

    /// Returns everything that `work` receives for some files.
    fn all(sources: &[InputFile], input: &Input) -> Result<Everything, Error> {
        let (mut origins, mut values) = (Vec::new(), Vec::new());
        let mut take = |some: &[SampleOrigin], samples: &Samples| {
            let mut batch = Vec::new();
            samples.batch_f32(&(0..samples.count()).collect::<Vec<_>>(), &mut batch)?;
            origins.extend(some.to_vec());
            values.extend(batch);
            Ok(())
        };
        let failures = InputFiles::expand(sources, input)?.for_each_chunk(input, 1, &|_, _| (), &mut take)?;
        Ok((origins, values, failures))
    }

    fn content(name: &str, bytes: &[u8]) -> InputFile {
        InputFile::Content(name.into(), bytes.to_vec())
    }

    /// A `.npy` file with an array of bytes or of single precision.
    fn npy(shape: &str, values: &Values) -> Vec<u8> {
        let (kind, content) = match values {
            Values::Bytes(bytes) => ("|u1", bytes.clone()),
            Values::Floats(values) => ("<f4", values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [NPY, &[1, 0], &length, header.as_bytes(), &content].concat()
    }

    #[test]
    fn rows_of_arrays_come_in_order_past_what_cannot_be_read() {
        let values: Vec<f32> = (0..40).map(|value| value as f32).collect();
        let array = content("a", &npy_writer::matrix(&values, 2).unwrap());
        let last = content("c", &npy_writer::matrix(&[7.0, 8.0], 2).unwrap());
        let sources = [array, content("b", b"nothing"), last];
        let (origins, read, failures) = all(&sources, &Input::Embeddings { size: 2 }).unwrap();
        assert_eq!(read, [values.as_slice(), &[7.0, 8.0]].concat());
        assert_eq!(origins.len(), 21);
        assert_eq!(origins[19], SampleOrigin { file: "a".into(), row: Some(19) });
        assert_eq!((failures.len(), failures[0].file.as_str()), (1, "b"));
    }

    #[test]
    fn nothing_that_can_be_read_is_an_error_that_counts() {
        let error = all(&[content("a", b"x"), content("b", b"y")], &images_of(8)).unwrap_err().to_string();
        assert!(error.starts_with("a: expected") && error.contains("1 more cannot be read"), "{error}");
    }

    #[test]
    fn embeddings_of_another_shape_or_not_finite_are_rejected() {
        let rejected = |values: &[f32], columns| {
            let array = content("x", &npy_writer::matrix(values, columns).unwrap());
            all(&[array], &Input::Embeddings { size: 2 }).unwrap_err().to_string()
        };
        assert!(rejected(&[1.0, 2.0, 3.0], 3).contains("(N, 2)"));
        assert!(rejected(&[1.0, 2.0, f32::NAN, 0.0], 2).contains("NaN in row 1, column 0"));
    }

    #[test]
    fn arrays_of_images_are_bytes_or_shares() {
        let read = |shape: &str, values: &Values| {
            let (origins, values, _) = all(&[content("x", &npy(shape, values))], &images_of(8))?;
            Ok::<_, Error>((origins.len(), values))
        };
        let bytes: Vec<u8> = (0..128).collect();
        let shares: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        assert_eq!(read("2, 8, 8", &Values::Bytes(bytes)).unwrap(), (2, shares.clone()));
        assert_eq!(read("2, 8, 8", &Values::Floats(shares.clone())).unwrap(), (2, shares));
        for value in [-0.1, 1.1, f32::NAN] {
            let message = read("2, 8, 8", &Values::Floats(vec![value; 128])).unwrap_err().to_string();
            assert!(message.contains("from 0 to 1"), "{message}");
        }
        assert_eq!(read("1, 8, 8, 3", &Values::Bytes(vec![51; 192])).unwrap(), (1, vec![0.2; 64]));
        for (shape, count) in [("128,", 128), ("2, 64", 128), ("1, 8, 8, 2", 128), ("3, 0, 8", 0)] {
            let message = read(shape, &Values::Bytes(vec![0; count])).unwrap_err().to_string();
            assert!(message.contains("(N, H, W)"), "{message}");
        }
    }
}
