//! Prepares results on a background thread, a few ahead of their use.

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::error::Error;

/// Most results that wait: enough for a slow batch now and then, few enough to take little memory.
const AHEAD: usize = 3;

/// Makes the results 0 to `count` - 1 on a background thread, a few ahead, and passes them to `take` in that order.
///
/// `make` may itself use all threads. It is called for one number after the other, so the results do not depend on the
/// number of threads.
///
/// # Errors
/// The first error of either; results made ahead are dropped, and no more are made.
///
/// # Panics
/// If `make` or `take` panics; the background thread has ended by then.
///
/// ```
/// use softmargin_data::ahead;
///
/// let mut taken = Vec::new();
/// ahead(4, |number| Ok(number * number), |number, square| {
///     taken.push((number, square));
///     Ok(())
/// })?;
/// assert_eq!(taken, [(0, 0), (1, 1), (2, 4), (3, 9)]);
/// # Ok::<(), softmargin_data::Error>(())
/// ```
pub fn ahead<T: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<T, Error> + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let make = &make;
    thread::scope(|scope| {
        // `make` holds one more result, and `take` another.
        let (sender, receiver) = sync_channel(AHEAD - 1);
        let maker = scope.spawn(move || {
            for number in 0..count {
                let result = make(number);
                let failed = result.is_err();
                // A closed channel means that `take` has failed.
                if sender.send(result).is_err() || failed {
                    break;
                }
            }
        });
        let taken = receiver.iter().enumerate().try_for_each(|(number, result)| take(number, result?));
        // Ends a send that is waiting.
        drop(receiver);
        maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn failure(number: usize) -> Error {
        Error::failure(number, "a", "b", "")
    }

    #[test]
    fn results_come_in_order_with_many_threads() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(16).build().unwrap();
        let make = |number: usize| {
            // Later numbers are quicker.
            thread::sleep(Duration::from_micros(300_u64.saturating_sub(number as u64)));
            Ok(pool.install(|| rayon::join(|| number, || 2 * number)))
        };
        let mut taken = Vec::new();
        ahead(300, make, |number, made| {
            taken.push((number, made));
            Ok(())
        })
        .unwrap();
        assert_eq!(taken, (0..300).map(|number| (number, (number, 2 * number))).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_than_a_few_are_ahead() {
        let made = AtomicUsize::new(0);
        let make = |number| {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(number)
        };
        let mut most = 0;
        ahead(50, make, |number, _| {
            thread::sleep(Duration::from_millis(1));
            most = most.max(made.load(Ordering::SeqCst) - number);
            Ok(())
        })
        .unwrap();
        assert!((2..=AHEAD + 2).contains(&most), "{most}");
    }

    #[test]
    fn an_error_of_either_ends_both() {
        let made = AtomicUsize::new(0);
        let make = |number| {
            made.fetch_add(1, Ordering::SeqCst);
            if number == 20 { Err(failure(number)) } else { Ok(number) }
        };
        let mut taken = 0;
        let error = ahead(1_000_000, make, |_, _| {
            taken += 1;
            Ok(())
        });
        assert!(error.unwrap_err().to_string().starts_with("20:"));
        assert_eq!((taken, made.load(Ordering::SeqCst)), (20, 21));
        let error = ahead(1_000_000, make, |number, _| if number == 3 { Err(failure(number)) } else { Ok(()) });
        assert!(error.unwrap_err().to_string().starts_with("3:"));
    }

    #[test]
    fn a_panic_of_either_ends_both() {
        let run = |maker_panics: bool| {
            let make = |number| {
                assert!(!maker_panics || number < 5, "the maker");
                Ok(number)
            };
            let take = |number, _| {
                assert!(maker_panics || number < 5, "the taker");
                Ok(())
            };
            catch_unwind(AssertUnwindSafe(|| ahead(1_000_000, make, take)))
        };
        assert!(run(true).is_err());
        assert!(run(false).is_err());
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        ahead(0, |_| -> Result<(), Error> { panic!("asked for nothing") }, |_, ()| Ok(())).unwrap();
    }
}
