//! Names of samples: listed one by one, or numbered.

/// Names of the samples of a store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SampleNames {
    /// One for each row.
    Listed(Vec<String>),
    /// A word, to which the number of the row is added.
    Numbered(&'static str),
}

impl SampleNames {
    /// Returns the name of the sample `row`.
    pub(crate) fn of(&self, row: usize) -> String {
        match self {
            SampleNames::Listed(names) => names[row].clone(),
            SampleNames::Numbered(word) => format!("{word} {row}"),
        }
    }
}
