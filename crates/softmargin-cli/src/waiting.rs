//! Progress of inference, on standard error: nothing for the first two seconds, then a bar with the remaining time on a
//! terminal, or a line every ten seconds.

use crate::answer::say;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use softmargin_lab::predictor::Progress;
use std::cell::RefCell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::{Duration, Instant};

const SILENT_FOR: Duration = Duration::from_secs(2);
/// The interval of lines without a terminal.
pub(crate) const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Returns a callback that takes the number of completed samples and of all samples. With `quiet`, it prints nothing.
pub(crate) fn waiting(quiet: bool) -> Progress {
    let state = RefCell::new(Waiting::new(std::io::stderr().is_terminal()));
    Rc::new(move |done, all| {
        if !quiet {
            state.borrow_mut().tell(done, all);
        }
    })
}

struct Waiting {
    terminal: bool,
    start: Instant,
    said: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Waiting {
    fn new(terminal: bool) -> Self {
        Self { terminal, start: Instant::now(), said: None, bar: None }
    }

    fn tell(&mut self, done: usize, all: usize) {
        if self.start.elapsed() < SILENT_FOR {
            return;
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| bar(all));
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            if done >= all {
                bar.finish_and_clear();
            }
        } else if done < all && self.said.is_none_or(|said| said.elapsed() >= PLAIN_EVERY) {
            self.said = Some(Instant::now());
            let left = HumanDuration(left(self.start.elapsed(), done, all));
            say(&format!("{} of {} samples, {left} left", HumanCount(done as u64), HumanCount(all as u64)));
        }
    }
}

fn bar(all: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(all as u64), ProgressDrawTarget::stderr());
    bar.set_style(style("{human_pos}/{human_len} samples {wide_bar:.blue/dim}  {eta:>4} left"));
    bar
}

/// Returns the style of a bar.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─")
}

/// Returns the remaining time at the speed so far.
pub(crate) fn left(elapsed: Duration, done: usize, all: usize) -> Duration {
    let rest = all.saturating_sub(done) as f64 / done.max(1) as f64;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * rest).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        assert_eq!(left(Duration::from_secs(30), 100, 400), Duration::from_secs(90));
        assert_eq!(left(Duration::from_secs(30), 400, 400), Duration::ZERO);
        assert_eq!(left(Duration::from_secs(30), 0, 0), Duration::ZERO);
    }
}
