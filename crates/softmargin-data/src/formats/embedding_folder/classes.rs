//! The classes of labels that are numbers or names.

use std::path::Path;

use crate::error::Error;
use crate::npy::Labels;

/// The classes of the training set, in the order of their numbers or names.
pub(super) enum Classes {
    Numbers(Vec<u64>),
    Names(Vec<String>),
}

impl Classes {
    /// Returns the classes of the labels in the file `path`.
    ///
    /// # Errors
    /// If there is one class only.
    pub(super) fn of(labels: &Labels, path: &Path) -> Result<Classes, Error> {
        let classes = match labels {
            Labels::Numbers(numbers) => Classes::Numbers(distinct(numbers)),
            Labels::Names(names) => Classes::Names(distinct(names)),
        };
        if classes.count() == 1 {
            let found = format!("one class, {}", classes.names().join(", "));
            let advice = "a classifier needs a choice";
            return Err(Error::failure(path.display(), "two or more classes", found, advice));
        }
        Ok(classes)
    }

    /// Returns the number of classes.
    pub(super) fn count(&self) -> usize {
        match self {
            Classes::Numbers(numbers) => numbers.len(),
            Classes::Names(names) => names.len(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Classes::Numbers(numbers) => numbers.iter().map(u64::to_string).collect(),
            Classes::Names(names) => names.clone(),
        }
    }

    /// Returns the index of the class of each label in the file `path`.
    ///
    /// # Errors
    /// If a label is not among the classes.
    pub(super) fn indices(&self, labels: &Labels, path: &Path) -> Result<Vec<u32>, Error> {
        let unknown = |found: String| {
            let expected = "labels of classes in the training set";
            Error::failure(path.display(), expected, found, "take both from one data set")
        };
        match (self, labels) {
            (Classes::Numbers(classes), Labels::Numbers(labels)) => indices_of(classes, labels).map_err(unknown),
            (Classes::Names(classes), Labels::Names(labels)) => indices_of(classes, labels).map_err(unknown),
            (Classes::Numbers(_), _) => Err(unknown("strings, but numbers in the training set".to_owned())),
            (Classes::Names(_), _) => Err(unknown("numbers, but strings in the training set".to_owned())),
        }
    }
}

fn distinct<T: Ord + Clone>(labels: &[T]) -> Vec<T> {
    let mut distinct = labels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// Returns the index of each label among the classes, or a description of the first without one.
fn indices_of<T: Ord + std::fmt::Debug>(classes: &[T], labels: &[T]) -> Result<Vec<u32>, String> {
    let index = |(row, label): (usize, &T)| {
        let index = classes.binary_search(label).ok().and_then(|index| u32::try_from(index).ok());
        index.ok_or_else(|| format!("{label:?} in row {row}"))
    };
    labels.iter().enumerate().map(index).collect()
}
