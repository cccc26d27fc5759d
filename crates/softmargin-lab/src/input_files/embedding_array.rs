//! Arrays of embeddings.

use softmargin_data::NpyArray;
use softmargin_data::error::Error;

/// Returns the number of rows and the values of an array of embeddings (N, D); all values must be finite.
///
/// # Errors
/// If the array has another shape, or other values than finite floats.
pub(super) fn read(name: &str, array: NpyArray, size: usize) -> Result<(usize, Vec<f32>), Error> {
    let rows = match *array.shape() {
        [rows, columns] if columns == size => rows,
        ref shape => {
            let expected = format!("embeddings of the shape (N, {size})");
            return Err(Error::request(name, expected, format!("the shape {shape:?}"), advice(shape, size)));
        }
    };
    let values = array.into_f32()?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let found = format!("{} in row {}, column {}", values[at], at / size, at % size);
        return Err(Error::failure(name, "finite values", found, "remove the row"));
    }
    Ok((rows, values))
}

fn advice(shape: &[usize], size: usize) -> &'static str {
    match *shape {
        [columns] if columns == size => "one embedding is array[None]",
        [rows, _] if rows == size => "embeddings in columns are array.T",
        _ => "the model was trained on embeddings of this size",
    }
}
