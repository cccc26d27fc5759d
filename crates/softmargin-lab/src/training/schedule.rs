//! The learning rate of a step, as a share of the highest, for a warm-up over the share `w` of the steps.
//!
//! ```text
//! at = (step + 1/2) / steps,  after = (at - w) / (1 - w),  half(x) = (1 + cos(pi x)) / 2
//! cosine      at < w: at / w                              else half(after), down to 0
//! one-cycle   at < w: 1/25 + 24/25 half(1 - at / w)       else half(after), down to 0
//! constant    at < w: at / w                              else 1
//! ```
//!
//! Rates are taken at the middle of a step, so that neither the first nor the last is 0. Cosine: Loshchilov and Hutter
//! 2016, arXiv 1608.03983. One-cycle: Smith and Topin 2017, arXiv 1708.07120; the momentum is not changed.

use crate::config::Schedule;
use std::f64::consts::PI;

/// The first rate of one-cycle, as a share of the highest.
const START: f64 = 1.0 / 25.0;

impl Schedule {
    /// Returns the rate of step `step`, from 0, of `steps`, as a share of the highest; `warm_up` is in [0, 1).
    pub(super) fn rate(self, step: usize, steps: usize, warm_up: f64) -> f64 {
        let at = (step as f64 + 0.5) / steps.max(1) as f64;
        let after = ((at - warm_up) / (1.0 - warm_up)).min(1.0);
        match self {
            Self::OneCycle if at < warm_up => START + (1.0 - START) * half_cosine(1.0 - at / warm_up),
            _ if at < warm_up => at / warm_up,
            Self::Constant => 1.0,
            Self::Cosine | Self::OneCycle => half_cosine(after),
        }
    }
}

/// Falls from 1 at 0 down to 0 at 1.
fn half_cosine(x: f64) -> f64 {
    0.5 * (1.0 + (PI * x).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warm_up: f64) -> Vec<f64> {
        (0..100).map(|step| schedule.rate(step, 100, warm_up)).collect()
    }

    #[test]
    fn every_rate_is_above_nothing_and_no_higher_than_the_highest() {
        for schedule in Schedule::ALL {
            for warm_up in [0.0, 0.2, 0.999] {
                let rates = rates(schedule, warm_up);
                assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= 1.0), "{schedule:?} {warm_up}: {rates:?}");
            }
        }
    }

    #[test]
    fn cosine_and_one_cycle_rise_fall_and_end_near_nothing() {
        for schedule in [Schedule::Cosine, Schedule::OneCycle] {
            let rates = rates(schedule, 0.2);
            assert!(rates[..20].is_sorted() && rates[20..].iter().rev().is_sorted(), "{rates:?}");
            assert!(rates[20] > 0.999 && rates[99] < 1e-3, "{rates:?}");
        }
    }

    #[test]
    fn they_start_where_they_say() {
        assert!((Schedule::Cosine.rate(0, 100, 0.2) - 0.025).abs() < 1e-12);
        let first = Schedule::OneCycle.rate(0, 1_000_000, 0.2);
        assert!((first - 0.04).abs() < 1e-6, "{first}");
        // A quarter of the way up, a cosine has done less than a line.
        let quarter = Schedule::OneCycle.rate(50_000, 1_000_000, 0.2);
        assert!((quarter - (0.04 + 0.96 * 0.146_446_6)).abs() < 1e-4, "{quarter}");
    }

    #[test]
    fn constant_stays_at_the_highest() {
        let rates = rates(Schedule::Constant, 0.1);
        assert!(rates[..10].is_sorted() && rates[9] < 1.0 && rates[10..].iter().all(|&rate| rate == 1.0));
    }

    #[test]
    fn without_a_warm_up_the_first_step_is_at_the_top() {
        for schedule in Schedule::ALL {
            assert!(schedule.rate(0, 1000, 0.0) > 0.999);
        }
    }
}
