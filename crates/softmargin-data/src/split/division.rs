//! Divides samples into training, validation and test sets: by the data's own parts, or by the rules of [`HoldOut`].

use super::hold_out::{self, HoldOut};
use crate::error::Error;
use crate::labeled_samples::LabeledSamples;
use crate::wording::{counted, ordinal};

/// The clause for an empty part.
const NO_SAMPLES: &str = "none";

/// Labeled samples that are not divided yet, and the parts that come with the data.
pub(crate) struct Undivided<'a> {
    /// The folder or file, for messages.
    pub(crate) source: String,
    /// The class of each sample outside of the data's own parts.
    pub(crate) labels: &'a [u32],
    /// The test set that comes with the data, such as `the folder test`.
    pub(crate) own_test: Option<String>,
    /// The validation set that comes with the data, such as `the folder val`.
    pub(crate) own_validation: Option<String>,
    /// The noun for a sample, `image` or `embedding`.
    pub(crate) sample: &'static str,
    /// The order of the samples, for messages.
    pub(crate) order: &'static str,
}

/// The rows of the undivided samples in each part; none in a part that comes with the data.
#[derive(Debug, PartialEq)]
pub(crate) struct Division {
    pub(crate) train: Vec<usize>,
    pub(crate) validation: Option<Vec<usize>>,
    pub(crate) test: Vec<usize>,
    /// The rules, in a sentence.
    pub(crate) sentence: String,
    pub(crate) notes: Vec<String>,
}

impl Undivided<'_> {
    /// Divides by the rules for the test set and the validation set; `None` is the default rule.
    ///
    /// # Errors
    /// If there is a rule for a part that comes with the data, if a given rule holds nothing out, or if no
    /// sample is left for the test set.
    pub(crate) fn divide(
        &self,
        test_split: Option<HoldOut>,
        validation_split: Option<HoldOut>,
    ) -> Result<Division, Error> {
        self.reject_rules_without_effect(test_split, validation_split)?;
        let mut notes = Vec::new();
        let all = (0..self.labels.len()).collect();
        let rule = if self.own_test.is_some() { HoldOut::None } else { test_split.unwrap_or(hold_out::TEST) };
        let (train, test) = self.test(all, rule, &mut notes)?;
        let (train, validation) = self.validation(train, validation_split, &mut notes)?;
        let test_clause = self.own_test.clone().unwrap_or_else(|| self.test_clause(rule));
        let validation_clause = match (&self.own_validation, &validation) {
            (Some(own), _) if validation_split.is_none() => own.clone(),
            (_, None) => NO_SAMPLES.to_owned(),
            _ => self.validation_clause(validation_split.unwrap_or(hold_out::VALIDATION)),
        };
        let others = format!("training set: all other {}s", self.sample);
        let sentence = format!("test set: {test_clause}; validation set: {validation_clause}; {others}");
        Ok(Division { train, validation, test, sentence, notes })
    }

    fn reject_rules_without_effect(
        &self,
        test_split: Option<HoldOut>,
        validation_split: Option<HoldOut>,
    ) -> Result<(), Error> {
        for rule in [test_split, validation_split].into_iter().flatten() {
            rule.check()?;
        }
        let reject = |part: &str, rule: HoldOut, own: &str| {
            let expected = format!("no rule for the {part} set, which is {own}");
            Err(Error::request(&self.source, expected, rule, "leave the rule out, or merge the parts"))
        };
        match (test_split, &self.own_test, validation_split, &self.own_validation) {
            (Some(rule), Some(own), ..) => reject("test", rule, own),
            (_, _, Some(rule), Some(own)) if rule != HoldOut::None => reject("validation", rule, own),
            _ => Ok(()),
        }
    }

    /// Returns the other rows, and those of the test set. Of a class too small for `every:n` the last sample is in the
    /// test set, if the class has another.
    fn test(
        &self,
        rows: Vec<usize>,
        rule: HoldOut,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<usize>, Vec<usize>), Error> {
        if rule == HoldOut::None {
            return Ok((rows, Vec::new()));
        }
        let every = matches!(rule, HoldOut::Every(_));
        let (train, test) = self.part(rows, |index, count| match count {
            _ if count >= rule.least() => rule.holds(index, count),
            _ => every && count > 1 && index + 1 == count,
        });
        let untested = self.classes_with(|count| count > 0 && count < if every { 2 } else { rule.least() });
        if test.is_empty() {
            let expected = format!("a class with {} or more {}s", if every { 2 } else { rule.least() }, self.sample);
            let found = format!("no class with more than {}", self.largest_class());
            let advice = format!("add {}s, so that some can be held out for testing", self.sample);
            return Err(Error::request(&self.source, expected, found, advice));
        }
        if untested > 0 {
            let few = if every { format!("one {} only", self.sample) } else { self.at_most(rule.least() - 1) };
            notes.push(format!("{} with {few}: in the training set, not in the test set", counted(untested, "class")));
        }
        Ok((train, test))
    }

    /// Returns the rows of the training set, and those of the validation set. All samples of a class too small for the
    /// rule are in the training set.
    fn validation(
        &self,
        rows: Vec<usize>,
        asked: Option<HoldOut>,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<usize>, Option<Vec<usize>>), Error> {
        let rule = asked.unwrap_or(hold_out::VALIDATION);
        if rule == HoldOut::None || self.own_validation.is_some() {
            return Ok((rows, None));
        }
        let counts = self.counts(&rows);
        let too_few = counts.iter().filter(|&&count| count > 0 && count < rule.least()).count();
        let (train, validation) = self.part(rows, |index, count| count >= rule.least() && rule.holds(index, count));
        if validation.is_empty() {
            if asked.is_some() {
                let expected = format!("a class with {} or more training {}s", rule.least(), self.sample);
                let found = format!("no class with more than {}", counts.iter().max().unwrap_or(&0));
                let advice = "hold fewer out for validation, or none";
                return Err(Error::request(&self.source, expected, found, advice));
            }
            let few = self.at_most(rule.least() - 1);
            notes.push(format!("no validation set: every class has {few} in the training set"));
            return Ok((train, None));
        }
        if too_few > 0 {
            let classes = counted(too_few, "class");
            let few = self.at_most(rule.least() - 1);
            notes.push(format!("{classes} with {few} in the training set: not in the validation set"));
        }
        Ok((train, Some(validation)))
    }

    /// Divides rows by a rule of the index of a row within its class and the number of rows of the class.
    fn part(&self, rows: Vec<usize>, held_out: impl Fn(usize, usize) -> bool) -> (Vec<usize>, Vec<usize>) {
        let counts = self.counts(&rows);
        let mut seen = vec![0; counts.len()];
        let (held, kept) = rows.into_iter().partition(|&row| {
            let class = self.labels[row] as usize;
            seen[class] += 1;
            held_out(seen[class] - 1, counts[class])
        });
        (kept, held)
    }

    fn counts(&self, rows: &[usize]) -> Vec<usize> {
        let classes = self.labels.iter().max().map_or(0, |&label| label as usize + 1);
        let mut counts = vec![0; classes];
        rows.iter().for_each(|&row| counts[self.labels[row] as usize] += 1);
        counts
    }

    fn all_counts(&self) -> Vec<usize> {
        self.counts(&(0..self.labels.len()).collect::<Vec<_>>())
    }

    fn classes_with(&self, is_so: impl Fn(usize) -> bool) -> usize {
        self.all_counts().into_iter().filter(|&count| is_so(count)).count()
    }

    fn largest_class(&self) -> usize {
        self.all_counts().into_iter().max().unwrap_or_default()
    }

    fn at_most(&self, count: usize) -> String {
        format!("at most {}", counted(count, self.sample))
    }

    fn test_clause(&self, rule: HoldOut) -> String {
        let Undivided { sample, order, .. } = self;
        match rule {
            HoldOut::Every(2) => format!("every 2nd {sample} of each class in {order}"),
            HoldOut::Every(n) => format!(
                "every {} {sample} of each class in {order} (the {}, the {}, ...), of a class with 2 to {} the last one",
                ordinal(n),
                ordinal(n),
                ordinal(n.saturating_mul(2)),
                n - 1
            ),
            HoldOut::Last(1) => format!("the last {sample} of each class in {order}"),
            HoldOut::Last(n) => format!("the last {n} {sample}s of each class in {order}"),
            HoldOut::None => NO_SAMPLES.to_owned(),
        }
    }

    fn validation_clause(&self, rule: HoldOut) -> String {
        let sample = self.sample;
        match rule {
            HoldOut::Every(n) => format!("every {} of the other {sample}s of each class", ordinal(n)),
            HoldOut::Last(1) => format!("the last of the other {sample}s of each class"),
            HoldOut::Last(n) => format!("the last {n} of the other {sample}s of each class"),
            HoldOut::None => NO_SAMPLES.to_owned(),
        }
    }
}

impl Division {
    /// Returns the training, validation and test sets of samples that come without parts of their own.
    pub(crate) fn of(&self, all: &LabeledSamples) -> (LabeledSamples, Option<LabeledSamples>, LabeledSamples) {
        (all.select(&self.train), self.validation.as_ref().map(|rows| all.select(rows)), all.select(&self.test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divide(counts: &[usize], test: Option<HoldOut>, validation: Option<HoldOut>) -> Result<Division, Error> {
        let labels: Vec<u32> = (0_u32..).zip(counts).flat_map(|(class, &count)| vec![class; count]).collect();
        undivided(&labels).divide(test, validation)
    }

    fn undivided(labels: &[u32]) -> Undivided<'_> {
        Undivided {
            source: "data".into(),
            labels,
            own_test: None,
            own_validation: None,
            sample: "image",
            order: "name order",
        }
    }

    #[test]
    fn the_default_rules() {
        let division = divide(&[20, 3, 1], None, None).unwrap();
        assert_eq!(division.test, [4, 9, 14, 19, 22]);
        assert_eq!(division.validation, Some(vec![11]), "the tenth of those that are left");
        assert_eq!(division.train.len(), 18);
        assert_eq!(
            division.notes,
            [
                "1 class with one image only: in the training set, not in the test set",
                "2 classes with at most 9 images in the training set: not in the validation set"
            ]
        );
        assert_eq!(
            division.sentence,
            "test set: every 5th image of each class in name order (the 5th, the 10th, ...), of a class with 2 to 4 the \
             last one; validation set: every 10th of the other images of each class; training set: all other images"
        );
    }

    #[test]
    fn the_last_of_each_class() {
        let division = divide(&[6, 4, 5], Some(HoldOut::Last(4)), Some(HoldOut::Last(1))).unwrap();
        assert_eq!(division.test, [2, 3, 4, 5, 11, 12, 13, 14]);
        assert_eq!(division.validation, Some(vec![1, 9]));
        assert_eq!(division.train, [0, 6, 7, 8, 10]);
        assert_eq!(
            division.notes,
            [
                "1 class with at most 4 images: in the training set, not in the test set",
                "1 class with at most 1 image in the training set: not in the validation set"
            ]
        );
    }

    #[test]
    fn classes_may_be_mixed() {
        let division = undivided(&[0, 1, 0, 1, 1]).divide(None, None).unwrap();
        assert_eq!((division.train, division.test), (vec![0, 1, 3], vec![2, 4]));
        assert_eq!(division.notes, ["no validation set: every class has at most 9 images in the training set"]);
    }

    #[test]
    fn a_rule_that_holds_nothing_out_is_rejected_if_it_was_asked_for() {
        let message = divide(&[1, 1], None, None).unwrap_err().to_string();
        assert!(
            message.contains("expected a class with 2 or more images, found no class with more than 1"),
            "{message}"
        );
        let message = divide(&[9, 4], Some(HoldOut::Last(9)), None).unwrap_err().to_string();
        assert!(message.contains("a class with 10 or more images, found no class with more than 9"), "{message}");
        let message = divide(&[9, 4], None, Some(HoldOut::Every(9))).unwrap_err().to_string();
        assert!(
            message.contains("a class with 9 or more training images, found no class with more than 8"),
            "{message}"
        );
        assert!(divide(&[9, 4], Some(HoldOut::Every(1)), None).is_err());
        assert_eq!(divide(&[2, 2], Some(HoldOut::None), Some(HoldOut::None)).unwrap().train, [0, 1, 2, 3]);
    }

    #[test]
    fn a_rule_for_a_part_that_the_data_bring_is_rejected() {
        let labels = [0; 20];
        let own = Undivided {
            own_test: Some("the folder test".into()),
            own_validation: Some("the folder val".into()),
            ..undivided(&labels)
        };
        let divide = |test, validation| own.divide(test, validation);
        let plain = divide(None, None).unwrap();
        assert_eq!((plain.train.len(), plain.test.len(), plain.validation), (20, 0, None));
        assert_eq!(
            plain.sentence,
            "test set: the folder test; validation set: the folder val; training set: all other images"
        );
        assert_eq!(divide(None, Some(HoldOut::None)).unwrap().sentence.matches("validation set: none").count(), 1);
        for (test, validation) in [(Some(HoldOut::Last(1)), None), (None, Some(HoldOut::Last(1)))] {
            assert_eq!(divide(test, validation).unwrap_err().exit_code(), 2);
        }
    }
}
