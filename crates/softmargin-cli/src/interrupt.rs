//! Ctrl-C, and being told to end: the first asks training to stop, a second ends the process at once.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// What a shell expects of a process that an interrupt has ended.
const INTERRUPTED: i32 = 130;

/// From here on the first interrupt is only noted. Says whether that could be arranged; where not, it ends the process as
/// ever.
pub(crate) fn listen() -> bool {
    let heard = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(heard).is_ok()
}

/// Whether there was an interrupt.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
