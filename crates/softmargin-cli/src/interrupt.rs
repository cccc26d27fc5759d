//! Ctrl-C, and being told to end: the first asks training to stop, a second ends the process at once.

use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ASKED: AtomicBool = AtomicBool::new(false);

/// When the first interrupt came.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Programs that stop a whole group of processes send their signal twice. So soon nobody presses a key again.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

/// What a shell expects of a process that an interrupt has ended.
const INTERRUPTED: i32 = 130;

/// From here on the first interrupt is only noted. Says whether that could be arranged; where not, it ends the process as
/// ever.
pub(crate) fn listen() -> bool {
    let heard = || {
        let first = FIRST.get_or_init(Instant::now);
        if ASKED.swap(true, Ordering::SeqCst) && first.elapsed() > ONE_SIGNAL {
            exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(heard).is_ok()
}

/// Whether there was an interrupt.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
