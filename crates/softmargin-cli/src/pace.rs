//! Speed and remaining time of a long computation, estimated from its recent progress.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that an estimate looks back: long enough to include the validation between short epochs.
const WINDOW: Duration = Duration::from_secs(30);
/// Observations closer to each other than this are merged.
const SPACING: Duration = Duration::from_millis(100);
/// The shortest time that an estimate is based on.
const LEAST: Duration = Duration::from_millis(500);

/// Recent progress. The time before the first observation does not count: it includes reading the data and the first
/// batch, which is slower than all others.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// The time since `start`, and the samples completed then.
    recent: VecDeque<(Duration, usize)>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), recent: VecDeque::new() }
    }

    /// Notes the number of samples completed by now.
    pub(crate) fn add(&mut self, done: usize) {
        self.add_at(self.start.elapsed(), done);
    }

    fn add_at(&mut self, now: Duration, done: usize) {
        let count = self.recent.len();
        if count >= 2 && now.saturating_sub(self.recent[count - 2].0) < SPACING {
            self.recent.pop_back();
        }
        self.recent.push_back((now, done));
        while self.recent.len() > 2 && now.saturating_sub(self.recent[1].0) >= WINDOW {
            self.recent.pop_front();
        }
    }

    /// Returns the samples per second; `None` until there is enough progress to tell.
    pub(crate) fn speed(&self) -> Option<f64> {
        let ((first, before), (last, done)) = (self.recent.front()?, self.recent.back()?);
        let time = last.saturating_sub(*first);
        (time >= LEAST && done > before).then(|| (done - before) as f64 / time.as_secs_f64())
    }

    /// Returns the time until `all` samples are completed; `None` until there is enough progress to tell.
    pub(crate) fn left(&self, all: usize) -> Option<Duration> {
        let (_, done) = self.recent.back()?;
        Duration::try_from_secs_f64(all.saturating_sub(*done) as f64 / self.speed()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(progress: &[(f64, usize)]) -> Pace {
        let mut pace = Pace::new();
        progress.iter().for_each(|&(at, done)| pace.add_at(Duration::from_secs_f64(at), done));
        pace
    }

    #[test]
    fn a_slow_start_does_not_count() {
        // 20 s until the first batch, then 100 samples a second.
        let pace = pace(&[(20.0, 100), (21.0, 200), (22.0, 300)]);
        assert_eq!(pace.left(1_300), Some(Duration::from_secs(10)));
        assert_eq!(pace.left(300), Some(Duration::ZERO));
    }

    #[test]
    fn old_progress_is_forgotten() {
        let mut progress: Vec<(f64, usize)> = (0..100).map(|second| (f64::from(second), second as usize)).collect();
        progress.extend((1..=60).map(|second| (99.0 + f64::from(second), 99 + 50 * second as usize)));
        let speed = pace(&progress).speed().unwrap();
        assert!((speed - 50.0).abs() < 1e-9, "{speed}");
    }

    #[test]
    fn nothing_is_said_too_early() {
        assert_eq!(pace(&[]).left(10), None);
        assert_eq!(pace(&[(3.0, 5)]).left(10), None);
        assert_eq!(pace(&[(3.0, 5), (3.1, 6)]).left(10), None);
        assert_eq!(pace(&[(3.0, 5), (5.0, 5)]).speed(), None, "no progress at all");
    }

    #[test]
    fn close_observations_are_merged() {
        let pace = pace(&(0..10_000).map(|step| (f64::from(step) * 0.001, step as usize)).collect::<Vec<_>>());
        assert!(pace.recent.len() < 150, "{}", pace.recent.len());
        assert!((pace.speed().unwrap() - 1_000.0).abs() < 1e-6);
    }
}
