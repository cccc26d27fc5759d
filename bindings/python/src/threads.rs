//! The threads that kernels run on.
//!
//! Threads do not survive a fork: to a child the pool of its parent is one that never answers. A child has a pool of its own
//! for each thread that calls.

use pyo3::Python;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::cell::RefCell;
use std::sync::OnceLock;

/// The process that has loaded the extension, whose pool is that of the whole process.
static FIRST: OnceLock<u32> = OnceLock::new();

thread_local! {
    /// The pool of this thread in a child, and the process that it belongs to.
    static OWN: RefCell<Option<(u32, ThreadPool)>> = const { RefCell::new(None) };
}

/// Notes which process has loaded the extension.
pub(crate) fn loaded() {
    FIRST.get_or_init(std::process::id);
}

/// Computes on the threads of this process, without the interpreter's lock.
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
            // A pool that was inherited has no threads: to end it would be to wait for them.
            std::mem::forget(std::mem::replace(own, fresh.map(|pool| (process, pool))));
        }
        match own {
            Some((_, pool)) => pool.install(compute),
            None => compute(),
        }
    })
}
