//! The threads of the kernels.
//!
//! Threads do not survive a fork: in a child process the parent's pool would never answer. A child has its own pool for
//! each thread that calls.

use pyo3::Python;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::RefCell;
use std::sync::OnceLock;

/// The process that loaded the extension, which uses the global pool.
static FIRST: OnceLock<u32> = OnceLock::new();

thread_local! {
    /// The pool of this thread in a child process, and that process.
    static OWN: RefCell<Option<(u32, ThreadPool)>> = const { RefCell::new(None) };
}

/// Records the process that loaded the extension.
pub(crate) fn loaded() {
    FIRST.get_or_init(std::process::id);
}

/// Runs a computation on the threads of this process, with the GIL released.
pub(crate) fn compute<R: Send>(py: Python<'_>, compute: impl FnOnce() -> R + Send) -> R {
    py.detach(|| on_own_threads(compute))
}

fn on_own_threads<R: Send>(compute: impl FnOnce() -> R + Send) -> R {
    let process = std::process::id();
    if FIRST.get().is_none_or(|first| *first == process) {
        return compute();
    }
    OWN.with_borrow_mut(|own| {
        if own.as_ref().is_none_or(|(owner, _)| *owner != process) {
            let threads = ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build();
            let alone = || ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
            let fresh = threads.or_else(|_| alone()).ok();
            // An inherited pool has no threads: dropping it would wait for them forever.
            std::mem::forget(std::mem::replace(own, fresh.map(|pool| (process, pool))));
        }
        match own {
            Some((_, pool)) => pool.install(compute),
            None => compute(),
        }
    })
}
