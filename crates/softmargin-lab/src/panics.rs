//! Panics as errors, around work whose failure must not lose what is already finished.

use softmargin_data::error::Error;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does some work; a panic becomes an error. Values that the work has changed must not be used after an error.
///
/// # Errors
/// As `work`, and if it panics.
pub(crate) fn panic_to_error<T>(subject: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let advice = "this is a fault of softmargin: please report it";
        Err(Error::failure(subject, "no panic", format!("the panic '{}'", message(&*panic)), advice))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(panic_to_error("work", || Ok(1)).unwrap(), 1);
        let panics: [fn() -> Result<(), Error>; 2] = [|| panic!("plain"), || panic!("number {}", 7)];
        for (panics, text) in panics.into_iter().zip(["plain", "number 7"]) {
            let error = panic_to_error("work", panics).unwrap_err();
            assert!(error.exit_code() == 1 && error.to_string().contains(text), "{error}");
        }
    }
}
