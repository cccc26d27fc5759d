//! The file of names beside an array, as `embed` writes it and data of embeddings have it.

use softmargin_data::error::Error;
use softmargin_data::read_row_names;
use std::path::{Path, PathBuf};

/// Returns the names of the rows of an array, if there is a file of names beside it.
///
/// # Errors
/// If the file of names cannot be read or does not have one name for each row.
pub(super) fn row_names(array: &Path, rows: usize) -> Result<Option<Vec<String>>, Error> {
    names_file(array).map(|path| read_row_names(&path, array, rows)).transpose()
}

/// Finds the file of names: `test-names.json` beside `test-embeddings.npy`, `x.names.json` or `x-names.json` beside
/// `x.npy`.
fn names_file(array: &Path) -> Option<PathBuf> {
    let stem = array.file_stem()?.to_str()?;
    let of_data = stem.strip_suffix("embeddings").map(|prefix| format!("{prefix}names.json"));
    let names = of_data.into_iter().chain([format!("{stem}.names.json"), format!("{stem}-names.json")]);
    names.map(|name| array.with_file_name(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_an_array_lie_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for name in ["names.json", "test-names.json", "x.names.json", "y-names.json"] {
            std::fs::write(path(name), "[]").unwrap();
        }
        let found = |array: &str| names_file(&path(array));
        assert_eq!(found("embeddings.npy"), Some(path("names.json")));
        assert_eq!(found("test-embeddings.npy"), Some(path("test-names.json")));
        assert_eq!(found("x.npy"), Some(path("x.names.json")));
        assert_eq!(found("y.npy"), Some(path("y-names.json")));
        assert_eq!(found("z.npy"), None);
    }
}
