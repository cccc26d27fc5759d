//! Progress of reading and of inference, on standard error: nothing for the first two seconds, then a live line with
//! the remaining time on a terminal, or a line every ten seconds.

use crate::answer::say;
use crate::live_line::LiveLine;
use crate::pace::Pace;
use crate::terminal::stderr_width;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use softmargin_lab::data::wording::{counted, grouped};
use softmargin_lab::predictor::Progress;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SILENT_FOR: Duration = Duration::from_secs(2);
/// The interval of lines without a terminal.
pub(crate) const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Returns a callback that takes the number of completed samples and of all samples. Until its first call, the data are
/// being read. With `quiet`, it prints nothing.
pub(crate) fn waiting(quiet: bool) -> Progress {
    let state = RefCell::new(Waiting::new(quiet));
    Rc::new(move |done, all| {
        if !quiet {
            state.borrow_mut().tell(done, all);
        }
    })
}

struct Waiting {
    reading: Option<Reading>,
    terminal: bool,
    start: Instant,
    pace: Pace,
    said: Option<Instant>,
    line: Option<LiveLine>,
}

impl Waiting {
    fn new(quiet: bool) -> Self {
        Self {
            reading: Reading::begin(quiet),
            terminal: stderr_width().is_some(),
            start: Instant::now(),
            pace: Pace::new(),
            said: None,
            line: None,
        }
    }

    fn tell(&mut self, done: usize, all: usize) {
        self.reading = None;
        self.pace.add(done);
        if self.start.elapsed() < SILENT_FOR {
            return;
        }
        let left = self.pace.left(all);
        if self.terminal {
            let line = self.line.get_or_insert_with(|| LiveLine::new(all));
            if done >= all {
                line.clear();
            } else {
                let left = left.map(|left| format!("{:#} left", HumanDuration(left))).unwrap_or_default();
                line.show(done, &format!("{}/{} samples", grouped(done), grouped(all)), &[left]);
            }
        } else if done < all && self.said.is_none_or(|said| said.elapsed() >= PLAIN_EVERY) {
            self.said = Some(Instant::now());
            let left = left.map(|left| format!(", {} left", HumanDuration(left))).unwrap_or_default();
            say(&format!("{} of {}{left}", grouped(done), counted(all, "sample")));
        }
    }
}

/// Reports that the data are being read, from two seconds on until it is dropped.
pub(crate) struct Reading {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    /// Starts to report. Returns nothing with `quiet`, or if the system has no thread to spare.
    pub(crate) fn begin(quiet: bool) -> Option<Self> {
        if quiet {
            return None;
        }
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().spawn(move || report_reading(&ended)).ok()?;
        Some(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end = None;
        // The line of the thread is gone before anything else is printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn report_reading(ended: &Receiver<()>) {
    let start = Instant::now();
    let goes_on = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !goes_on(SILENT_FOR) {
        return;
    }
    if stderr_width().is_some() {
        let spinner = ProgressBar::new_spinner().with_elapsed(SILENT_FOR);
        if let Ok(style) = ProgressStyle::with_template("{spinner} reading the data  {elapsed}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(200));
        let _ = ended.recv();
        spinner.finish_and_clear();
        return;
    }
    say("reading the data");
    while goes_on(PLAIN_EVERY) {
        say(&format!("reading the data, {} so far", HumanDuration(start.elapsed())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_at_once_when_it_is_dropped() {
        let start = Instant::now();
        drop(Reading::begin(false));
        assert!(start.elapsed() < SILENT_FOR);
        assert!(Reading::begin(true).is_none());
    }
}
