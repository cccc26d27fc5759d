//! The files of a request, read some at a time.

use super::file_samples::FileSamples;
use super::folder_walk::FolderWalk;
use super::input_file::{InputFile, SampleOrigin, UnreadableFile};
use softmargin_data::error::Error;
use softmargin_data::wording::counted;
use softmargin_data::{Input, Samples};
use std::path::Path;

/// Input files; folders are replaced by the files in them and in their sub-folders.
pub(crate) struct InputFiles {
    files: Vec<InputFile>,
    /// The sub-folders that cannot be read.
    failures: Vec<UnreadableFile>,
    /// Remarks on the folders.
    pub(crate) notes: Vec<String>,
}

/// The work on some samples and their origins.
pub(super) type Work<'a> = dyn FnMut(&[SampleOrigin], &Samples) -> Result<(), Error> + 'a;

/// The number of batches that are read together.
const BATCHES: usize = 8;

impl InputFiles {
    /// Lists the files of all sources: folders are replaced by the files in them and in their sub-folders.
    ///
    /// # Errors
    /// If a folder cannot be read or has no files for such a model.
    pub(crate) fn expand(sources: &[InputFile], input: &Input) -> Result<Self, Error> {
        let mut expanded = Self { files: Vec::new(), failures: Vec::new(), notes: Vec::new() };
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
        let FolderWalk { files, left_out, notes, failures } = FolderWalk::through(folder, images)?;
        let kinds = if images { "PNG, JPEG or .npy files" } else { ".npy files" };
        if files.is_empty() {
            let found = format!("none among {}", counted(left_out, "file"));
            return Err(Error::request(folder.display(), format!("a folder with {kinds}"), found, ""));
        }
        if left_out > 0 {
            let other = counted(left_out, "other file");
            self.notes.push(format!("{}: {other} left out; {kinds} are read", folder.display()));
        }
        self.notes.extend(notes);
        self.failures.extend(failures);
        self.files.extend(files.into_iter().map(InputFile::Path));
        Ok(())
    }

    /// Calls `work` with some samples at a time, in order, and `progress` with the number of completed samples and of
    /// all samples that are known so far. Returns the files that cannot be read.
    ///
    /// # Errors
    /// The error of the first file if none can be read; an error of `work`.
    pub(crate) fn for_each_chunk(
        &mut self,
        input: &Input,
        batch_size: usize,
        progress: &dyn Fn(usize, usize),
        work: &mut Work,
    ) -> Result<Vec<UnreadableFile>, Error> {
        let mut failures = std::mem::take(&mut self.failures);
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
