//! A data set and the input of a model trained with it.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::images::Preparation;
use crate::labeled_samples::LabeledSamples;
use crate::load_options::LoadOptions;
use crate::sample_store::SampleKind;
use crate::split::Undivided;

/// Samples of known classes, divided into training, validation and test sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// `digits`, or the name of the folder.
    pub name: String,
    /// The kind and the origin of the data, in a sentence.
    pub description: String,
    /// The samples in the test, validation and training sets, in a sentence.
    pub split: String,
    /// The names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// The training set.
    pub train: LabeledSamples,
    /// The validation set, by which the best model is chosen, if there is one; of the same shape.
    pub validation: Option<LabeledSamples>,
    /// The test set, used once at the end; of the same shape.
    pub test: LabeledSamples,
    /// The input of a model of these data.
    pub input: Input,
    /// Notes for the reader of a report: files left out, classes without samples.
    pub notes: Vec<String>,
}

/// The input of a model; saved with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// Images, and the preparation of an image file.
    Images(Preparation),
    /// Embeddings that another model has made.
    Embeddings {
        /// The embedding dimension D.
        size: usize,
    },
}

impl Input {
    /// Returns channels, rows and columns; for embeddings their dimension, 1 and 1.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Input::Images(preparation) => preparation.shape(),
            Input::Embeddings { size } => [*size, 1, 1],
        }
    }
}

impl Dataset {
    /// Creates a data set of samples that come without parts of their own, such as those of a new
    /// [`SampleStore`](crate::SampleStore): divided by the rules of `options`, for each class in the order of the rows.
    /// The sizing and the memory limit have no effect.
    ///
    /// # Errors
    /// If the samples do not have the kind and the shape of `input`, if there are fewer than two classes, if a
    /// label is not an index into `classes`, or if a rule holds nothing out.
    ///
    /// ```
    /// use softmargin_data::{Dataset, Input, LabeledSamples, LoadOptions, Samples};
    ///
    /// let embeddings = Samples::of_embeddings((0..40).map(|value| value as f32).collect(), 2)?;
    /// let labeled = LabeledSamples::new(embeddings, (0..20).map(|row| row % 2).collect())?;
    /// let classes = vec!["even".to_owned(), "odd".to_owned()];
    /// let input = Input::Embeddings { size: 2 };
    /// let data = Dataset::of_samples("rows", "20 rows", classes, input, &labeled, &LoadOptions::default())?;
    /// assert_eq!((data.train.len(), data.test.len()), (16, 4));
    /// # Ok::<(), softmargin_data::Error>(())
    /// ```
    pub fn of_samples(
        name: &str,
        description: &str,
        classes: Vec<String>,
        input: Input,
        samples: &LabeledSamples,
        options: &LoadOptions,
    ) -> Result<Dataset, Error> {
        check_samples(name, &classes, input, samples)?;
        let division = Undivided {
            source: name.to_owned(),
            labels: samples.labels(),
            own_test: None,
            own_validation: None,
            sample: samples.samples().kind().noun(),
            order: "the order of the rows",
        }
        .divide(options.test_split, options.validation_split)?;
        let (train, validation, test) = division.of(samples);
        Ok(Dataset {
            name: name.to_owned(),
            description: description.to_owned(),
            split: division.sentence,
            classes,
            train,
            validation,
            test,
            input,
            notes: division.notes,
        })
    }

    /// Hashes the names of the samples in each part, to 16 hexadecimal digits: equal when the same samples, by name,
    /// are in the same parts.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // FNV-1a: protection against deliberate collisions is not needed.
        const START: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = START;
        let mut add = |bytes: &[u8]| {
            bytes.iter().for_each(|&byte| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        };
        for part in [Some(&self.train), self.validation.as_ref(), Some(&self.test)] {
            if let Some(samples) = part.map(LabeledSamples::samples) {
                (0..samples.count()).for_each(|row| add(format!("{}\0", samples.name(row)).as_bytes()));
            }
            add(&[1]);
        }
        format!("{hash:016x}")
    }
}

/// Checks that samples fit the input and the classes.
fn check_samples(name: &str, classes: &[String], input: Input, samples: &LabeledSamples) -> Result<(), Error> {
    let kind = match input {
        Input::Images(_) => SampleKind::Image,
        Input::Embeddings { .. } => SampleKind::Embedding,
    };
    let describe = |kind: SampleKind, shape: [usize; 3]| format!("{}s of the shape {shape:?}", kind.noun());
    let found = (samples.samples().kind(), samples.samples().shape());
    if found != (kind, input.shape()) {
        let expected = describe(kind, input.shape());
        return Err(Error::request(name, expected, describe(found.0, found.1), "make input and samples fit"));
    }
    if classes.len() < 2 {
        return Err(Error::request(name, "two or more classes", classes.len(), "a classifier needs a choice"));
    }
    match samples.labels().iter().position(|&label| label as usize >= classes.len()) {
        Some(row) => {
            let expected = format!("labels below {}, the number of classes", classes.len());
            let found = format!("{} in row {row}", samples.labels()[row]);
            Err(Error::request(name, expected, found, "name every class"))
        }
        None => Ok(()),
    }
}
