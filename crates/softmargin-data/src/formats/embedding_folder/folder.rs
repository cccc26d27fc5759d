//! Reads a folder of embeddings: pairs, classes, division, samples.

use std::path::{Path, PathBuf};

use super::classes::Classes;
use super::pair::{EMBEDDINGS, MemoryUse, OpenPair, Pair};
use crate::dataset::{Dataset, Input};
use crate::error::Error;
use crate::labeled_samples::LabeledSamples;
use crate::load_options::{LoadOptions, Sizing};
use crate::split::{Division, HoldOut, Undivided};
use crate::wording::counted;

/// The pairs of files of a folder.
#[derive(Debug)]
pub(crate) struct EmbeddingFolder {
    folder: PathBuf,
    /// The pair to train with, of which samples are held out where there are no other pairs.
    train: Pair,
    validation: Option<Pair>,
    test: Option<Pair>,
}

impl EmbeddingFolder {
    /// Finds the pairs, if the folder has one of their files.
    ///
    /// # Errors
    /// If one file of a pair is missing, or there are none or two pairs to train with.
    pub(crate) fn find(folder: &Path) -> Result<Option<EmbeddingFolder>, Error> {
        let plain = Pair::find(folder, "", "embedding")?;
        let named = Pair::find(folder, "train-", "train")?;
        let validation = Pair::find(folder, "validation-", "validation")?;
        let test = Pair::find(folder, "test-", "test")?;
        let reject = |found: &str| {
            let expected = format!("either {EMBEDDINGS} or train-{EMBEDDINGS}");
            Err(Error::request(folder.display(), expected, found, "keep the one for the training set"))
        };
        match (plain, named) {
            (Some(_), Some(_)) => reject("both"),
            (None, None) if validation.is_some() || test.is_some() => reject("neither"),
            (None, None) => Ok(None),
            (Some(train), None) | (None, Some(train)) => {
                Ok(Some(EmbeddingFolder { folder: folder.to_owned(), train, validation, test }))
            }
        }
    }

    /// Reads the data set.
    ///
    /// # Errors
    /// If a file is unreadable or broken, the files do not fit each other, or a split rule does not fit them.
    pub(crate) fn load(self, name: String, options: &LoadOptions) -> Result<Dataset, Error> {
        if options.sizing != Sizing::Automatic {
            let advice = "leave the image size out";
            return Err(Error::request(self.folder.display(), "images, which have a size", "embeddings", advice));
        }
        // Without validation, the validation pair is left out.
        let wanted = options.validation_split != Some(HoldOut::None);
        let train = self.train.open()?;
        let open = |pair: Option<&Pair>| pair.map(|pair| pair.open_beside(&train)).transpose();
        let (validation, test) = (open(self.validation.as_ref().filter(|_| wanted))?, open(self.test.as_ref())?);
        let classes = Classes::of(&train.labels, &train.labels_path)?;
        let labels = classes.indices(&train.labels, &train.labels_path)?;
        let division = Undivided {
            source: self.folder.display().to_string(),
            labels: &labels,
            own_test: test.as_ref().map(|_| format!("test-{EMBEDDINGS}")),
            own_validation: validation.as_ref().map(|_| format!("validation-{EMBEDDINGS}")),
            sample: "embedding",
            order: "the order of the rows",
        }
        .divide(options.test_split, options.validation_split)?;
        build(name, division, &classes, LabeledPair { pair: train, labels }, [validation, test], options)
    }
}

/// The training pair with the class of each row.
struct LabeledPair {
    pair: OpenPair,
    labels: Vec<u32>,
}

fn build(
    name: String,
    division: Division,
    classes: &Classes,
    LabeledPair { pair: train, labels }: LabeledPair,
    [validation, test]: [Option<OpenPair>; 2],
    options: &LoadOptions,
) -> Result<Dataset, Error> {
    let parts = || [Some(&train), validation.as_ref(), test.as_ref()].into_iter().flatten();
    let count: usize = parts().map(OpenPair::count).sum();
    let memory = MemoryUse { all: parts().map(OpenPair::bytes).fold(0, u64::saturating_add), limit: options.memory() };
    let size = train.size();
    let mut notes = division.notes.clone();
    let mut beside = |pair: Option<OpenPair>| pair.map(|pair| pair.labeled(classes, memory, &mut notes)).transpose();
    let (validation, test) = (beside(validation)?, beside(test)?);
    let all = LabeledSamples::new(train.into_samples(memory)?, labels)?;
    notes.extend(all.samples().note_of_streaming());
    let (train, held_out, tests) = division.of(&all);
    Ok(Dataset {
        description: format!(
            "{} of dimension {size}, {}",
            counted(count, "embedding"),
            counted(classes.count(), "class")
        ),
        name,
        split: division.sentence,
        classes: classes.names(),
        train,
        validation: validation.or(held_out),
        test: test.unwrap_or(tests),
        input: Input::Embeddings { size },
        notes,
    })
}
