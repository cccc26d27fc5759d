//! Reads many items in parallel and takes the results in order.

use rayon::prelude::*;

use crate::error::Error;

/// Results held at a time: enough to keep all cores busy, few enough to take little memory.
const CHUNK: usize = 1024;

/// Reads all `items` in parallel and passes the results to `take` one by one, in the order of the items.
///
/// The reported error does not depend on the threads: it is that of the first item that fails. The rest is read
/// nevertheless, so that the message can say how many more files fail.
pub(crate) fn read_in_order<I: Sync, T: Send>(
    items: &[I],
    read: impl Fn(&I) -> Result<T, Error> + Sync,
    mut take: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut first = None;
    let mut more = 0_usize;
    for chunk in items.chunks(CHUNK) {
        let results: Vec<Result<T, Error>> = chunk.par_iter().map(&read).collect();
        for result in results {
            match result {
                Ok(value) if first.is_none() => take(value)?,
                Ok(_) => {}
                Err(error) if first.is_none() => first = Some(error),
                Err(_) => more += 1,
            }
        }
    }
    match (first, more) {
        (None, _) => Ok(()),
        (Some(error), 0) => Err(error),
        (Some(error), more) => Err(error.with_advice(format_args!("{more} more of the {} files fail", items.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_across_chunks() {
        let items: Vec<usize> = (0..3 * CHUNK + 5).collect();
        let mut taken = Vec::new();
        let take = |value| {
            taken.push(value);
            Ok(())
        };
        read_in_order(&items, |&item| Ok(item * 2), take).unwrap();
        assert_eq!(taken, items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_is_reported_with_the_number_of_the_others() {
        let items: Vec<usize> = (0..3 * CHUNK).collect();
        let read = |&item: &usize| {
            if item % 1000 == 7 { Err(Error::failure(item, "a", "b", "c")) } else { Ok(()) }
        };
        let error = read_in_order(&items, read, Ok).unwrap_err();
        assert_eq!(error.to_string(), "7: expected a, found b; c; 3 more of the 3072 files fail");
        let error = read_in_order(&items[..500], read, Ok).unwrap_err();
        assert_eq!(error.to_string(), "7: expected a, found b; c");
    }
}
