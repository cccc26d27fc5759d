//! Sampling of classes: those of the batch and a random share of the rest (An et al. 2022, PartialFC, arXiv
//! 2203.15565).
//!
//! A step computes about `share C` negatives instead of all C. Prototypes that were not sampled are neither read nor
//! changed.

use crate::error::{Bound, Error, ErrorKind, Result, check_number};
use crate::random::{Generator, Purpose};
use crate::rows::Targets;
use ndarray::ArrayView1;

/// The classes that take part in a step, in ascending order; created by [`Head::sample`](super::Head::sample).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledClasses {
    classes: Vec<usize>,
    num_classes: usize,
}

impl SampledClasses {
    /// Samples the classes of the targets and a `share` (above 0, up to 1) of all others, drawn by `(seed, step)`.
    /// Targets that are no classes are skipped; the loss rejects them or ignores their rows.
    ///
    /// # Errors
    /// If the share is out of range.
    pub(super) fn draw(
        targets: ArrayView1<'_, i64>,
        num_classes: usize,
        share: f64,
        seed: u64,
        step: u64,
    ) -> Result<Self> {
        check_number("share", share, Bound::Share)?;
        if u32::try_from(num_classes).is_err() {
            let expected = format!("at most {} classes to draw from", u32::MAX);
            let advice = "train with all classes";
            return Err(Error::new(ErrorKind::Spec, "num_classes", expected, num_classes.to_string(), advice));
        }
        let own = targets.iter().filter_map(|&label| usize::try_from(label).ok());
        let mut classes: Vec<usize> = own.filter(|&class| class < num_classes).collect();
        classes.sort_unstable();
        classes.dedup();
        let others = num_classes - classes.len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count, up to itself")]
        let wanted = ((others as f64 * share).ceil() as usize).min(others);
        // Selection sampling (Knuth's algorithm S): every set of that size is equally likely, and the classes come in
        // ascending order.
        let mut stream = Generator::new(seed, Purpose::Classes, step);
        let (mut left, mut seen) = (wanted, 0);
        let mut all = Vec::with_capacity(classes.len() + wanted);
        let mut own = classes.iter().copied().peekable();
        for class in 0..num_classes {
            if own.peek() == Some(&class) {
                own.next();
                all.push(class);
                continue;
            }
            let candidates = u32::try_from(others - seen).unwrap_or(u32::MAX);
            if left > 0 && (stream.below(candidates) as usize) < left {
                all.push(class);
                left -= 1;
            }
            seen += 1;
        }
        Ok(Self { classes: all, num_classes })
    }

    /// Returns the sampled classes, in ascending order.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Returns an error for classes of another head, and for targets that are not sampled. The loss checks labels that
    /// are no classes.
    pub(super) fn check<F>(&self, num_classes: usize, targets: Targets<'_, F>, ignored: Option<i64>) -> Result<()> {
        if self.num_classes != num_classes {
            let expected = format!("classes drawn from {num_classes}");
            let found = format!("classes drawn from {}", self.num_classes);
            let advice = "draw them with this head's sample";
            return Err(Error::new(ErrorKind::Input, "sampled classes", expected, found, advice));
        }
        let Targets::Hard(labels) = targets else {
            let (expected, advice) = ("one class per row with sampled classes", "train on all classes, or give labels");
            return Err(Error::new(ErrorKind::Input, "sampled classes", expected, "distributions", advice));
        };
        let is_out = |label: i64| {
            let class = usize::try_from(label).ok().filter(|&class| class < num_classes && ignored != Some(label));
            class.is_some_and(|class| self.classes.binary_search(&class).is_err())
        };
        let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| is_out(**label)) else { return Ok(()) };
        let expected = "a class that is among the sampled ones";
        let advice = "sample the classes for the targets of this batch";
        Err(Error::new(ErrorKind::Label, format!("target of row {row}"), expected, label.to_string(), advice))
    }
}

/// The map between the prototypes that take part, numbered by position, and all prototypes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions<'a> {
    sampled: Option<&'a [usize]>,
    num_classes: usize,
    sub_centers: usize,
}

impl<'a> Positions<'a> {
    pub(super) fn new(sampled: Option<&'a SampledClasses>, num_classes: usize, sub_centers: usize) -> Self {
        Self { sampled: sampled.map(SampledClasses::classes), num_classes, sub_centers }
    }

    /// Returns the number of classes that take part.
    pub(super) fn classes(self) -> usize {
        self.sampled.map_or(self.num_classes, <[usize]>::len)
    }

    /// Returns the number of prototypes that take part.
    pub(super) fn count(self) -> usize {
        self.classes() * self.sub_centers
    }

    /// Returns the prototype at a position. One past the last position gives one past the last prototype.
    #[inline]
    pub(super) fn prototype(self, position: usize) -> usize {
        let (class, center) = (position / self.sub_centers, position % self.sub_centers);
        let class = match self.sampled {
            None => class,
            Some(classes) => classes.get(class).copied().unwrap_or(self.num_classes),
        };
        class * self.sub_centers + center
    }

    /// Returns the class at a position.
    pub(super) fn class(self, position: usize) -> usize {
        self.prototype(position) / self.sub_centers
    }

    /// Returns the first position of a class; `None` if it does not take part.
    pub(super) fn of_class(self, class: usize) -> Option<usize> {
        let index = match self.sampled {
            None => Some(class),
            Some(classes) => classes.binary_search(&class).ok(),
        };
        index.map(|index| index * self.sub_centers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};

    #[test]
    fn the_batchs_own_classes_and_a_share_of_the_rest() {
        let targets = array![7, 3, 7, -1];
        let drawn = SampledClasses::draw(targets.view(), 100, 0.25, 1, 2).unwrap();
        assert_eq!(drawn.classes().len(), 2 + 25, "a quarter of 98, rounded up");
        assert!(
            drawn.classes().is_sorted_by(|a, b| a < b) && drawn.classes().contains(&3) && drawn.classes().contains(&7)
        );
        assert_eq!(drawn, SampledClasses::draw(targets.view(), 100, 0.25, 1, 2).unwrap());
        assert_ne!(drawn, SampledClasses::draw(targets.view(), 100, 0.25, 1, 3).unwrap());
        let all = SampledClasses::draw(targets.view(), 100, 1.0, 1, 2).unwrap();
        assert_eq!(all.classes(), (0..100).collect::<Vec<_>>());
        assert_eq!(SampledClasses::draw(targets.view(), 100, 0.0, 1, 2).unwrap_err().subject(), "share");
    }

    #[test]
    fn every_other_class_is_as_likely() {
        let targets = Array1::from(vec![4_i64]);
        let mut counts = [0_u32; 11];
        for step in 0..10_000 {
            for &class in SampledClasses::draw(targets.view(), 11, 0.3, 5, step).unwrap().classes() {
                counts[class] += 1;
            }
        }
        assert_eq!(counts[4], 10_000);
        // 3 of 10 are drawn, so the mean is 3000 and the standard deviation 46; the tolerance is five of them.
        assert!(counts.iter().enumerate().all(|(class, count)| class == 4 || count.abs_diff(3000) < 230), "{counts:?}");
    }

    #[test]
    fn positions_lead_to_prototypes_and_back() {
        let sampled = SampledClasses { classes: vec![2, 5], num_classes: 8 };
        let some = Positions::new(Some(&sampled), 8, 3);
        assert_eq!((some.count(), some.prototype(4), some.prototype(6), some.class(5)), (6, 16, 24, 5));
        assert_eq!((some.of_class(5), some.of_class(4)), (Some(3), None));
        let all = Positions::new(None, 8, 3);
        assert_eq!((all.count(), all.prototype(10), all.class(10), all.of_class(3)), (24, 10, 3, Some(9)));
    }
}
