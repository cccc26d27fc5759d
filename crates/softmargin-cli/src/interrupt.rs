//! Ctrl-C and termination signals: the first stops training, a second one ends the process at once.

use crate::ignored_signals::IgnoredSignals;
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ASKED: AtomicBool = AtomicBool::new(false);

/// The time of the first interrupt.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Programs that stop a process group may send a signal twice. A second signal within this time counts as the first.
const ONE_SIGNAL: Duration = Duration::from_millis(200);

/// The exit code of a process that was ended by an interrupt, by the convention of shells.
const INTERRUPTED: i32 = 130;

/// Catches interrupts from now on, except those that are ignored, as under `nohup`. Returns whether that succeeded; if
/// not, an interrupt ends the process as usual.
pub(crate) fn listen() -> bool {
    let heard = || {
        let first = FIRST.get_or_init(Instant::now);
        if ASKED.swap(true, Ordering::SeqCst) && first.elapsed() > ONE_SIGNAL {
            exit(INTERRUPTED);
        }
    };
    let ignored = IgnoredSignals::now();
    let listens = ctrlc::set_handler(heard).is_ok();
    ignored.restore();
    listens
}

/// Returns whether there was an interrupt.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
