//! Signals that were ignored when the process began, as `nohup` and shells arrange it: they stay ignored.
//!
//! The library that catches interrupts takes SIGINT, SIGTERM and SIGHUP together. A run under `nohup` would then end
//! with its terminal.

/// The signals that end a run.
#[cfg(unix)]
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The signals that are ignored now.
pub(crate) struct IgnoredSignals(#[cfg(unix)] Vec<libc::c_int>);

#[cfg(unix)]
#[expect(unsafe_code, reason = "the disposition of a signal is read and set by system calls only")]
impl IgnoredSignals {
    /// Returns the signals that end a run and are ignored now.
    pub(crate) fn now() -> Self {
        let is_ignored = |&signal: &libc::c_int| {
            // SAFETY: all zeros is a valid `sigaction`: integers, and on Linux an optional function pointer, which is
            // then `None`. The call only writes the current action to it, and changes none, since the new action is null.
            unsafe {
                let mut current: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &raw mut current) == 0
                    && current.sa_sigaction == libc::SIG_IGN
            }
        };
        Self(SIGNALS.into_iter().filter(is_ignored).collect())
    }

    /// Ignores them again, after a handler was installed.
    pub(crate) fn restore(&self) {
        for &signal in &self.0 {
            // SAFETY: `SIG_IGN` is a valid disposition of these signals, and no handler runs because of it.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

#[cfg(not(unix))]
impl IgnoredSignals {
    pub(crate) fn now() -> Self {
        Self()
    }

    pub(crate) fn restore(&self) {}
}
