//! Report of the largest errors of a test, relative to their tolerances, and of all failures.

use std::collections::BTreeMap;

/// Compares values of several kinds and reports all failures at the end instead of stopping at the first.
pub(crate) struct ErrorReport {
    test: &'static str,
    kinds: BTreeMap<String, Worst>,
    failures: Vec<String>,
}

#[derive(Default)]
struct Worst {
    compared: usize,
    ratio: f64,
    place: String,
}

impl ErrorReport {
    pub(crate) fn new(test: &'static str) -> Self {
        Self { test, kinds: BTreeMap::new(), failures: Vec::new() }
    }

    /// Compares one value. Infinities must be equal; NaN is equal to NaN.
    pub(crate) fn check(&mut self, kind: &str, place: impl Fn() -> String, got: f64, want: f64, allowed: f64) {
        let same = got == want || (got.is_nan() && want.is_nan());
        let ratio = if same { 0.0 } else { (got - want).abs() / allowed };
        if ratio.is_nan() || ratio > 1.0 {
            self.failures.push(format!("{}: {kind} is {got:e}, expected {want:e}, allowed error {allowed:e}", place()));
        }
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.to_owned(), Worst::default());
        }
        let Some(worst) = self.kinds.get_mut(kind) else { return };
        worst.compared += 1;
        if ratio > worst.ratio {
            worst.ratio = ratio;
            worst.place = place();
        }
    }

    /// Records a failure that is not a numerical error.
    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Returns the number of compared values.
    pub(crate) fn compared(&self) -> usize {
        self.kinds.values().map(|worst| worst.compared).sum()
    }

    /// Prints the largest relative error of each kind.
    ///
    /// Panics after any failure, and if fewer values than `at_least` were compared.
    pub(crate) fn finish(self, at_least: usize) {
        for (kind, worst) in &self.kinds {
            let Worst { compared, ratio, place } = worst;
            let place: String = place.replace('\n', " ").chars().take(90).collect();
            println!("{}: {kind}: {compared} values, largest error {ratio:.3} of its tolerance: {place}", self.test);
        }
        let shown: Vec<&str> = self.failures.iter().take(12).map(String::as_str).collect();
        assert!(shown.is_empty(), "{}: {} failures:\n{}", self.test, self.failures.len(), shown.join("\n"));
        let compared = self.compared();
        assert!(compared >= at_least, "{}: only {compared} values were compared", self.test);
    }
}
