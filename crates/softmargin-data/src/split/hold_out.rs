//! Rules for the samples held out of training, simple enough to follow by hand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The samples of each class that are held out, in the order of their names (of embeddings and IDX images: of their
/// rows). As text, and in configuration files: `every:5`, `last:4`, `none`.
///
/// ```
/// use softmargin_data::HoldOut;
///
/// assert_eq!("last:4".parse::<HoldOut>()?, HoldOut::Last(4));
/// assert_eq!(HoldOut::Every(5).to_string(), "every:5");
/// assert!("every:1".parse::<HoldOut>().is_err());
/// # Ok::<(), softmargin_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HoldOut {
    /// The n-th, the 2n-th and so on; n is 2 or more.
    Every(usize),
    /// The last n; n is 1 or more.
    Last(usize),
    /// None.
    None,
}

/// The default rule for the test set.
pub(super) const TEST: HoldOut = HoldOut::Every(5);
/// The default rule for the validation set.
pub(super) const VALIDATION: HoldOut = HoldOut::Every(10);

impl FromStr for HoldOut {
    type Err = Error;

    fn from_str(text: &str) -> Result<HoldOut, Error> {
        let number = |digits: &str, least| digits.parse().ok().filter(|&number: &usize| number >= least);
        let rule = match text.split_once(':') {
            Some(("every", digits)) => number(digits, 2).map(HoldOut::Every),
            Some(("last", digits)) => number(digits, 1).map(HoldOut::Last),
            _ if text == "none" => Some(HoldOut::None),
            _ => None,
        };
        rule.ok_or_else(|| {
            let expected = "every:N with N from 2, last:N with N from 1, or none";
            Error::request("samples held out", expected, format!("{text:?}"), "try every:10")
        })
    }
}

impl fmt::Display for HoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldOut::Every(n) => write!(f, "every:{n}"),
            HoldOut::Last(n) => write!(f, "last:{n}"),
            HoldOut::None => f.write_str("none"),
        }
    }
}

impl TryFrom<String> for HoldOut {
    type Error = Error;

    fn try_from(text: String) -> Result<HoldOut, Error> {
        text.parse()
    }
}

impl From<HoldOut> for String {
    fn from(rule: HoldOut) -> String {
        rule.to_string()
    }
}

impl HoldOut {
    /// Returns the smallest number of samples in a class of which the rule holds some out and leaves some.
    pub(super) fn least(self) -> usize {
        match self {
            HoldOut::Every(n) => n,
            HoldOut::Last(n) => n.saturating_add(1),
            HoldOut::None => 0,
        }
    }

    /// Returns whether the sample `index` of a class of `count` samples, at least [`least`](HoldOut::least), is held
    /// out.
    pub(super) fn holds(self, index: usize, count: usize) -> bool {
        match self {
            HoldOut::Every(n) => n > 0 && index % n == n - 1,
            HoldOut::Last(n) => index.saturating_add(n) >= count,
            HoldOut::None => false,
        }
    }

    /// Rejects numbers that text cannot have but code can, such as `Every(0)`.
    pub(super) fn check(self) -> Result<(), Error> {
        self.to_string().parse::<HoldOut>().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_the_same_rule_and_nonsense_is_rejected() {
        for rule in [HoldOut::Every(2), HoldOut::Last(1), HoldOut::None] {
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<HoldOut>(&json).unwrap(), rule);
            assert!(rule.check().is_ok());
        }
        for text in ["", "every", "every:", "every:0", "every:1", "last:0", "last:-1", "every:1.5", "none:1", "Every:5"]
        {
            let error = text.parse::<HoldOut>().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert!(HoldOut::Every(0).check().is_err());
    }

    #[test]
    fn the_rules_hold_out_what_they_say() {
        let held_out = |rule: HoldOut, count| (0..count).filter(|&index| rule.holds(index, count)).collect::<Vec<_>>();
        assert_eq!(held_out(HoldOut::Every(5), 5), [4]);
        assert_eq!(held_out(HoldOut::Every(5), 9), [4]);
        assert_eq!(held_out(HoldOut::Every(5), 20), [4, 9, 14, 19]);
        assert_eq!(held_out(HoldOut::Last(4), 20), [16, 17, 18, 19]);
        assert_eq!(held_out(HoldOut::None, 3), [0; 0]);
    }
}
